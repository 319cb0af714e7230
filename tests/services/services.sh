#!/usr/bin/env bash
# Real Kafka (KRaft), Cassandra, PostgreSQL and a schema registry for tests and for trying things out.
#
#   services.sh up | down | status | wipe | fetch      all of $SERVICES
#   services.sh kill NAME [SIGNAL]                     one service, SIGKILL by default; STOP and CONT freeze it and let it go on
#   services.sh start NAME                             one service again, on the data it left
#   services.sh with COMMAND [ARGS...]                 run a command with everything up, stop whatever it started
#   services.sh jars DIRECTORY                         fetch the jars that its pom.xml names, and print where they are
#   services.sh tool NAME [ARGS...]                    topics, console-consumer, console-producer, consumer-groups, configs, acls,
#                                                      get-offsets, perf, cqlsh, psql, or the name of a Java class
#   services.sh browser                                Chromium and its driver, installed where that is allowed; fails without
#
# Kafka, Cassandra and the registry run from their published jars and PostgreSQL from the system's package; where those
# cannot be had and a Docker engine runs, compose.yaml's containers take their place (BACKEND=jars|docker decides by hand).
# `with` starts nothing for a service that its caller names: USERPIPE_TEST_KAFKA and USERPIPE_TEST_CASSANDRA (HOST:PORT),
# USERPIPE_TEST_POSTGRES (a URL without a password; USERPIPE_TEST_POSTGRES_PASSWORD), USERPIPE_TEST_REGISTRY (a URL).
#
# Environment (defaults in brackets):
#   SERVICES   [cassandra kafka postgres]   which to handle, in the order they start; also: registry
#   VAR        [tests/services/var]         data, configuration, logs and pid files of ONE instance
#   LIBS       [tests/services/target]      jars, shared by all instances and keyed by the checksum of what they are made from
#   WAIT       [120]                        seconds for each service to become ready
#   SECURE     [0]                          1: Kafka listeners with SASL and TLS too, Cassandra with passwords and TLS,
#                                           PostgreSQL with TLS; certificates are made in $VAR/certs unless they are there
#   CASS_TLS   [optional]                   with SECURE=1: optional, required, or mutual (it asks for a client certificate)
#   KAFKA_PORT [19092], KAFKA_CONTROLLER_PORT [+1]; with SECURE=1 also +2 SASL_PLAINTEXT (OAUTHBEARER too), +3 SSL (mutual), +4 SASL_SSL
#   KAFKA_ADVERTISED                        HOST:PORT that the broker tells clients instead of its own address, as a wrong set-up does
#   CASS_PORT  [19042], CASS_STORAGE_PORT [19070]; POSTGRES_PORT [19432]; REGISTRY_PORT [19081], REGISTRY_MANAGEMENT_PORT [+1]
#   KAFKA_HEAP [512m], CASS_HEAP [1g]; JAVA [java], MVN [mvn]; CASS_JVM_EXTRA, more JVM options for Cassandra
#   JVM_OPTIONS [quick]                     shipped: Kafka and Cassandra run as their own scripts and conf/cassandra_latest.yaml have it, for benchmarks
#   CASS_COMMITLOG [periodic]               batch: SIGKILL loses no write that was acknowledged
set -euo pipefail

SERVICES_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LIBS=${LIBS:-$SERVICES_HOME/target}
VAR=${VAR:-$SERVICES_HOME/var}
mkdir -p "$LIBS" "$(dirname "$VAR")"
LIBS=$(cd "$LIBS" && pwd)
VAR=$(cd "$(dirname "$VAR")" && pwd)/$(basename "$VAR")
SERVICES=${SERVICES:-cassandra kafka postgres}
export KAFKA_PORT=${KAFKA_PORT:-19092}
KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-$((KAFKA_PORT + 1))}
export CASS_PORT=${CASS_PORT:-19042}
CASS_STORAGE_PORT=${CASS_STORAGE_PORT:-19070}
export POSTGRES_PORT=${POSTGRES_PORT:-19432}
export REGISTRY_PORT=${REGISTRY_PORT:-19081}
REGISTRY_MANAGEMENT_PORT=${REGISTRY_MANAGEMENT_PORT:-$((REGISTRY_PORT + 1))}
SECURE=${SECURE:-0}
WAIT=${WAIT:-120}
JVM_OPTIONS=${JVM_OPTIONS:-quick}
read -ra JAVA_COMMAND <<<"${JAVA:-java}"
# shellcheck disable=SC2034 # of jars.sh
read -ra MAVEN_COMMAND <<<"${MVN:-mvn}"

log() { printf '%s services: %s\n' "$(date +%T)" "$*" >&2; }
die() { log "$*"; exit 1; }

# shellcheck source-path=SCRIPTDIR
source "$SERVICES_HOME/prerequisites.sh"
# shellcheck source-path=SCRIPTDIR
source "$SERVICES_HOME/process.sh"
# shellcheck source-path=SCRIPTDIR
source "$SERVICES_HOME/jars.sh"
# shellcheck source-path=SCRIPTDIR
source "$SERVICES_HOME/docker.sh"
# shellcheck source-path=SCRIPTDIR
source "$SERVICES_HOME/kafka/kafka.sh"
# shellcheck source-path=SCRIPTDIR
source "$SERVICES_HOME/cassandra/cassandra.sh"
# shellcheck source-path=SCRIPTDIR
source "$SERVICES_HOME/postgres/postgres.sh"
# shellcheck source-path=SCRIPTDIR
source "$SERVICES_HOME/registry/registry.sh"

# jars or docker: by hand, as this instance was started, or what can be had (installing it where that is allowed).
backend() {
  local missing
  if [[ -n ${BACKEND:-} ]]; then echo "$BACKEND"; return; fi
  if [[ -f $VAR/backend ]]; then cat "$VAR/backend"; return; fi
  # what was never started needs nothing to be stopped
  case $1 in down|wipe|status|kill) echo jars; return ;; esac
  if missing=$(prerequisites); then echo jars; return; fi
  if docker_runs; then echo docker; return; fi
  die "missing for ${SERVICES// /, }: $missing. Install it, start a Docker engine, or name services that run (see the head of $0)"
}

up() {
  local name
  declare -A began=()
  fetch
  mkdir -p "$VAR"
  echo jars >"$VAR/backend"
  if [[ $SECURE == 1 ]]; then make_certificates; fi
  for name in $SERVICES; do
    began[$name]=$EPOCHREALTIME
    if pid_of "$name" >/dev/null; then log "$name is running already, pid $(pid_of "$name")"; else launch "$name"; fi
  done
  for name in $SERVICES; do await "$name" "${began[$name]}"; done
}

# All at once, since Cassandra's orderly stop takes about five seconds.
down() {
  local name jobs=()
  for name in $SERVICES; do stop "$name" "${1:-TERM}" & jobs+=($!); done
  wait "${jobs[@]}"
}

# Cassandra's data are not worth an orderly stop. All services of the instance go, whatever SERVICES says.
wipe() {
  SERVICES='cassandra kafka postgres registry' down KILL
  forget_postgres
  rm -rf "$VAR" "$VAR.lock"
}

status() {
  local name failed=0
  for name in $SERVICES; do
    if ! pid_of "$name" >/dev/null; then echo "$name: stopped"; failed=1
    elif "${name}_answers"; then echo "$name: ready, pid $(pid_of "$name"), RSS $(rss "$name")"
    else echo "$name: pid $(pid_of "$name"), not answering"; failed=1; fi
  done
  return $failed
}

# The address that tests use, exported unless the caller named one. Fails where the caller named it.
publish() {
  case $1 in
    kafka) [[ -z ${USERPIPE_TEST_KAFKA:-} ]] && export USERPIPE_TEST_KAFKA=127.0.0.1:$KAFKA_PORT ;;
    cassandra) [[ -z ${USERPIPE_TEST_CASSANDRA:-} ]] && export USERPIPE_TEST_CASSANDRA=127.0.0.1:$CASS_PORT ;;
    registry) [[ -z ${USERPIPE_TEST_REGISTRY:-} ]] && export "USERPIPE_TEST_REGISTRY=$(registry_url)" ;;
    postgres)
      [[ -z ${USERPIPE_TEST_POSTGRES:-} ]] && export USERPIPE_TEST_POSTGRES_PASSWORD=userpipe \
        USERPIPE_TEST_POSTGRES=postgres://userpipe@127.0.0.1:$POSTGRES_PORT/userpipe ;;
  esac
}

# Runs a command with the services up; wipes what was started here, whatever happens. The status is the command's.
# The command stays in the foreground, so that Ctrl-C ends it too.
with_services() {
  local name
  mine=()
  [[ $# -gt 0 ]] || die "with: name a command"
  for name in $SERVICES; do
    if publish "$name"; then mine+=("$name"); else log "$name is the caller's"; fi
  done
  export USERPIPE_TEST_SERVICES=$SERVICES_HOME/services.sh USERPIPE_TEST_PRIVATE=$VAR.private LIBS
  trap wipe_mine EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if ((${#mine[@]} > 0)); then VAR=$VAR SERVICES="${mine[*]}" "$USERPIPE_TEST_SERVICES" up; fi
  "$@"
}

# The shared instance, and private ones that a test which was killed has left.
wipe_mine() {
  local dir
  for dir in "$USERPIPE_TEST_PRIVATE"/*/; do
    if [[ -d $dir ]]; then VAR=${dir%/} "$USERPIPE_TEST_SERVICES" wipe || log "could not wipe $dir"; fi
  done
  rm -rf "$USERPIPE_TEST_PRIVATE"
  if ((${#mine[@]} > 0)); then VAR=$VAR "$USERPIPE_TEST_SERVICES" wipe; fi
}

# The service whose prerequisites a tool has.
tool_needs() { case ${1:-} in cqlsh) ;; psql) echo postgres ;; *) echo kafka ;; esac; }

known() { case $1 in kafka|cassandra|postgres|registry) ;; *) die "'$1' is not one of kafka, cassandra, postgres, registry" ;; esac; }

usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; }

verb=${1:-help}
[[ $# -eq 0 ]] || shift
case $verb in
  up|down|wipe|fetch|kill|start)
    exec 9>"$VAR.lock"
    flock -w 300 9 || die "another run holds $VAR.lock" ;;
esac
for service in $SERVICES; do known "$service"; done
case $verb in
  kill|start) known "${1:-}" ;;
  help|-h|--help) usage; exit 0 ;;
esac
case $verb in
  with) with_services "$@"; exit ;;
  browser) browser; exit ;;
  jars) jars "$@"; exit ;;
  start) SERVICES=$1 ;;
  tool) SERVICES=$(tool_needs "$@") ;;
esac
case $verb in
  up|down|status|wipe|fetch|kill|start|tool) chosen=$(backend "$verb") ;;
  *) usage >&2; exit 2 ;;
esac
if [[ $chosen == docker ]]; then "docker_$verb" "$@"; exit; fi
case $verb in
  up|down|status|wipe|fetch) "$verb" ;;
  kill) signal "$1" "${2:-KILL}" ;;
  start) up ;;
  tool) tool "$@" ;;
esac
