#!/usr/bin/env bash
# Runs userpipe against the programs that others use for the same topic and table, and prints a table of who read what.
#
# They are installed from their package registries below target/ and get a Kafka, a Cassandra and a schema registry of their
# own (the demos' topic names are used as they are); ports as in services/services.sh. What cannot be had is a failure, and
# so is a difference: the first record and field are named, the other programs still run. The table is kept in
# target/interop/table.txt. USERPIPE_SAMPLES adds recorded answers of the API.
# Arguments: names of programs (after topic.py, which the others need) instead of all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source-path=SCRIPTDIR
source tests/interop/environment.sh

ALL=(partitions batches console demo_producers serializers with_spark)
SCRATCH=$PWD/target/interop

prepare() {
  rm -rf "$SCRATCH"
  mkdir -p "$SCRATCH"
  PYTHON=$(python_with_packages)
  INTEROP_SPARK_JARS=$(tests/services/services.sh jars tests/interop/spark)
  cargo build --locked --features failpoints
  export PYTHON INTEROP_SPARK_JARS INTEROP_PROGRAM=$PWD/target/debug/userpipe
  export INTEROP_SCRATCH=$SCRATCH INTEROP_RESULTS=$SCRATCH/results
}

# Runs with the services up. topic.py fills the topic that the others read, so it is the first.
programs() {
  local name failed=0 began
  for name in topic "$@"; do
    began=$SECONDS
    "$PYTHON" "tests/interop/$name.py" >"$SCRATCH/$name.log" 2>&1 || { failed=1; tail -n 25 "$SCRATCH/$name.log" >&2; }
    echo "$name: $((SECONDS - began)) s" >&2
  done
  return $failed
}

# The rows so far; the first line names the columns.
table() {
  { printf 'peer\tdirection\trecords\tequal\n'; cat "$SCRATCH/results"; } |
    awk -F '\t' '{ printf "%-22s %-38s %7s  %s\n", $1, $2, $3, $4 }' | tee "$SCRATCH/table.txt"
}

if [[ ${1:-} == --with-services ]]; then
  shift
  JAVA_HOME=$(java_for_spark)
  export JAVA_HOME SPARK_LOCAL_IP=127.0.0.1
  programs "$@"
  exit
fi

prepare
[[ $# -gt 0 ]] || set -- "${ALL[@]}"
# services of the caller would have records of their own under these names
unset USERPIPE_TEST_KAFKA USERPIPE_TEST_CASSANDRA USERPIPE_TEST_REGISTRY
status=0
VAR=${VAR:-$SCRATCH/services} SERVICES='cassandra kafka registry' \
  tests/services/services.sh with tests/interop/run.sh --with-services "$@" || status=$?
touch "$SCRATCH/results"
table
if ((status != 0)); then echo 'interop: a peer differs, or could not be run (see above)' >&2; fi
exit $status
