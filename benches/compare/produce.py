"""JSON Lines → Kafka, against Kafka's own ProducerPerformance with the same payloads, acks and compression."""

from __future__ import annotations

import re
import shutil

from bench import Bench
from process import Failed, measure, say
from report import Line, median, rate

# Tuned as FACTS of the field have it: the defaults of the tool give a third of this.
PRODUCER_PROPS = ["acks=all", "compression.type=lz4", "batch.size=262144", "linger.ms=10", "buffer.memory=134217728"]


def produce(bench: Bench) -> None:
    ours_off, ours_ledger, theirs = [], [], []
    cpu_off, cpu_theirs = [], []
    for number in range(bench.rounds):
        run = measure(bench.services.ours("--topic", bench.fresh_topic(), "--partitions", "3", "--ledger", "off", "produce", "--input", str(bench.file)))
        ours_off.append(bench.records / run.wall_s)
        cpu_off.append(run.cpu_s)
        bench.report.measured("produce", who="userpipe --ledger off", records_per_s=ours_off[-1], cpu_s=run.cpu_s, rss_mib=run.rss_mib)
        data = bench.services.work / f"ledger-{number}"
        shutil.rmtree(data, ignore_errors=True)
        run = measure([str(bench.services.userpipe), "--quiet", "--brokers", bench.services.brokers, "--data-dir", str(data), "--topic", bench.fresh_topic(),
                       "produce", "--input", str(bench.file)])
        ours_ledger.append(bench.records / run.wall_s)
        bench.report.measured("produce", who="userpipe, SQLite ledger", records_per_s=ours_ledger[-1], cpu_s=run.cpu_s, rss_mib=run.rss_mib)
        shutil.rmtree(data)
        topic = bench.fresh_topic()
        bench.services.tool("topics", "--bootstrap-server", bench.services.brokers, "--create", "--topic", topic, "--partitions", "3", "--replication-factor", "1")
        run = measure([bench.services.script, "tool", "perf", "--topic", topic, "--num-records", str(bench.records), "--throughput", "-1",
                       "--payload-file", str(bench.file), "--bootstrap-server", bench.services.brokers, "--command-property", *PRODUCER_PROPS])
        theirs.append(records_per_second(run.stdout))
        cpu_theirs.append(run.cpu_s)
        bench.report.measured("produce", who="ProducerPerformance", records_per_s=theirs[-1], cpu_s=run.cpu_s, rss_mib=run.rss_mib)
        say(f"  userpipe --ledger off: {rate(ours_off[-1])}, {cpu_off[-1]:.2f} s CPU; with the ledger: {rate(ours_ledger[-1])}; "
            f"ProducerPerformance: {rate(theirs[-1])}, {cpu_theirs[-1]:.2f} s CPU")
    peer = "ProducerPerformance"
    lines = bench.report.lines
    lines.append(Line("produce", f"records/s against {peer}, --ledger off", rate(median(ours_off)), rate(median(theirs)), median(ours_off) / median(theirs), 1.0, True))
    lines.append(Line("produce", "CPU against it", f"{median(cpu_off):.2f} s", f"{median(cpu_theirs):.2f} s", median(cpu_off) / median(cpu_theirs), 0.5, False))
    lines.append(Line("produce", "records/s against it, SQLite ledger", rate(median(ours_ledger)), rate(median(theirs)), median(ours_ledger) / median(theirs), 0.3, True))


def records_per_second(said: str) -> float:
    """The tool's own rate, over all records: its start is not in it, as ours is in ours."""
    found = re.findall(r"([\d.,]+) records/sec", said)
    if not found:
        raise Failed(f"ProducerPerformance did not say how fast it was: {said[-300:]}")
    return float(found[-1].replace(",", ""))
