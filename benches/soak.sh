#!/usr/bin/env bash
# Many synthetic records through `produce` and `consume` (Cassandra) at once, with RSS, lag and CPU per record looked at each
# second, and kept in benches/runs/ as CSV, JSON and SVG. Fails where the memory is not flat.
#
#   RECORDS  [5000000]  needs about 8 GB of disk below target/bench for 5 million; what the services hold is removed at the end
#   RATE     []         users a second that are produced at the most, as in 20000/s; all at once without
#   BUILD    [release]  `none` takes target/release/userpipe as it is
#   RUNS     [benches/runs]  where the dated result goes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=benches/compare/prepare.sh
source benches/compare/prepare.sh
prepare

arguments=(--userpipe "$work/userpipe" --gocql "$work/gocql" --work "$work" --runs "${RUNS:-benches/runs}"
  --kafka-jars "$(tests/services/services.sh jars tests/services/kafka)" --records "${RECORDS:-5000000}")
if [[ -n ${RATE:-} ]]; then arguments+=(--rate "$RATE"); fi
tests/services/services.sh with python3 "$here/soak.py" "${arguments[@]}"
