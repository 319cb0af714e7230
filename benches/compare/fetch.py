"""API → record: what parsing and formatting a user costs, against parsing it to a `serde_json::Value`, as the micro-benchmarks have it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from bench import Bench
from process import Failed, say
from report import ROOT, Line, median

# Both are given one page of an API answer as bytes.
OURS, THEIRS = "api_to_record/page_to_records", "api_to_record/page_to_value"
# A page, as the micro-benchmarks have it.
USERS = 500


def fetch(bench: Bench) -> None:
    """The two benchmarks in turn, with little around them; the full run of all of them is that of benches/run.sh."""
    ours, theirs = [], []
    for _ in range(bench.rounds):
        for name, times in ((OURS, ours), (THEIRS, theirs)):
            times.append(seconds(name) / USERS)
            bench.report.measured("fetch", who=name, us_per_user=times[-1] * 1e6)
    mine, plain = median(ours), median(theirs)
    say(f"  {mine * 1e6:.2f} µs a user; serde_json::Value: {plain * 1e6:.2f} µs")
    bench.report.peer("serde_json::Value", "the same page parsed by serde_json::from_slice::<Value>, and dropped")
    bench.report.lines.append(
        Line("fetch", "fetch", "users/s/core, parse + format, against plain serde_json to Value", f"{1 / mine:,.0f}/s", f"{1 / plain:,.0f}/s", plain / mine, 3.0, profile="fetch")
    )


def seconds(name: str) -> float:
    """The median of one benchmark's iteration, from what criterion keeps."""
    command = ["cargo", "bench", "--locked", "--bench", "record", "--", "--noplot", "--exact", name, "--warm-up-time", "0.5", "--measurement-time", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1800)
    kept = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion" / name / "new" / "estimates.json"
    if done.returncode != 0 or name not in done.stdout:
        raise Failed(f"the micro-benchmark {name}: {done.stderr.strip()[-500:] or 'there is none of that name'}")
    return float(json.loads(kept.read_text())["median"]["point_estimate"]) / 1e9
