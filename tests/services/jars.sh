# shellcheck shell=bash
# Jars of the JVM services, through Maven, and the console tools. Sourced by services.sh.

DEPENDENCY_PLUGIN=org.apache.maven.plugins:maven-dependency-plugin:3.8.1
CQLSH_VERSION=6.2.2
# C1 only and the serial collector: a third less CPU at start and far less memory; wrong for production, right for tests.
QUICK_JVM=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData -Djava.awt.headless=true)

# JVM gets the options of a service; its SERVICE_JVM array has those that it ships with.
# shellcheck disable=SC2034 # who starts a service reads it
choose_jvm() {
  local -n shipped=${1^^}_JVM
  if [[ $JVM_OPTIONS == shipped ]]; then JVM=("${shipped[@]}" -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true); else JVM=("${QUICK_JVM[@]}"); fi
}

# What names the jars: of a service, or of a directory given as a path.
pom_of() { case $1 in */*) echo "$1/pom.xml" ;; *) echo "$SERVICES_HOME/$1/pom.xml" ;; esac; }

# The directory of a service's jars; another pom.xml is another directory.
libdir() {
  case $1 in
    registry) printf '%s/registry-%s' "$LIBS" "$REGISTRY_VERSION" ;;
    *) printf '%s/%s-%s' "$LIBS" "$(basename "$1")" "$(sha256sum <"$(pom_of "$1")" | cut -c1-12)" ;;
  esac
}

jars_complete() { [[ -f $(libdir "$1")/.complete ]]; }

# The jars of $SERVICES; one run at a time for all instances, since they share the directory.
fetch() (
  exec 8>"$LIBS/.lock"
  flock -w 600 8 || die "another run holds $LIBS/.lock"
  for name in $SERVICES; do
    if [[ $name != postgres ]] && ! jars_complete "$name"; then fetch_jars "$name"; fi
  done
)

# jars DIRECTORY: the jars that its pom.xml names, and where they are. For programs of the tests that are no service.
jars() (
  [[ -f ${1:-}/pom.xml ]] || die "jars: name a directory with a pom.xml"
  exec 8>"$LIBS/.lock"
  flock -w 600 8 || die "another run holds $LIBS/.lock"
  if ! jars_complete "$1"; then
    if ! command -v "${MAVEN_COMMAND[0]}" >/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then install_packages maven; fi
    command -v "${MAVEN_COMMAND[0]}" >/dev/null || die "the jars of $1 need Maven: install it"
    fetch_jars "$1"
  fi
  libdir "$1"
)

fetch_jars() {
  local dir
  dir=$(libdir "$1")
  log "fetching the jars of $1"
  rm -rf "$dir.tmp"
  mkdir -p "$dir.tmp"
  if [[ $1 == registry ]]; then
    maven "$DEPENDENCY_PLUGIN:copy" "-Dartifact=io.apicurio:apicurio-registry-app:$REGISTRY_VERSION:tar.gz:all" \
      "-DoutputDirectory=$dir.tmp"
    tar -xzf "$dir.tmp"/*.tar.gz -C "$dir.tmp"
    rm "$dir.tmp"/*.tar.gz
  else
    maven -f "$(pom_of "$1")" "$DEPENDENCY_PLUGIN:copy-dependencies" -DincludeScope=runtime "-DoutputDirectory=$dir.tmp"
  fi
  touch "$dir.tmp/.complete"
  rm -rf "$dir"
  mv "$dir.tmp" "$dir"
}

# Heard only when it fails, since it writes control characters even when told to be quiet.
maven() {
  "${MAVEN_COMMAND[@]}" -B -q -Dstyle.color=never "$@" </dev/null >"$LIBS/maven.log" 2>&1 8>&- 9>&- ||
    { tail -n 20 "$LIBS/maven.log" >&2; die "Maven failed"; }
}

# The class behind the name of one of Kafka's scripts.
kafka_class() {
  case $1 in
    topics) echo org.apache.kafka.tools.TopicCommand ;;
    console-consumer) echo org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    console-producer) echo org.apache.kafka.tools.ConsoleProducer ;;
    consumer-groups) echo org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    configs) echo kafka.admin.ConfigCommand ;;
    acls) echo org.apache.kafka.tools.AclCommand ;;
    delete-records) echo org.apache.kafka.tools.DeleteRecordsCommand ;;
    get-offsets) echo org.apache.kafka.tools.GetOffsetShell ;;
    perf) echo org.apache.kafka.tools.ProducerPerformance ;;
    *) echo "$1" ;;
  esac
}

# tool NAME ARGS...: in place of this process, so that signals and the exit status are the tool's.
tool() {
  local name=${1:-}
  [[ -n $name ]] || die "tool: name one"
  shift
  case $name in
    cqlsh) cqlsh "$@" ;;
    psql) exec env PGPASSWORD="${PGPASSWORD:-userpipe}" "$(find_postgres)/psql" "$@" ;;
  esac
  fetch
  find_java || die "Kafka's tools need Java 17 or 21"
  write_log4j "$LIBS/tools-log4j2.yaml" WARN SYSTEM_ERR
  exec "${JAVA_COMMAND[@]}" -Xmx256m "${QUICK_JVM[@]}" "-Dlog4j2.configurationFile=$LIBS/tools-log4j2.yaml" \
    -cp "$(libdir kafka)/*" "$(kafka_class "$name")" "$@"
}

# cqlsh is Python and not among the jars: a virtual environment of its own.
cqlsh() {
  local dir=$LIBS/cqlsh-$CQLSH_VERSION
  (
    exec 8>"$LIBS/.lock"
    flock -w 600 8
    [[ -f $dir/.complete ]] && exit
    rm -rf "$dir"
    if ! python3 -m venv "$dir" >/dev/null 2>&1; then
      ((EUID == 0)) && command -v apt-get >/dev/null && install_packages python3-venv
      python3 -m venv "$dir" >&2 || die "cqlsh needs Python 3 with venv: install python3-venv"
    fi
    "$dir/bin/pip" --quiet --disable-pip-version-check install "cqlsh==$CQLSH_VERSION" </dev/null >&2
    touch "$dir/.complete"
  ) || die "cqlsh could not be installed"
  exec "$dir/bin/cqlsh" "$@"
}

# write_log4j FILE LEVEL TARGET: replaced whole, as several tools may start at once.
write_log4j() {
  cat >"$1.$$" <<E
Configuration:
  Appenders:
    Console: {name: OUT, target: $3, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}
  Loggers:
    Root: {level: $2, AppenderRef: {ref: OUT}}
E
  mv "$1.$$" "$1"
}

# A CA, and a certificate of server and client for localhost: for SECURE=1.
make_certificates() {
  local dir=$VAR/certs name
  [[ -f $dir/.complete ]] && return
  rm -rf "$dir"
  mkdir -p "$dir"
  openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=test-ca -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
  for name in server client; do
    openssl req -newkey rsa:2048 -nodes -subj "/CN=test-$name" -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 365 -out "$dir/$name.crt" \
      -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n') 2>/dev/null
    # PKCS#8 key and chain in one file: what Kafka and Cassandra read
    cat "$dir/$name.key" "$dir/$name.crt" "$dir/ca.pem" >"$dir/$name.pem"
  done
  touch "$dir/.complete"
}
