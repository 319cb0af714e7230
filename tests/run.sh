#!/usr/bin/env bash
# Runs the tests and counts them: run.sh hermetic | live | faults | all. The last line is `N passed, N failed, N skipped`.
#
# Hermetic tests need nothing. Live ones and faults get real services, which are wiped afterwards whatever happens; to use
# services of your own, name them in the environment (see services/services.sh). `all` runs the faults that are marked as
# representative, `faults` all of them, or the one that CASE names.
# USERPIPE_SAMPLES (a directory of recorded API answers) brings in the tests that need it: those marked as ignored among the
# hermetic ones, and those with `samples` in their name among the live ones. They count as skipped elsewhere, and so do
# live tests with `needs_root` in their name for other users.
# LIVE_THREADS [3], FAULT_THREADS [4]: live tests or faults at once; most of the time they wait.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=${1:-all}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
export VAR=${VAR:-$PWD/target/test-services}

# The program of all tests can be made to die at its seams (src/seam.rs).
cargo_test() { cargo test --features failpoints "$@"; }

# Every test binary but those that need services, whose tests would count as skipped.
hermetic() {
  local dir targets=(--lib --bins)
  for dir in tests/*/main.rs; do
    dir=$(basename "$(dirname "$dir")")
    if [[ $dir != live && $dir != faults ]]; then targets+=(--test "$dir"); fi
  done
  cargo_test --no-fail-fast "${targets[@]}" -- ${USERPIPE_SAMPLES:+--include-ignored} && cargo_test --doc
}

live() {
  local options=(--ignored "--test-threads=${LIVE_THREADS:-3}")
  if [[ -z ${USERPIPE_SAMPLES:-} ]]; then options+=(--skip samples); fi
  if ((EUID != 0)); then options+=(--skip needs_root); fi
  # built first, so that the services do not wait for the compiler; the program too, which the tests drive
  cargo_test --test live --no-run || return
  SERVICES=${SERVICES:-cassandra kafka postgres registry} \
    tests/services/services.sh with cargo test --features failpoints --test live -- "${options[@]}"
}

# For the fault of a clock that jumps, which is ignored without it.
install_faketime() {
  if ((EUID != 0)) || ! command -v apt-get >/dev/null || compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; then return; fi
  apt-get update -q >/dev/null 2>&1 && apt-get install -y -q --no-install-recommends libfaketime >/dev/null 2>&1 ||
    echo 'libfaketime could not be installed: one fault is ignored' >&2
}

faults() {
  local options=("--test-threads=${FAULT_THREADS:-4}")
  if [[ -n ${CASE:-} ]]; then options+=(--exact "$CASE"); fi
  if [[ $what == faults ]]; then install_faketime; fi
  cargo_test --test faults --no-run || return
  tests/services/services.sh with cargo test --features failpoints --test faults -- "${options[@]}"
}

tests_of() { case $1 in hermetic) hermetic ;; live) live ;; faults) faults ;; esac; }

# The sums of cargo's own result lines, all that was filtered out or ignored being skipped.
totals() {
  awk '/^test result: / { gsub(";", ""); for (i = 4; i < NF; i++) n[$(i + 1)] += $i }
    END { printf "%d passed, %d failed, %d skipped", n["passed"], n["failed"], n["ignored"] + n["filtered"] }' "$@"
}

parts=("$what")
case $what in
  all) parts=(hermetic live faults); export USERPIPE_TEST_FAULTS=representative ;;
  hermetic|live|faults) ;;
  *) echo "usage: $0 hermetic|live|faults|all" >&2; exit 2 ;;
esac
failed=0
for part in "${parts[@]}"; do
  tests_of "$part" | tee "$results/$part" || failed=1
done
echo
for part in "${parts[@]}"; do echo "$part: $(totals "$results/$part")"; done
totals "$results"/*
echo
exit $failed
