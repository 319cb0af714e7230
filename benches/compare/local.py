"""Kafka → standard output, and → SQLite: userpipe and the tools of every day."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

from bench import Bench
from process import Failed, Run, measure, say
from report import Line, median, rate
from services import JVM

MASK = (1 << 64) - 1


def digest(lines: list[bytes]) -> tuple[int, int]:
    """How many lines, and a sum of their hashes that does not depend on their order."""
    return len(lines), sum(map(hash, lines)) & MASK


def stdout(bench: Bench) -> None:
    """Kafka → a pipe, against kcat and the console consumer. From the first byte to the last one, so that nobody's start is in it."""
    topic = bench.topic(3, bench.many)
    expected = digest(bench.many.read_bytes().splitlines())
    brokers, count = bench.services.brokers, str(bench.many_records)
    console = bench.services.kafka_tool("consumer.ConsoleConsumer", "--bootstrap-server", brokers, "--topic", topic, "--from-beginning", "--max-messages", count)
    commands = {"console consumer": console}
    bench.report.peer("console consumer", f"Kafka 4.3.1's own, {' '.join(JVM)}")
    if bench.has("kcat"):
        commands["kcat"] = [*bench.peers["kcat"], "-C", "-b", brokers, "-t", topic, "-o", "beginning", "-e", "-q"]
        bench.report.peer("kcat", f"{kcat_version(bench)}; -C -o beginning -e, no group")
    else:
        bench.report.note("kcat is not installed: Kafka → stdout was not compared with it")
    rates: dict[str, list[float]] = {name: [] for name in ("userpipe", *commands)}
    walls: dict[str, list[float]] = {name: [] for name in rates}
    size = bench.many.stat().st_size
    for _ in range(bench.rounds):
        ours = bench.services.ours("--topic", topic, "--sink", "stdout", "--group", bench.fresh_group(), "consume", "-e")
        for name, command in {"userpipe": ours, **commands}.items():
            run = measure(command)
            found = digest(run.out.splitlines())
            if found != expected:
                raise Failed(f"{name} did not print the {bench.many_records:,} records of the topic, but {found[0]:,} lines")
            rates[name].append(run.out_bytes_per_s / size * bench.many_records)
            walls[name].append(bench.many_records / run.wall_s)
            bench.report.measured("Kafka → stdout", who=name, records_per_s=rates[name][-1], with_start=walls[name][-1], cpu_s=run.cpu_s, rss_mib=run.rss_mib)
            say(f"  {name}: {rate(rates[name][-1])} ({rate(walls[name][-1])} with its start and end), {run.cpu_s:.2f} s CPU")
    for name in commands:
        for key, what, all_of, goal in (("", "records/s", rates, 1.5), ("-whole", "the same, start and end included,", walls, None)):
            mine, theirs = median(all_of["userpipe"]), median(all_of[name])
            bench.report.lines.append(
                Line(f"stdout-{name.split()[0]}{key}", "Kafka → stdout", f"{what} against {name}", rate(mine), rate(theirs), mine / theirs, goal, profile="stdout")
            )


def kcat_version(bench: Bench) -> str:
    """As it names itself."""
    said = measure([*bench.peers["kcat"], "-V"]).stdout
    return next((f"kcat {line.removeprefix('Version ').split(' (')[0]}" for line in said.splitlines() if line.startswith("Version")), "kcat")


def sqlite(bench: Bench) -> None:
    """Kafka → the embedded SQLite sink, against the sqlite3 shell's own import of the same rows from a file."""
    shell = shutil.which("sqlite3")
    if not shell:
        bench.report.note("no sqlite3 shell: Kafka → SQLite was not compared")
        return
    topic, rows = bench.topic(3, bench.many), bench.csv(bench.many)
    expected = values(bench.many)
    bench.report.peer("sqlite3 .import", f"{measure([shell, '--version']).stdout.split()[0]}; CSV into an empty table with the same primary key, its own defaults, one transaction")
    ours_s, theirs_s = [], []
    for number in range(bench.rounds):
        data = bench.services.work / f"sink-{number}"
        shutil.rmtree(data, ignore_errors=True)
        run = measure([str(bench.services.userpipe), "--quiet", "--brokers", bench.services.brokers, "--data-dir", str(data), "--topic", topic,
                       "--sink", "sqlite", "--group", bench.fresh_group(), "consume", "-e"])
        judge("userpipe", bench, data / "userpipe.db", expected)
        shutil.rmtree(data)
        database = bench.services.work / "import.db"
        database.unlink(missing_ok=True)
        columns = ", ".join(f"{name} TEXT{' PRIMARY KEY NOT NULL' if name == 'id' else ''}" for name in bench.columns)
        theirs = measure([shell, str(database), f"CREATE TABLE created_users ({columns})", ".mode csv", f".import {rows} created_users"])
        judge("sqlite3 .import", bench, database, expected)
        database.unlink()
        for who, rates, one in (("userpipe", ours_s, run), ("sqlite3 .import", theirs_s, theirs)):
            kept(bench, who, rates, one)
    mine, other = median(ours_s), median(theirs_s)
    bench.report.lines.append(
        Line("sqlite", "Kafka → SQLite", "rows/s, start and end included, against sqlite3 .import", rate(mine), rate(other), mine / other, 0.8, profile="sqlite")
    )


def kept(bench: Bench, who: str, rates: list[float], run: Run) -> None:
    """One measurement, said and remembered."""
    rates.append(bench.many_records / run.wall_s)
    bench.report.measured("Kafka → SQLite", who=who, rows_per_s=rates[-1], cpu_s=run.cpu_s, rss_mib=run.rss_mib)
    say(f"  {who}: {rate(rates[-1])}, {run.cpu_s:.2f} s CPU, {run.rss_mib:.0f} MiB")


def values(file: Path) -> tuple[int, int]:
    """The digest of the values of all users of a file."""
    with file.open() as lines:
        hashes = [hash(tuple(json.loads(line).values())) for line in lines]
    return len(hashes), sum(hashes) & MASK


def judge(who: str, bench: Bench, database: Path, expected: tuple[int, int]) -> None:
    """Every row, value by value, against the file."""
    connection = sqlite3.connect(database)
    hashes = [hash(row) for row in connection.execute(f"SELECT {', '.join(bench.columns)} FROM created_users")]
    connection.close()
    if (len(hashes), sum(hashes) & MASK) != expected:
        raise Failed(f"the rows of {who} in SQLite ({len(hashes):,}) are not those of the file ({expected[0]:,})")
