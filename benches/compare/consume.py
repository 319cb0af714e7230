"""Kafka → Cassandra: userpipe and its peers in turn."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from bench import Bench
from process import Process, Run, measure, say
from report import Line, median, rate
from services import KEYSPACE, Probe
from soak import EARLY_RECORDS, GROWTH_MAX

PATH = "Kafka → Cassandra"
# Of each of the two, before the first measurement.
WARM_RUNS = 4
# Their minutes tell no more than one of them does.
ONCE = ("kafka-python",)


@dataclass(frozen=True)
class Written:
    """Rows that came into a table, from the first row that could be read to the last."""

    rows_per_s: float
    cpu_s: float
    rss_mib: float


@dataclass(frozen=True)
class Peer:
    """Somebody who writes the topic (or the file) into a table, and how the result names and judges it."""

    key: str
    run: Callable[[Bench, str, str, Probe], Run]
    settings: str
    goal: float | None


def cassandra(bench: Bench) -> None:
    """The main path. Who exists besides depends on what could be installed."""
    peers = {name: peer for name, peer in PEERS.items() if bench.has(peer.key)}
    results: dict[str, list[Written]] = {name: [] for name in ("userpipe", *peers)}
    warm(bench)
    # In turn, so that what else the machine does meets all of them.
    for round_number in range(bench.rounds):
        results["userpipe"].append(write_into_table(bench, "userpipe", ours))
        for name, peer in peers.items():
            if round_number == 0 or name not in ONCE:
                results[name].append(write_into_table(bench, name, peer.run))
    mine = middle(results["userpipe"])
    for name, peer in peers.items():
        theirs = middle(results[name])
        bench.report.peer(name, peer.settings)
        ratio = mine.rows_per_s / theirs.rows_per_s
        bench.report.lines.append(
            Line(f"cassandra-{peer.key}", PATH, f"rows/s against {name}", rate(mine.rows_per_s), rate(theirs.rows_per_s), ratio, peer.goal, profile="cassandra")
        )
    fastest = middle(results["bare gocql writer"])
    bench.report.lines += [
        Line("cassandra-cpu", PATH, "client CPU per record (the bare writer's beside it)", f"{mine.cpu_s:.2f} s", f"{fastest.cpu_s:.2f} s",
             mine.cpu_s / bench.records * 1e6, 10.0, False, "µs", "cassandra"),
        Line("cassandra-rss", PATH, f"peak RSS at {bench.records:,} records", f"{mine.rss_mib:.0f} MiB", f"{fastest.rss_mib:.0f} MiB",
             mine.rss_mib, 40.0, False, "MiB", "memory"),
    ]
    flat(bench)


def warm(bench: Bench) -> None:
    """Until the node's compiler has seen enough of requests of either kind: while it compiles, a row costs it twice as much."""
    for run in (ours, gocql) * WARM_RUNS:
        table = bench.services.fresh_table("warm")
        with bench.services.probe(table, bench.last_ids()) as probe:
            run(bench, bench.topic(), table, probe)


def flat(bench: Bench) -> None:
    """What the last soak found, which is a run of its own."""
    soaks = [(path, json.loads(path.read_text())) for path in sorted(bench.report.runs.glob("*-soak.json"))]
    long_enough = [(path, soak) for path, soak in soaks if soak["verdict"]["records"] > EARLY_RECORDS]
    if not long_enough:
        bench.report.note("whether memory is flat to 5 million records is for make soak, of which no result was kept")
        return
    path, soak = long_enough[-1]
    verdict = soak["verdict"]
    bench.report.note(f"the soak is benches/runs/{path.name}: commit {soak['machine']['commit']}, {verdict['records']:,} records")
    bench.report.lines.append(
        Line("soak", PATH, f"growth of RSS from {EARLY_RECORDS:,} to {verdict['records']:,} records (make soak)", f"{verdict['rss_peak_mib']:.0f} MiB",
             f"from {verdict['rss_early_mib']:.0f} MiB", verdict["rss_growth"] * 100, GROWTH_MAX * 100, False, "%", "memory")
    )


def middle(all_of: list[Written]) -> Written:
    """The median of each value by itself."""
    return Written(*(median([getattr(one, name) for one in all_of]) for name in ("rows_per_s", "cpu_s", "rss_mib")))


def write_into_table(bench: Bench, name: str, run: Callable[[Bench, str, str, Probe], Run]) -> Written:
    """One run into an empty table, whose rows are compared with the file after it."""
    topic, table = bench.topic(), bench.services.fresh_table("users")
    with bench.services.probe(table, bench.last_ids()) as probe:
        before = bench.services.node_cpu_s()
        done = run(bench, topic, table, probe)
        first, last = probe.times()
        node_cpu_s = bench.services.node_cpu_s() - before
    bench.services.check(table, bench.file)
    result = Written(bench.records / (last - first), done.cpu_s, done.rss_mib)
    say(f"  {name}: {rate(result.rows_per_s)}, {result.cpu_s:.2f} s CPU, {result.rss_mib:.0f} MiB; the node {node_cpu_s:.1f} s CPU")
    bench.report.measured(
        PATH, who=name, rows_per_s=result.rows_per_s, cpu_s=result.cpu_s, rss_mib=result.rss_mib, wall_s=done.wall_s, cassandra_cpu_s=node_cpu_s
    )
    return result


def ours(bench: Bench, topic: str, table: str, _: Probe) -> Run:
    """userpipe as it comes."""
    return measure(command(bench, topic, table, bench.fresh_group()))


def command(bench: Bench, topic: str, table: str, group: str) -> list[str]:
    """What reads a whole topic into a table of Cassandra."""
    return bench.services.ours(
        "--topic", topic, "--cassandra", bench.services.cassandra, "--keyspace", KEYSPACE, "--table", table.removeprefix(f"{KEYSPACE}."),
        "--consistency", "local-quorum", "--group", group, "consume", "-e",
    )


def gocql(bench: Bench, _: str, table: str, __: Probe) -> Run:
    """The limit: it has all rows in memory before it writes the first one."""
    return measure([str(bench.services.gocql), "write", "-hosts", bench.services.cassandra, "-table", table, "-file", str(bench.file),
                    "-batch", "50", "-in-flight", "32"])


def spark(bench: Bench, topic: str, table: str, _: Probe) -> Run:
    """It ends when it has read what was in the topic at its start."""
    with tempfile.TemporaryDirectory(dir=bench.services.work) as checkpoint:
        return measure([*bench.peers["spark"], "--brokers", bench.services.brokers, "--topic", topic, "--cassandra", bench.services.cassandra, "--table", table,
                        "--checkpoint", checkpoint])


def connect(bench: Bench, topic: str, table: str, probe: Probe) -> Run:
    """A worker goes on for ever, so it is stopped when the last rows are there."""
    with tempfile.TemporaryDirectory(dir=bench.services.work) as work:
        command = [*bench.peers["connect"], "--brokers", bench.services.brokers, "--topic", topic, "--cassandra", bench.services.cassandra, "--table", table,
                   "--work", work, "--port", str(bench.services.free_port())]
        with Process(command) as process:
            probe.times()
            return process.stop()


def python(bench: Bench, topic: str, table: str, _: Probe) -> Run:
    """One row after the other."""
    return measure([*bench.peers["python"], "--brokers", bench.services.brokers, "--topic", topic, "--cassandra", bench.services.cassandra,
                    "--table", table, "--count", str(bench.records)])


PEERS = {
    "bare gocql writer": Peer(
        "gocql", gocql, "gocql 1.7.0, no Kafka: rows from memory, 32 unlogged batches of 50 in flight, 2 connections, no compression (faster here than Snappy), LOCAL_QUORUM", 0.95
    ),
    "Kafka Connect": Peer(
        "connect", connect,
        "Kafka Connect runtime 4.3.1 with a minimal Cassandra sink task (ours, on the DataStax driver 4.18.1, since no connector could be had; it is "
        "generous to the framework): standalone, 2 tasks, schemaless JSON, 5,000 records a poll, 16 unlogged batches of 50 in flight a task, no "
        "compression, LOCAL_QUORUM, 256 MiB to 2 GiB heap", 2.0,
    ),
    "Spark": Peer(
        "spark", spark,
        "pyspark 3.5.3, Structured Streaming, connector 3.5.1: local[2], 100,000 offsets a trigger in 4 tasks, unlogged batches of 50 grouped by replica set, 32 in "
        "flight a task, no compression, LOCAL_QUORUM, 1 GiB heap; from its first row to its last", 4.0,
    ),
    "kafka-python": Peer("python", python, "kafka-python 2.2.15 and cassandra-driver 3.29.2 as the demos have them: one prepared insert after the other; once", None),
}
