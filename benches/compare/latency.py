"""How long a record takes to its row at 1,000 users/s, and how long the program takes to start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request

from bench import Bench
from process import Failed, Process, measure, say
from report import Line, median
from services import KEYSPACE

RATE = 1_000
# One record of so many is followed to its row; the asking is load of its own.
FOLLOWED = 10
# What is appended while the group forms is not followed.
SKIP_S = 5
GOAL_MS = 25.0
STARTS = 20


def end_to_end(bench: Bench) -> None:
    """From the broker's append, which is just before its acknowledgement, to a row that somebody else has read."""
    table, topic = bench.services.fresh_table("latency"), bench.fresh_topic()
    # The broker's clock, not the producer's: its append is what it acknowledges. All run on one machine.
    bench.services.create(topic, 3, "message.timestamp.type=LogAppendTime")
    port, data = bench.services.free_port(), bench.services.work / "latency-data"
    shutil.rmtree(data, ignore_errors=True)
    command = [
        str(bench.services.userpipe), "--quiet", "--brokers", bench.services.brokers, "--data-dir", str(data), "--topic", topic,
        "--cassandra", bench.services.cassandra, "--keyspace", KEYSPACE, "--table", table.removeprefix(f"{KEYSPACE}."),
        "run", "--for", f"{bench.seconds}s", "--rate", f"{RATE}/s", "--source", "synthetic", "--results", "20", "--listen", f"127.0.0.1:{port}",
    ]
    follower = Follower(bench, topic, table) if bench.has("kcat") else None
    with Process(command) as process:
        histogram = watch(port, bench.seconds)
        run = process.wait()
    shutil.rmtree(data)
    found = follower.end() if follower else {}
    own = quantile(histogram, 0.99) * 1000
    bench.report.measured("end to end", watcher=found, own_p99_ms=own, own_buckets=histogram, cpu_s=run.cpu_s, rss_mib=run.rss_mib, seconds=bench.seconds)
    add = bench.report.lines.append
    at = f"at {RATE:,} users/s"
    if found:
        say(f"  p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms of {found['followed']:,.0f} rows; the process itself: {own:.1f} ms from the fetch")
        if found["missing"]:
            raise Failed(f"{found['missing']:.0f} rows were not there within a minute")
        bench.report.peer("watcher", f"a row is asked for each ms, one record in {FOLLOWED}, by id, from the broker's append time (LogAppendTime) on; SQLite ledger on")
        add(Line("latency", "end to end", f"p99 from append to a row that was read, {at}", f"{found['followed']:,.0f} rows", f"p50 {found['p50']:.1f} ms",
                 found["p99"], GOAL_MS, False, "ms", "latency"))
    else:
        bench.report.note("without kcat nobody outside watched rows: the latency is the process's own, from the fetch")
    add(Line("latency-own", "end to end", f"p99 from fetch to acknowledged write {at}, interpolated in the process's own histogram", f"{total(histogram):,.0f} records", "",
             own, None if found else GOAL_MS, False, "ms", "latency"))


class Follower:
    """kcat tells what was appended when, and a reader of the table asks for the rows."""

    def __init__(self, bench: Bench, topic: str, table: str) -> None:
        self._log = open(os.environ.get("BENCH_LOG", os.devnull), "ab")
        kcat = [*bench.peers["kcat"], "-C", "-u", "-q", "-b", bench.services.brokers, "-t", topic, "-o", "beginning", "-f", r"%T %k\n"]
        self._kcat = subprocess.Popen(kcat, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log)
        reader = [str(bench.services.gocql), "follow", "-hosts", bench.services.cassandra, "-table", table, "-every", str(FOLLOWED), "-skip", f"{SKIP_S}s", "-limit", "1m"]
        self._reader = subprocess.Popen(reader, stdin=self._kcat.stdout, stdout=subprocess.PIPE, stderr=self._log)

    def end(self) -> dict[str, float]:
        """The quantiles in ms, of what was appended until now."""
        self._kcat.terminate()
        self._kcat.wait()
        said, _ = self._reader.communicate(timeout=120)
        self._log.close()
        if self._reader.returncode != 0:
            raise Failed("the reader of rows failed")
        return dict(json.loads(said))


def watch(port: int, seconds: int) -> list[tuple[float, float]]:
    """The process's histogram of the whole way, each bound in seconds with the records up to it, as it was last told."""
    last = ""
    until = time.monotonic() + seconds - 1
    while time.monotonic() < until:
        time.sleep(1)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
                last = answer.read().decode()
        except OSError:
            continue
    buckets = []
    for line in last.splitlines():
        if line.startswith("userpipe_end_to_end_latency_seconds_bucket"):
            bound = line.split('le="')[1].split('"')[0]
            buckets.append((float(bound), float(line.rsplit(" ", 1)[1])))
    if not buckets or not total(buckets):
        raise Failed("the process told no latencies")
    return buckets


def total(buckets: list[tuple[float, float]]) -> float:
    """How many records a histogram has."""
    return buckets[-1][1]


def quantile(buckets: list[tuple[float, float]], share: float) -> float:
    """Seconds: between the bounds of the bucket that it falls into, as Prometheus's histogram_quantile has it."""
    wanted = share * total(buckets)
    before, below = 0.0, 0.0
    for bound, up_to in buckets:
        if up_to >= wanted:
            return before if bound == float("inf") else before + (bound - before) * (wanted - below) / (up_to - below)
        before, below = bound, up_to
    return before


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
    size = stripped_mib(bench)
    bench.report.lines += [
        Line("start-version", "start", "userpipe --version", "", "", version * 1000, 10.0, False, "ms"),
        Line("start-row", "start", "first row of an embedded run, cold, to the end of the process", "", "", median(rows) * 1000, 300.0, False, "ms"),
        Line("binary", "binary", "stripped release", "", "", size, 25.0, False, "MiB", profile="binary"),
    ]


def stripped_mib(bench: Bench) -> float:
    """The size of the program; a build that kept its symbols is stripped first."""
    copy = bench.services.work / "stripped"
    measure(["strip", "-o", str(copy), str(bench.services.userpipe)])
    size = copy.stat().st_size / 2**20
    copy.unlink()
    return size
