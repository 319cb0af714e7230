#!/usr/bin/env bash
# Where the CPU time of a path goes: runs it under perf with a build that has its symbols, and keeps the flat profile in
# benches/runs/, where the table of `make bench` finds the newest one of a path whose goal was missed.
#
#   benches/profile.sh NAME...          cassandra stdout sqlite produce ledger latency fetch; memory is the heap on the way to Cassandra
#   RECORDS  [200000]   users in the topic
#   BUILD    []         a program with symbols, instead of the build: as the release, but without LTO
#   RUNS     [benches/runs]  where the dated result goes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=benches/compare/prepare.sh
source benches/compare/prepare.sh
(($# > 0)) || { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
program=${BUILD:-target/profile/release/userpipe}
if [[ -z ${BUILD:-} ]]; then
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_STRIP=false CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
    cargo build --release --locked --target-dir target/profile
fi
BUILD=none prepare
install perf linux-perf || { say 'perf is not installed'; exit 1; }
[[ " $* " != *' memory '* ]] || install valgrind valgrind || { say 'valgrind is not installed'; exit 1; }
tests/services/services.sh with python3 "$here/profiles.py" --userpipe "$PWD/$program" --gocql "$work/gocql" --work "$work" \
  --runs "${RUNS:-benches/runs}" --kafka-jars "$(tests/services/services.sh jars tests/services/kafka)" --records "${RECORDS:-200000}" "$@"
