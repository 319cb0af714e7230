"""JSON Lines → Kafka, against Kafka's own ProducerPerformance with the same payloads, acks and compression."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from bench import Bench
from process import Failed, Run, measure, say
from report import Line, median, rate
from services import JVM

# Tuned as FACTS of the field have it: the defaults of the tool give a third of this.
PRODUCER_PROPS = ["acks=all", "compression.type=lz4", "batch.size=262144", "linger.ms=10", "buffer.memory=134217728"]
OFF, LEDGER, PEER = "userpipe --ledger off", "userpipe, SQLite ledger", "ProducerPerformance"


def produce(bench: Bench) -> None:
    """In turn, each into a topic of its own that is there before."""
    rates: dict[str, list[float]] = {OFF: [], LEDGER: [], PEER: []}
    cpu: dict[str, list[float]] = {OFF: [], LEDGER: [], PEER: []}
    for _ in range(bench.rounds):
        for who, run in ((OFF, without_ledger), (LEDGER, with_ledger), (PEER, theirs)):
            topic = bench.fresh_topic()
            bench.services.create(topic, 3)
            done, file, count = run(bench, topic)
            records_per_s = said_rate(done.stdout) if who == PEER else count / done.wall_s
            written = bench.services.end_offsets(topic)
            if written != count:
                raise Failed(f"{who}: {written:,} records in the topic after {count:,} of {file.name}")
            rates[who].append(records_per_s)
            cpu[who].append(done.cpu_s / count * 1e6)
            bench.report.measured("produce", who=who, records_per_s=records_per_s, cpu_us=cpu[who][-1], rss_mib=done.rss_mib)
            say(f"  {who}: {rate(records_per_s)}, {cpu[who][-1]:.2f} µs CPU a record, {done.rss_mib:.0f} MiB")
    bench.report.peer(PEER, f"Kafka 4.3.1's: the same payloads, {' '.join(PRODUCER_PROPS)}, {' '.join(JVM)}; its own rate, which has neither its start nor reading the file in it")
    off, ledger, peer = (median(rates[who]) for who in (OFF, LEDGER, PEER))
    cpu_off, cpu_peer = median(cpu[OFF]), median(cpu[PEER])
    bench.report.lines += [
        Line("produce", "produce", f"records/s against {PEER}, --ledger off", rate(off), rate(peer), off / peer, 1.0, profile="produce"),
        Line("produce-cpu", "produce", "CPU per record against it, whole processes", f"{cpu_off:.2f} µs", f"{cpu_peer:.2f} µs", cpu_off / cpu_peer, 0.5, False, profile="produce"),
        Line("produce-ledger", "produce", "records/s against it, SQLite ledger", rate(ledger), rate(peer), ledger / peer, 0.3, profile="ledger"),
    ]


def without_ledger(bench: Bench, topic: str) -> tuple[Run, Path, int]:
    """Start, end and reading the file are in ours."""
    command = bench.services.ours("--topic", topic, "--ledger", "off", "produce", "--input", str(bench.many))
    return measure(command), bench.many, bench.many_records


def with_ledger(bench: Bench, topic: str) -> tuple[Run, Path, int]:
    """Every user is stored before it is sent, in a ledger that is empty at first."""
    data = bench.services.work / "ledger"
    shutil.rmtree(data, ignore_errors=True)
    command = [str(bench.services.userpipe), "--quiet", "--brokers", bench.services.brokers, "--data-dir", str(data), "--topic", topic]
    run = measure([*command, "produce", "--input", str(bench.file)])
    shutil.rmtree(data)
    return run, bench.file, bench.records


def theirs(bench: Bench, topic: str) -> tuple[Run, Path, int]:
    """It takes payloads of the file at random."""
    command = bench.services.kafka_tool(
        "ProducerPerformance", "--topic", topic, "--num-records", str(bench.many_records), "--throughput", "-1", "--payload-file", str(bench.file),
        "--bootstrap-server", bench.services.brokers, "--command-property", *PRODUCER_PROPS,
    )
    return measure(command), bench.many, bench.many_records


def said_rate(said: str) -> float:
    """The tool's own rate, over all records."""
    found = re.findall(r"([\d.,]+) records/sec", said)
    if not found:
        raise Failed(f"{PEER} did not say how fast it was: {said[-300:]}")
    return float(found[-1].replace(",", ""))
