#!/usr/bin/env bash
# Compares userpipe with what a person would pick instead, on a Kafka and a Cassandra that it starts itself.
#
#   PEERS    [all]      none (only the bare writer, which also judges the rows), all, or some of: spark python kcat
#   RECORDS  [200000]   users in the topic
#   ROUNDS   [3]        rounds, in turn; the slow peers run once
#   PATHS    [all]      some of: cassandra stdout sqlite produce latency start scale, comma-separated
#   BUILD    [release]  `none` takes target/release/userpipe as it is
# Needs Go for the bare writer, Python 3 with venv for the harness and its peers, and what the services need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=benches/compare
work=$PWD/target/bench
mkdir -p "$work"
say() { printf 'bench: %s\n' "$*" >&2; }

command -v go >/dev/null || { say 'the bare writer needs Go: install golang-go'; exit 1; }
(cd $here/peers/gocql && go build -o "$work/gocql" .)
[[ ${BUILD:-release} == none ]] || cargo build --release --locked

# Python peers in one virtual environment, made anew when their pins change.
venv() {
  local dir=$work/venv pins=$here/peers/requirements.txt
  if ! cmp -s "$pins" "$dir/requirements.txt"; then
    say 'installing the Python peers'
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/pip" --quiet --disable-pip-version-check install -r "$pins" </dev/null >&2
    cp "$pins" "$dir/requirements.txt"
  fi
}

# The jars of Spark's connectors, resolved once by Maven.
spark_jars() {
  local dir=$work/spark-jars pom=$here/peers/spark/pom.xml
  if ! cmp -s "$pom" "$dir/pom.xml"; then
    say "fetching the jars of Spark's connectors"
    rm -rf "$dir"
    mkdir -p "$dir"
    mvn -B -q -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$dir" </dev/null >&2
    cp "$pom" "$dir/pom.xml"
  fi
  find "$dir" -name '*.jar' | paste -sd,
}

wants() { [[ ${PEERS:-all} == all || " ${PEERS//,/ } " == *" $1 "* ]]; }

peers=()
if wants python || wants spark; then venv; fi
if wants python; then peers+=("\"python\": [\"$work/venv/bin/python\", \"$here/peers/python/consumer.py\"]"); fi
if wants spark; then
  jars=$(spark_jars)
  peers+=("\"spark\": [\"$work/venv/bin/python\", \"$here/peers/spark/job.py\", \"--jars\", \"$jars\"]")
fi
if wants kcat; then
  if command -v kcat >/dev/null; then peers+=('"kcat": ["kcat"]'); else say "kcat is not installed: Kafka's console consumer takes its place"; fi
fi
arguments=(--userpipe "$PWD/target/release/userpipe" --gocql "$work/gocql" --work "$work" --runs benches/runs
  --records "${RECORDS:-200000}" --rounds "${ROUNDS:-3}" --peers "{$(IFS=,; echo "${peers[*]}")}")
if [[ -n ${PATHS:-} ]]; then arguments+=(--paths "$PATHS"); fi

export BENCH_LOG=$work/bench.log
: >"$BENCH_LOG"
# A heap that lets Cassandra take what the writers give; the same for everybody.
export SERVICES='cassandra kafka' VAR=$work/services CASS_HEAP=${CASS_HEAP:-2g}
tests/services/services.sh with python3 $here "${arguments[@]}"
