"""API → record: what parsing and formatting a user costs, against parsing it to a `serde_json::Value`, as the micro-benchmarks have it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from bench import Bench
from process import Failed, say
from report import ROOT, Line, median

# Ours and the plain one: both are given one page of an API answer as bytes.
PAIR = ("page/to_records", "page/plain_value")
# A page, as the micro-benchmarks have it.
USERS = 500


def fetch(bench: Bench) -> None:
    """The two benchmarks in turn, with little around them; the full run of all of them is that of benches/run.sh."""
    there = {line.removesuffix(": benchmark") for line in cargo_bench("--list").splitlines()}
    if not there.issuperset(PAIR):
        raise Failed(f"benches/record.rs has no {PAIR}")
    ours, theirs = [], []
    for _ in range(bench.rounds):
        for name, times in zip(PAIR, (ours, theirs), strict=True):
            times.append(seconds(name) / USERS)
            bench.report.measured("fetch", who=name, us_per_user=times[-1] * 1e6)
    mine, plain = median(ours), median(theirs)
    say(f"  {mine * 1e6:.2f} µs a user; serde_json::Value: {plain * 1e6:.2f} µs")
    bench.report.peer("serde_json::Value", f"{PAIR[1]} of benches/record.rs, against {PAIR[0]}: pages of {USERS} users, the medians of criterion")
    bench.report.lines.append(
        Line("fetch", "fetch", "users/s/core, parse + format, against plain serde_json to Value", f"{1 / mine:,.0f}/s", f"{1 / plain:,.0f}/s", plain / mine, 3.0, profile="fetch")
    )


def seconds(name: str) -> float:
    """The median of one benchmark's iteration, from what criterion keeps."""
    kept = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion" / name / "new" / "estimates.json"
    kept.unlink(missing_ok=True)
    cargo_bench("--noplot", "--exact", name, "--warm-up-time", "0.5", "--measurement-time", "2")
    return float(json.loads(kept.read_text())["median"]["point_estimate"]) / 1e9


def cargo_bench(*options: str) -> str:
    """What the micro-benchmarks print."""
    command = ["cargo", "bench", "--locked", "--bench", "record", "--", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=3600)
    if done.returncode != 0:
        raise Failed(f"the micro-benchmarks: {done.stderr.strip()[-500:]}")
    return done.stdout
