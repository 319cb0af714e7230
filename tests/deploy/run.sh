#!/usr/bin/env bash
# Checks what deploy/ and compose.yaml are made of, with the tools of those who read them: kubernetes-validate (and kubectl
# where it is installed), docker-compose, systemd-analyze, the shells, man. That all of it speaks userpipe's flags and
# variables is a hermetic test (tests/it/deploy.rs). What cannot be checked here is said, and fails but for the systemd
# units and the shells that a machine does not have.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source-path=SCRIPTDIR
source tests/interop/environment.sh

WORK=$PWD/target/deploy-test
EXPOSURE_MAX=15 # of 100; systemd-analyze calls up to 19 OK
checked=()

# The variant of Debian's docker-compose or of Docker's plugin.
compose_config() {
  if docker compose version >/dev/null 2>&1; then docker compose config --quiet; return; fi
  command -v docker-compose >/dev/null || install_package docker-compose
  command -v docker-compose >/dev/null || fail "neither docker compose nor docker-compose is installed"
  docker-compose config --quiet
}

compose() { compose_config; echo 'compose: compose.yaml is valid'; checked+=(compose); }

kubernetes() {
  "$PYTHON" tests/deploy/manifests.py deploy/kubernetes
  if command -v kubectl >/dev/null; then kubectl kustomize deploy/kubernetes >/dev/null; fi
  checked+=(kubernetes)
}

airflow() { "$PYTHON" tests/deploy/dag.py deploy/airflow/userpipe_produce.py; checked+=(airflow); }

# What `make install` puts into place, from a binary that is there.
installed() {
  local root=$WORK/installed manual page shell
  make --no-print-directory install BINARY="$PWD/target/debug/userpipe" DESTDIR="$root" PREFIX=/usr >/dev/null
  [[ $("$root/usr/bin/userpipe" --version) == userpipe\ * ]] || fail "the installed program does not run"
  bash -n "$root/usr/share/bash-completion/completions/userpipe"
  for shell in zsh fish; do
    if ! command -v "$shell" >/dev/null; then echo "$shell is not installed: its completions are unchecked"; continue; fi
    "$shell" -n "$root"/usr/share/"$shell"/vendor*completions*/*userpipe*
  done
  manual=$root/usr/share/man/man1
  [[ -f $manual/userpipe.1.gz && -f $manual/userpipe-consume.1.gz ]] || fail "the man pages are not there"
  if command -v man >/dev/null; then
    for page in "$manual"/*.gz; do
      LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=100 man --warnings=all -l "$page" 2>&1 >/dev/null | { ! grep . ; } || fail "$page has mistakes"
    done
  fi
  echo "install: the program, the completions and $(find "$manual" -name '*.gz' | wc -l) man pages are in place"
  checked+=(install)
}

# The units as they are installed, under this tree's root.
systemd() {
  local units=$WORK/installed/usr/lib/systemd/system unit
  if ! command -v systemd-analyze >/dev/null; then echo 'systemd-analyze is not installed: the units are unchecked'; return; fi
  for unit in "$units"/*.service; do
    # the program is where it was installed to, not where it will be
    sed -i "s#=/usr/bin/userpipe#=$WORK/installed/usr/bin/userpipe#" "$unit"
    systemd-analyze verify --man=no "$unit"
    systemd-analyze security --offline=true --threshold="$EXPOSURE_MAX" "$unit" | tail -n 1
  done
  checked+=(systemd)
}

rm -rf "$WORK"
mkdir -p "$WORK"
PYTHON=$(python_with_packages)
cargo build --quiet --locked --features failpoints
compose
kubernetes
airflow
installed
systemd
echo "deploy: ${checked[*]} passed"
