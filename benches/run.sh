#!/usr/bin/env bash
# Runs the micro-benchmarks and keeps what they print, with the machine, in benches/runs/. Compare ratios within one run: the
# absolute times are those of whatever else the machine was doing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run=benches/runs/$(date -u +%Y-%m-%dT%H%MZ)-record.txt
{
  echo "commit   $(git describe --always --dirty 2>/dev/null || echo unknown)"
  echo "machine  $(awk -F ': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
  echo "rustc    $(rustc --version)"
  echo
  cargo bench --bench record --bench batching -- --noplot 2>&1 | grep -vE '^ *(Compiling|Finished|Running|Downloaded|Downloading|Gnuplot)'
} | tee "$run"
echo
echo "kept in $run"
