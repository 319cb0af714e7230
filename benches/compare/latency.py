"""How long a record takes to its row at 1,000 users/s, and how long the program takes to start."""

from __future__ import annotations

import shutil
import time
import urllib.request

from bench import Bench
from process import Failed, Process, measure, say
from report import Line, median

RATE = 1_000
SECONDS = 30
STARTS = 20
# The bound of the histogram that the goal is compared with.
GOAL_S = 0.025


def end_to_end(bench: Bench) -> None:
    """From the fetch to the acknowledged write, which holds the way from the produce acknowledgement to a row that can be read."""
    keyspace, table = bench.services.fresh_table("latency").split(".")
    port = bench.free_port()
    command = bench.services.ours(
        "--topic", bench.fresh_topic(), "--partitions", "3", "--ledger", "off", "--cassandra", bench.services.cassandra, "--keyspace", keyspace, "--table", table,
        "run", "--for", f"{SECONDS}s", "--rate", f"{RATE}/s", "--source", "synthetic", "--results", "20", "--listen", f"127.0.0.1:{port}",
    )
    last = ""
    with Process(command) as process:
        until = time.monotonic() + SECONDS - 1
        while time.monotonic() < until:
            time.sleep(1)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
                    last = answer.read().decode()
            except OSError:
                continue
        process.wait()
    within, total = buckets(last)
    share = within / total if total else 0.0
    bench.report.measured("end to end", within_25_ms=within, total=total, metrics=[line for line in last.splitlines() if "latency" in line or "delivery" in line])
    say(f"  {share:.2%} of {total:,.0f} records within {GOAL_S * 1000:.0f} ms")
    bench.report.lines.append(Line("end to end", f"share within {GOAL_S * 1000:.0f} ms at {RATE:,} users/s (p99: 99 %)", f"{total:,.0f} records", "", share * 100, 99.0, True, "%"))


def buckets(metrics: str) -> tuple[float, float]:
    """How many records the histogram of the whole way has up to the goal, and in all."""
    within = total = 0.0
    for line in metrics.splitlines():
        name = line.split("{")[0].split(" ")[0]
        if name.endswith("_latency_seconds_bucket") and 'le="0.025"' in line:
            within = float(line.rsplit(" ", 1)[1])
        if name.endswith("_latency_seconds_count"):
            total = float(line.rsplit(" ", 1)[1])
    if not total:
        raise Failed("the process told no latencies")
    return within, total


def start(bench: Bench) -> None:
    """`--version`, and the first row of an embedded run with nothing there yet."""
    version = median([measure([str(bench.services.userpipe), "--version"]).wall_s for _ in range(STARTS)])
    rows = []
    for number in range(STARTS):
        data = bench.services.work / f"cold-{number}"
        shutil.rmtree(data, ignore_errors=True)
        command = [str(bench.services.userpipe), "--quiet", "--data-dir", str(data), "run", "--once", "--count", "1", "--source", "synthetic"]
        rows.append(measure(command).wall_s)
        shutil.rmtree(data)
    bench.report.measured("start", version_s=version, first_row_s=rows)
    bench.report.lines.append(Line("start", "userpipe --version", "", "", version * 1000, 10.0, False, "ms"))
    bench.report.lines.append(Line("start", "first row of an embedded run, cold, to the end of the process", "", "", median(rows) * 1000, 300.0, False, "ms"))
    size = bench.services.userpipe.stat().st_size / 2**20
    bench.report.lines.append(Line("binary", "stripped release", "", "", size, 25.0, False, "MiB"))
