"""Kafka → Cassandra, → standard output, → SQLite: userpipe and its peers in turn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from bench import Bench
from process import Process, Run, measure, say
from report import Line, median, rate
from services import times


@dataclass(frozen=True)
class Written:
    """Rows that came into a table, from the first row that could be read to the last."""

    rows_per_s: float
    cpu_s: float
    rss_mib: float


def cassandra(bench: Bench) -> None:
    """The main path. Who exists besides depends on what could be installed."""
    peers: dict[str, Callable[[str, str], Run]] = {"userpipe": lambda topic, table: ours(bench, topic, table)}
    if bench.has("gocql"):
        peers["bare gocql writer"] = lambda _, table: gocql(bench, table)
    if bench.has("spark"):
        peers["Spark"] = lambda topic, table: spark(bench, topic, table)
    if bench.has("python"):
        peers["kafka-python"] = lambda topic, table: python(bench, topic, table)
    results: dict[str, list[Written]] = {name: [] for name in peers}
    for round_number in range(bench.rounds):
        for name, run in peers.items():
            # The slow ones once: their minutes tell no more.
            if round_number > 0 and name in ("Spark", "kafka-python"):
                continue
            results[name].append(write_into_table(bench, name, run))
    ours_median = middle(results["userpipe"])
    against = {"bare gocql writer": (0.95, "rows/s"), "Spark": (4.0, "rows/s")}
    for name, (goal, what) in against.items():
        if results.get(name):
            theirs = middle(results[name])
            bench.report.lines.append(
                Line("Kafka → Cassandra", f"{what} against {name}", rate(ours_median.rows_per_s), rate(theirs.rows_per_s),
                     ours_median.rows_per_s / theirs.rows_per_s, goal, True)
            )
    per_record = ours_median.cpu_s / bench.records * 1e6
    bench.report.lines.append(Line("Kafka → Cassandra", "client CPU per record", f"{ours_median.cpu_s:.2f} s", "", per_record, 10.0, False, "µs"))
    bench.report.lines.append(Line("Kafka → Cassandra", "peak RSS", f"{ours_median.rss_mib:.0f} MiB", "", ours_median.rss_mib, 40.0, False, "MiB"))


def middle(all_of: list[Written]) -> Written:
    """The median of each value by itself."""
    return Written(*(median([getattr(one, name) for one in all_of]) for name in ("rows_per_s", "cpu_s", "rss_mib")))


def write_into_table(bench: Bench, name: str, run: Callable[[str, str], Run]) -> Written:
    table = bench.services.fresh_table("users")
    probe = bench.services.probe(table, bench.last_ids)
    try:
        done = run(bench.topic, table)
        first, last = times(probe)
    finally:
        probe.__exit__()
    bench.services.check(table, bench.file)
    result = Written(bench.records / (last - first), done.cpu_s, done.rss_mib)
    say(f"  {name}: {rate(result.rows_per_s)}, {result.cpu_s:.2f} s CPU, {result.rss_mib:.0f} MiB")
    bench.report.measured("Kafka → Cassandra", who=name, rows_per_s=result.rows_per_s, cpu_s=result.cpu_s, rss_mib=result.rss_mib, wall_s=done.wall_s)
    return result


def ours(bench: Bench, topic: str, table: str) -> Run:
    keyspace, name = table.split(".")
    return measure(bench.services.ours(
        "--topic", topic, "--cassandra", bench.services.cassandra, "--keyspace", keyspace, "--table", name, "--consistency", "local-quorum",
        "--group", bench.fresh_group(), "consume", "-e",
    ))


def gocql(bench: Bench, table: str) -> Run:
    return measure([str(bench.services.gocql), "write", "-hosts", bench.services.cassandra, "-table", table, "-file", str(bench.file),
                    "-batch", "50", "-in-flight", "32"])


def spark(bench: Bench, topic: str, table: str) -> Run:
    return measure([*bench.peers["spark"], "--brokers", bench.services.brokers, "--topic", topic, "--cassandra", bench.services.cassandra, "--table", table,
                    "--checkpoint", str(bench.services.work / f"checkpoint-{bench.fresh_group()}")])


def python(bench: Bench, topic: str, table: str) -> Run:
    return measure([*bench.peers["python"], "--brokers", bench.services.brokers, "--topic", topic, "--cassandra", bench.services.cassandra,
                    "--table", table, "--count", str(bench.records)])


def stdout(bench: Bench) -> None:
    """Kafka → a file, against kcat or the console consumer."""
    name, command = bench.console_consumer()
    ours_s, theirs_s = [], []
    target = bench.services.work / "out.jsonl"
    for _ in range(bench.rounds):
        for who, to, line in (
            ("userpipe", ours_s, bench.services.ours("--topic", bench.topic, "--sink", "stdout", "--group", bench.fresh_group(), "consume", "-e")),
            (name, theirs_s, command),
        ):
            run = measure(line, stdout=target)
            with target.open("rb") as lines:
                count = sum(1 for _ in lines)
            if count != bench.records:
                raise AssertionError(f"{who} printed {count} of {bench.records} records")
            to.append(bench.records / run.wall_s)
            bench.report.measured("Kafka → stdout", who=who, records_per_s=to[-1], cpu_s=run.cpu_s, rss_mib=run.rss_mib)
            say(f"  {who}: {rate(to[-1])}")
    bench.report.lines.append(Line("Kafka → stdout", f"records/s against {name}", rate(median(ours_s)), rate(median(theirs_s)), median(ours_s) / median(theirs_s), 1.5, True))


def sqlite(bench: Bench) -> None:
    """Kafka → the embedded SQLite sink, against the sqlite3 shell's own import of the same rows from a file."""
    shell = shutil.which("sqlite3")
    if not shell:
        bench.report.note("no sqlite3 shell: Kafka → SQLite was not compared")
        return
    csv = bench.csv()
    ours_s, theirs_s = [], []
    for number in range(bench.rounds):
        data = bench.services.work / f"sink-{number}"
        shutil.rmtree(data, ignore_errors=True)
        run = measure([str(bench.services.userpipe), "--quiet", "--brokers", bench.services.brokers, "--data-dir", str(data), "--topic", bench.topic,
                       "--sink", "sqlite", "--group", bench.fresh_group(), "consume", "-e"])
        count = int(measure([shell, str(data / "userpipe.db"), "SELECT count(*) FROM created_users"]).stdout)
        if count != bench.records:
            raise AssertionError(f"{count} of {bench.records} rows")
        ours_s.append(bench.records / run.wall_s)
        shutil.rmtree(data)
        database = bench.services.work / "import.db"
        database.unlink(missing_ok=True)
        columns = ", ".join(f"{name} TEXT{' PRIMARY KEY NOT NULL' if name == 'id' else ''}" for name in bench.columns)
        theirs = measure([shell, str(database), f"CREATE TABLE created_users ({columns})", ".mode csv", f".import {csv} created_users"])
        theirs_s.append(bench.records / theirs.wall_s)
        bench.report.measured("Kafka → SQLite", userpipe=ours_s[-1], sqlite3=theirs_s[-1], cpu_s=run.cpu_s, rss_mib=run.rss_mib)
        say(f"  userpipe: {rate(ours_s[-1])}; sqlite3 .import: {rate(theirs_s[-1])}")
    bench.report.lines.append(
        Line("Kafka → SQLite", "rows/s against sqlite3 .import", rate(median(ours_s)), rate(median(theirs_s)), median(ours_s) / median(theirs_s), 0.8, True)
    )


def scale(bench: Bench) -> None:
    """CPU per record with 1, 2 and 4 members of a group, and with 1 and 6 partitions."""
    def cost(topic: str, members: int) -> float:
        group = bench.fresh_group()
        processes = [Process(bench.services.ours("--topic", topic, "--sink", "stdout", "--group", group, "consume", "-e"),
                             stdout=bench.services.work / f"member-{n}.jsonl") for n in range(members)]
        total = 0.0
        for process in processes:
            with process:
                total += process.wait().cpu_s
        # RUSAGE_CHILDREN counts a child when it is waited for, so the sum over the members is that of all of them.
        bench.report.measured("scale", topic=topic, members=members, cpu_us=total / bench.records * 1e6)
        return total / bench.records * 1e6
    by_members = {members: median([cost(bench.topic, members) for _ in range(bench.rounds)]) for members in (1, 2, 4)}
    say(f"  CPU per record by members: {json.dumps(by_members)}")
    growth = by_members[4] / by_members[1] - 1
    bench.report.lines.append(Line("scale", "growth of CPU per record, 1 → 4 members", f"{by_members[4]:.2f} µs", f"{by_members[1]:.2f} µs", growth * 100, 5.0, False, "%"))
    one, six = bench.with_partitions(1), bench.with_partitions(6)
    by_partitions = {n: median([cost(topic, 1) for _ in range(bench.rounds)]) for n, topic in ((1, one), (6, six))}
    growth = by_partitions[6] / by_partitions[1] - 1
    bench.report.lines.append(Line("scale", "growth of CPU per record, 1 → 6 partitions", f"{by_partitions[6]:.2f} µs", f"{by_partitions[1]:.2f} µs", growth * 100, 5.0, False, "%"))
