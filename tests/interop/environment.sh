# shellcheck shell=bash
# The programs that userpipe is tested against, from their package registries. Sourced, from the root of the repository.

REQUIREMENTS=tests/interop/requirements.txt

fail() { echo "$0: $*" >&2; exit 1; }

# Where that is allowed; who needs the package looks whether it is there.
install_package() {
  ((EUID == 0)) && command -v apt-get >/dev/null || return 0
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$1"; } </dev/null >/dev/null 2>&1 ||
    echo "apt-get could not install $1" >&2
}

# Prints the Python of a virtual environment with the packages of requirements.txt, made once for each version of that file.
python_with_packages() {
  local dir began=$SECONDS
  dir=$PWD/target/python-$(sha256sum <"$REQUIREMENTS" | cut -c1-12)
  if [[ ! -f $dir/.complete ]]; then
    rm -rf "$dir"
    mkdir -p target
    if ! python3 -m venv "$dir" >/dev/null 2>&1; then
      install_package python3-venv
      python3 -m venv "$dir" >&2 || fail "there is no Python with venv: install python3-venv"
    fi
    "$dir/bin/pip" --quiet --disable-pip-version-check install --requirement "$REQUIREMENTS" </dev/null >&2 ||
      fail "the packages of $REQUIREMENTS could not be installed"
    touch "$dir/.complete"
    echo "Python packages installed in $((SECONDS - began)) s" >&2
  fi
  echo "$dir/bin/python"
}

# Prints the home of a Java that runs Spark 3.5: 17 rather than 21.
java_for_spark() {
  local version home
  for version in 17 21; do
    for home in "${JAVA_HOME:-}" "$(dirname "$(dirname "$(readlink -f "$(command -v java || true)")")")" /usr/lib/jvm/*"$version"*; do
      if [[ -x $home/bin/java && $("$home/bin/java" -version 2>&1) == *"version \"$version"* ]]; then
        echo "$home"
        return
      fi
    done
  done
  fail "Spark needs Java 17: install it"
}
