#!/usr/bin/env bash
# Compares userpipe with what a person would pick instead, on a Kafka and a Cassandra that it starts itself.
#
#   PEERS    [all]      none (only the bare writer, which also judges the rows, Kafka's own tools, and what is installed: kcat, sqlite3;
#                       100,000 users, two rounds, in about five minutes), all, or some of: spark connect python
#   RECORDS  [200000]   users in the topic
#   ROUNDS   [3]        rounds, in turn
#   SCALE_ROUNDS [ROUNDS]  of scale alone
#   TIMES    [5]        how many times the users for what is fast: stdout, SQLite, produce
#   SECONDS_WATCHED [30]  how long the latency at 1,000 users/s is watched
#   PATHS    [all]      some of: cassandra stdout sqlite produce fetch latency start scale, comma-separated
#   BUILD    [release]  `none` takes target/release/userpipe as it is
#   RUNS     [benches/runs]  where the dated result goes
# Needs Go for the bare writer, Python 3 with venv for the harness and its peers, and what the services need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# shellcheck source=benches/compare/prepare.sh
source benches/compare/prepare.sh
prepare

wants() { [[ ${PEERS:-all} == all || " ${PEERS//,/ } " == *" $1 "* ]]; }
if [[ ${PEERS:-all} == none ]]; then
  RECORDS=${RECORDS:-100000} ROUNDS=${ROUNDS:-2} SCALE_ROUNDS=${SCALE_ROUNDS:-1} TIMES=${TIMES:-2} SECONDS_WATCHED=${SECONDS_WATCHED:-15}
fi

# Built before it is measured; a build beside the measurements would disturb them.
if [[ ,${PATHS:-fetch}, == *,fetch,* ]]; then cargo bench --locked --bench record --no-run; fi

peers=()
if wants python || wants spark; then venv; fi
if wants python; then peers+=("\"python\": [\"$work/venv/bin/python\", \"$here/peers/python/consumer.py\"]"); fi
if wants spark; then peers+=("\"spark\": [\"$work/venv/bin/python\", \"$here/peers/spark/job.py\", \"--jars\", \"$(jars spark | paste -sd,)\"]"); fi
if wants connect; then peers+=("\"connect\": [\"$here/peers/connect/connect.sh\", \"$(connect_classpath)\"]"); fi
if install kcat kcat; then peers+=('"kcat": ["kcat"]'); else say 'kcat is not installed: nothing is compared with it'; fi
install sqlite3 sqlite3 || say 'sqlite3 is not installed: nothing is compared with it'

arguments=(--userpipe "$work/userpipe" --gocql "$work/gocql" --work "$work" --runs "${RUNS:-benches/runs}"
  --kafka-jars "$(tests/services/services.sh jars tests/services/kafka)"
  --records "${RECORDS:-200000}" --rounds "${ROUNDS:-3}" --times "${TIMES:-5}" --seconds "${SECONDS_WATCHED:-30}" --scale-rounds "${SCALE_ROUNDS:-${ROUNDS:-3}}"
  --peers "{$(IFS=,; echo "${peers[*]}")}")
if [[ -n ${PATHS:-} ]]; then arguments+=(--paths "$PATHS"); fi
tests/services/services.sh with python3 "$here" "${arguments[@]}"
