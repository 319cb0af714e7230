#!/usr/bin/env bash
# Runs the tests and counts them: run.sh hermetic | live | all. The last line is `N passed, N failed, N skipped`.
#
# Hermetic tests need nothing. Live ones get real services, which are wiped afterwards whatever happens; to use services of
# your own, name them in the environment (see services/services.sh).
# USERPIPE_SAMPLES (a directory of recorded API answers) brings in the tests that need it: those marked as ignored among the
# hermetic ones, and those with `samples` in their name among the live ones. They count as skipped elsewhere, and so do
# live tests with `needs_root` in their name for other users.
# LIVE_THREADS [3]: live tests at once; most of the time they wait.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=${1:-all}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
export VAR=${VAR:-$PWD/target/test-services}

# Every test binary but `live`, whose tests would count as skipped.
hermetic() {
  local dir targets=(--lib --bins)
  for dir in tests/*/main.rs; do
    dir=$(basename "$(dirname "$dir")")
    if [[ $dir != live ]]; then targets+=(--test "$dir"); fi
  done
  cargo test --no-fail-fast "${targets[@]}" -- ${USERPIPE_SAMPLES:+--include-ignored} && cargo test --doc
}

live() {
  local options=(--ignored "--test-threads=${LIVE_THREADS:-3}")
  if [[ -z ${USERPIPE_SAMPLES:-} ]]; then options+=(--skip samples); fi
  if ((EUID != 0)); then options+=(--skip needs_root); fi
  # built first, so that the services do not wait for the compiler; the program too, which the tests drive
  cargo test --test live --no-run || return
  tests/services/services.sh with cargo test --test live -- "${options[@]}"
}

# The sums of cargo's own result lines, all that was filtered out or ignored being skipped.
totals() {
  awk '/^test result: / { gsub(";", ""); for (i = 4; i < NF; i++) n[$(i + 1)] += $i }
    END { printf "%d passed, %d failed, %d skipped", n["passed"], n["failed"], n["ignored"] + n["filtered"] }' "$@"
}

parts=("$what")
case $what in
  all) parts=(hermetic live) ;;
  hermetic|live) ;;
  *) echo "usage: $0 hermetic|live|all" >&2; exit 2 ;;
esac
failed=0
for part in "${parts[@]}"; do
  if [[ $part == live ]]; then live; else hermetic; fi | tee "$results/$part" || failed=1
done
echo
for part in "${parts[@]}"; do echo "$part: $(totals "$results/$part")"; done
totals "$results"/*
echo
exit $failed
