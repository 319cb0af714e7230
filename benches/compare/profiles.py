"""`benches/profile.sh NAME…`: where the CPU time of a path goes, as perf sees it, or its heap, as massif does; for the table of `make bench`.

A missed goal names the newest file of its path's name there.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import consume
from bench import Bench, Size
from process import Failed, measure, say
from report import Report, machine
from services import Services

# Samples a second, so that it does not beat with the kernel's ticks.
FREQUENCY = "997"
# What is less says nothing.
PERCENT_MIN = "0.5"


def cassandra(bench: Bench) -> list[str]:
    """Kafka → Cassandra."""
    return consume.command(bench, bench.topic(), bench.services.fresh_table("profile"), bench.fresh_group())


def stdout(bench: Bench) -> list[str]:
    """Kafka → standard output."""
    return bench.services.ours("--topic", bench.topic(3, bench.many), "--sink", "stdout", "--group", bench.fresh_group(), "consume", "-e")


def sqlite(bench: Bench) -> list[str]:
    """Kafka → SQLite."""
    data = fresh(bench, "profile-sink")
    command = [str(bench.services.userpipe), "--quiet", "--brokers", bench.services.brokers, "--data-dir", data, "--topic", bench.topic(3, bench.many)]
    return [*command, "--sink", "sqlite", "--group", bench.fresh_group(), "consume", "-e"]


def produce(bench: Bench) -> list[str]:
    """JSON Lines → Kafka."""
    return bench.services.ours("--topic", bench.fresh_topic(), "--partitions", "3", "--ledger", "off", "produce", "--input", str(bench.many))


def ledger(bench: Bench) -> list[str]:
    """JSON Lines → the SQLite ledger → Kafka."""
    data = fresh(bench, "profile-ledger")
    command = [str(bench.services.userpipe), "--quiet", "--brokers", bench.services.brokers, "--data-dir", data, "--topic", bench.fresh_topic()]
    return [*command, "produce", "--input", str(bench.file)]


def latency(bench: Bench) -> list[str]:
    """The whole pipeline at 1,000 users/s."""
    data, table = fresh(bench, "profile-latency"), bench.services.fresh_table("profile")
    command = [str(bench.services.userpipe), "--quiet", "--brokers", bench.services.brokers, "--data-dir", data, "--topic", bench.fresh_topic()]
    sink = ["--cassandra", bench.services.cassandra, "--keyspace", consume.KEYSPACE, "--table", table.removeprefix(f"{consume.KEYSPACE}.")]
    return [*command, *sink, "run", "--for", "15s", "--rate", "1000/s", "--source", "synthetic", "--results", "20"]


def fetch(bench: Bench) -> list[str]:
    """Synthetic users → records → lines."""
    return [str(bench.services.userpipe), "--quiet", "fetch", "--source", "synthetic", "--results", "5000", "--count", str(bench.many_records)]


def perf(data: Path) -> list[str]:
    """Samples of the CPU."""
    return ["perf", "record", "--quiet", "-F", FREQUENCY, "-o", str(data), "--"]


def massif(data: Path) -> list[str]:
    """The heap over time; dozens of times slower."""
    return ["valgrind", "--quiet", "--tool=massif", f"--massif-out-file={data}"]


PATHS: dict[str, Callable[[Bench], list[str]]] = {
    "cassandra": cassandra, "memory": cassandra, "stdout": stdout, "sqlite": sqlite, "produce": produce, "ledger": ledger, "latency": latency, "fetch": fetch,
}


def fresh(bench: Bench, name: str) -> str:
    """A directory that is not there yet."""
    data = bench.services.work / name
    shutil.rmtree(data, ignore_errors=True)
    return str(data)


def main() -> int:
    """Profiles each path that is named."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("userpipe", "gocql", "kafka-jars", "work", "runs"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--records", type=int, default=200_000)
    arguments.add_argument("names", nargs="+", choices=PATHS)
    args = arguments.parse_args()
    services = Services(args.userpipe, args.gocql, args.kafka_jars, args.work)
    bench = Bench(services, {}, Report({}, args.runs), Size(args.records, 1, 1, 5, 0))
    for name in args.names:
        command = PATHS[name](bench)
        data = args.work / "profile.data"
        recorder = massif if name == "memory" else perf
        run = measure([*recorder(data), *command], stdout=Path("/dev/null"))
        path = args.runs / f"{datetime.now(UTC):%Y-%m-%dT%H%MZ}-profile-{name}.txt"
        took = f"{run.wall_s:.1f} s, {run.cpu_s:.2f} s of CPU, with the profiler's"
        head = {**machine(), "records": f"{args.records:,}", "command": " ".join(["userpipe", *command[1:]]), "took": took}
        words = {str(args.work): "WORK", str(Path.cwd()): "."}
        text = "\n".join([f"{key:<9}{value}" for key, value in head.items()]) + "\n\n" + (heap(data) if name == "memory" else by_object(data) + "\n" + by_symbol(data))
        for long, short in words.items():
            text = text.replace(long, short)
        path.write_text(text)
        data.unlink()
        say(f"kept in {path}")
    return 0


def heap(data: Path) -> str:
    """Who held the heap when it was at its largest."""
    done = subprocess.run(["ms_print", "--threshold=1.0", str(data)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    if done.returncode != 0:
        raise Failed(f"ms_print: {done.stderr.strip()[-300:]}")
    graph, _, details = done.stdout.partition("Number of snapshots")
    peak = re.search(r" (\d+) \(peak\)", details)
    snapshots = re.split(r"\n-{80}\n  n +time", details)
    largest = next((one for one in snapshots if peak and re.search(rf"\n +{peak[1]} +[\d,]+ +[\d,]+", one)), "")
    return "\n".join(line[:240].rstrip() for line in (graph + largest).splitlines() if line.strip())[:40_000] + "\n"


def by_object(data: Path) -> str:
    """What share of the time the program, the kernel and libraries have."""
    return report(data, "dso")


def by_symbol(data: Path) -> str:
    """Which functions have it, themselves."""
    return report(data, "dso,symbol")


def report(data: Path, by: str) -> str:
    """perf's table, without its comments and blank lines."""
    command = ["perf", "report", "--stdio", "--no-children", "-i", str(data), "--sort", by, "--percent-limit", PERCENT_MIN]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    if done.returncode != 0:
        raise Failed(f"perf report: {done.stderr.strip()[-300:]}")
    return "\n".join(re.sub(r"( +-)+ *$", "", line) for line in done.stdout.splitlines() if line.strip() and not line.startswith("#")) + "\n"


if __name__ == "__main__":
    sys.exit(main())
