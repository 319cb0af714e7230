# shellcheck shell=bash
# What the services need of the system, and its installation where that is allowed. Sourced by services.sh.

# Cassandra 5 runs on Java 17 and 21; what comes later has no security manager and ends it at once.
java_fits() {
  local version
  version=$("$@" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
  [[ $version == 17 || $version == 21 ]]
}

# Sets JAVA_COMMAND to one that fits: as named or on the PATH, else an installed one.
find_java() {
  local candidate
  if java_fits "${JAVA_COMMAND[@]}"; then return; fi
  for candidate in /usr/lib/jvm/*17*/bin/java /usr/lib/jvm/*21*/bin/java; do
    if [[ -x $candidate ]] && java_fits "$candidate"; then JAVA_COMMAND=("$candidate"); return; fi
  done
  return 1
}

# The directory of PostgreSQL's programs; Debian keeps the server's out of the PATH. The newest version wins.
find_postgres() {
  local found
  found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
  [[ -x $found ]] || found=$(command -v initdb) || return 1
  dirname "$found"
}

# Whether Chromium and its driver are here, under one of the names that the tests of the page know.
find_browser() {
  command -v "${CHROMEDRIVER:-chromedriver}" >/dev/null || return 1
  if [[ -n ${CHROMIUM:-} ]]; then command -v "$CHROMIUM" >/dev/null; return; fi
  [[ -x /usr/bin/chromium || -x /usr/bin/chromium-browser || -x /usr/bin/google-chrome ]]
}

# Installs them if this is root with apt-get; fails where they are not here afterwards.
browser() {
  if find_browser; then return; fi
  if ((EUID == 0)) && command -v apt-get >/dev/null; then install_packages chromium chromium-driver || true; fi
  find_browser
}

# The packages that are missing, one a line: of Debian and Ubuntu, whose names say to others what to look for.
missing_packages() {
  local name jvm=0 jars=0
  for name in $SERVICES; do
    case $name in
      postgres) find_postgres >/dev/null || echo postgresql ;;
      *) jvm=1; jars_complete "$name" || jars=1 ;;
    esac
  done
  if ((jvm)) && ! find_java; then
    # Debian 13 has no 17 any more, Debian 12 no 21.
    if apt-cache show openjdk-17-jdk-headless >/dev/null 2>&1 || ! command -v apt-cache >/dev/null; then echo openjdk-17-jdk-headless
    else echo openjdk-21-jdk-headless; fi
  fi
  if ((jars)) && ! command -v "${MAVEN_COMMAND[0]}" >/dev/null; then echo maven; fi
  if [[ $SECURE == 1 ]] && ! command -v openssl >/dev/null; then echo openssl; fi
}

# Installs what is missing if this is root with apt-get; otherwise prints the missing packages and fails.
prerequisites() {
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} > 0)) || return 0
  if ((EUID == 0)) && command -v apt-get >/dev/null; then
    install_packages "${missing[@]}" || log "apt-get could not install ${missing[*]}"
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} > 0)) || return 0
  fi
  echo "${missing[*]}"
  return 1
}

install_packages() {
  log "installing $* through apt-get"
  {
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
  } </dev/null >"$LIBS/apt-get.log" 2>&1 8>&- 9>&- || { tail -n 5 "$LIBS/apt-get.log" >&2; return 1; }
}
