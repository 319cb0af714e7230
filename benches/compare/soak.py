"""`make soak`: many records through `produce` and `consume` at once, with memory, lag and CPU looked at each second.

Keeps the samples as CSV, what they say as JSON, and three plots as SVG, all dated, and exits 1 where the memory is not flat or
rows are missing.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from process import Process, Run, measure, say, tree
from report import machine
from services import KEYSPACE, Services
from svg import Drawing, Series, plot

# Memory is judged against what it was when so many records were written, as the goal has it.
EARLY_RECORDS = 200_000
# Growth of the largest RSS from there that still is flat: a page cache of the allocator, not a leak.
GROWTH_MAX = 0.10
RSS_GOAL_MIB = 40.0
CPU_GOAL_US = 10.0
# A point of the plot of CPU per record is of so many shares of all records, so that a tick of the clock is not seen.
WINDOWS = 50


@dataclass(frozen=True)
class Sample:
    """What one second saw. RSS in MiB, CPU in seconds since the start, records since the start."""

    time_s: float
    produced: int
    written: int
    lag: int
    consume_rss_mib: float
    consume_cpu_s: float
    produce_rss_mib: float
    produce_cpu_s: float
    # The most so far, looked at between the seconds too.
    consume_peak_mib: float


def main() -> int:
    """Runs it, keeps it and says how it was."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("userpipe", "gocql", "kafka-jars", "work", "runs"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--records", type=int, default=5_000_000)
    arguments.add_argument("--rate", default="", help="users a second that are produced at the most; all at once without")
    args = arguments.parse_args()
    services = Services(args.userpipe, args.gocql, args.kafka_jars, args.work)
    about = {**machine(), "versions": services.versions(), "records": f"{args.records:,}"}
    file = users(services, args.records)
    samples = soak(services, file, args.records, args.rate)
    verdict = judge(samples, args.records)
    stem = args.runs / f"{datetime.now(UTC):%Y-%m-%dT%H%MZ}-soak"
    keep(stem, samples, verdict, about)
    say(json.dumps(verdict, indent=1))
    print(f"{verdict['word']}: RSS {verdict['rss_early_mib']:.0f} MiB at {EARLY_RECORDS:,} records, at most {verdict['rss_peak_mib']:.0f} MiB "
          f"until {args.records:,}; {verdict['cpu_us']:.2f} µs of CPU a record\nkept in {stem}.csv, .json and .svg")
    return 1 if verdict["word"] == "NOT FLAT" else 0


def users(services: Services, records: int) -> Path:
    """The users as JSON Lines, kept for the next run."""
    path = services.work / f"soak-{records}.jsonl"
    if not path.exists():
        say(f"making {records:,} users")
        part = path.with_suffix(".part")
        measure([str(services.userpipe), "--quiet", "fetch", "--source", "synthetic", "--seed", "soak", "--results", "5000", "--count", str(records)], stdout=part)
        part.rename(path)
    return path


def soak(services: Services, file: Path, records: int, rate: str) -> list[Sample]:
    """Both processes at once, from an empty topic to the last row; every row is there after it, and none besides."""
    table, topic = services.fresh_table("soak"), f"soak-{int(time.time())}"
    services.create(topic, 3)
    data = services.work / "soak-data"
    shutil.rmtree(data, ignore_errors=True)
    common = [str(services.userpipe), "--quiet", "--brokers", services.brokers, "--data-dir", str(data), "--topic", topic]
    sink = ["--cassandra", services.cassandra, "--keyspace", KEYSPACE, "--table", table.removeprefix(f"{KEYSPACE}."), "--group", topic]
    consumer_port, producer_port = services.free_port(), services.free_port()
    limit = ["--rate", rate] if rate else []
    samples: list[Sample] = []
    with (
        Process([*common, *sink, "consume", "--count", str(records), "--health-listen", f"127.0.0.1:{consumer_port}"], limit_s=86_400) as consumer,
        Process([*common, "--ledger", "off", "produce", "--input", str(file), *limit, "--health-listen", f"127.0.0.1:{producer_port}"], limit_s=86_400) as producer,
    ):
        began = time.monotonic()
        produced = written = 0
        sent: Run | None = None
        while consumer.is_running():
            # Evenly, whatever a look took.
            time.sleep(max(0.0, began + len(samples) + 1 - time.monotonic()))
            if sent is None and not producer.is_running():
                # It has sent everything, or this raises.
                sent, produced = producer.wait(), records
            if sent is None:
                produced = max(produced, counter(producer_port, "userpipe_records_produced_total"))
            written = max(written, counter(consumer_port, "userpipe_rows_written_total"))
            ours, theirs = tree(consumer.pid), tree(producer.pid)
            if not consumer.is_running():
                break
            samples.append(Sample(time.monotonic() - began, produced, written, max(produced - written, 0), *ours, *theirs, consumer.rss_mib))
            if len(samples) % 30 == 0:
                say(f"  {written:,} of {records:,} written, {ours[0]:.0f} MiB")
        run = consumer.wait()
        sent = sent or producer.wait()
        samples.append(Sample(time.monotonic() - began, records, records, 0, run.rss_mib, run.cpu_s, sent.rss_mib, sent.cpu_s, run.rss_mib))
    say("comparing the ids of all rows with the file")
    services.check(table, file, "-ids-only")
    return samples


def counter(port: int, name: str) -> int:
    """A counter of a process that is running; 0 where it does not answer (yet, or any more)."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    return next((int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith(f"{name} ")), 0)


def judge(samples: list[Sample], records: int) -> dict[str, float | str]:
    """What the samples say: the last one has the whole run's, RSS at its largest."""
    *during, end = samples
    early_mib = max((one.consume_peak_mib for one in during if one.written <= EARLY_RECORDS), default=end.consume_peak_mib)
    per_record = windows(during)
    grown = end.consume_peak_mib / early_mib - 1
    word = "too short to tell" if records <= EARLY_RECORDS else "flat" if grown <= GROWTH_MAX else "NOT FLAT"
    return {
        "word": word,
        "records": records,
        "seconds": end.time_s,
        "rows_per_s": records / end.time_s,
        "rss_early_mib": early_mib,
        "rss_peak_mib": end.consume_peak_mib,
        "rss_growth": grown,
        "rss_goal_met": end.consume_peak_mib <= RSS_GOAL_MIB,
        "cpu_us": end.consume_cpu_s / records * 1e6,
        "cpu_us_first": per_record[0][1] if per_record else 0.0,
        "cpu_us_last": per_record[-1][1] if per_record else 0.0,
        "lag_max": max(one.lag for one in during) if during else 0,
        "produce_rss_mib": end.produce_rss_mib,
        "produce_cpu_us": end.produce_cpu_s / records * 1e6,
    }


def windows(samples: list[Sample]) -> list[tuple[float, float]]:
    """Records so far, and the CPU time of each record of the window that ends there, in µs."""
    if not samples:
        return []
    step = max(samples[-1].written // WINDOWS, 1)
    points, before = [], samples[0]
    for one in samples:
        if one.written - before.written >= step:
            points.append((one.written, (one.consume_cpu_s - before.consume_cpu_s) / (one.written - before.written) * 1e6))
            before = one
    return points


def keep(stem: Path, samples: list[Sample], verdict: dict[str, float | str], about: dict[str, str]) -> None:
    """The three files beside each other."""
    with stem.with_suffix(".csv").open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        names = [one.name for one in fields(Sample)]
        writer.writerow(names)
        for sample in samples:
            writer.writerow([round(value, 3) for value in asdict(sample).values()])
    stem.with_suffix(".json").write_text(json.dumps({"date": stem.name.removesuffix("-soak"), "machine": about, "verdict": verdict}, indent=1) + "\n")
    stem.with_suffix(".svg").write_text(draw(stem.name, samples[:-1], verdict, about))


def draw(name: str, samples: list[Sample], verdict: dict[str, float | str], about: dict[str, str]) -> str:
    """RSS and CPU over the records that were written, and the lag over time."""
    drawing = Drawing(f"Soak of {verdict['records']:,} records")
    drawing.text(16, 28, f"{verdict['records']:,} records through produce and consume (Cassandra): {verdict['word']}", "title")
    drawing.text(16, 46, f"{name}, commit {about['commit']}; {about['machine']}", "quiet")
    drawing.height = 56
    top = float(verdict["records"])
    rss = [(float(one.written), one.consume_rss_mib) for one in samples]
    plot(drawing, "Memory (RSS) over records written", "records", "MiB", [Series("consume", rss)], goal=RSS_GOAL_MIB, x_top=top)
    plot(drawing, "CPU per record, consume, over records written", "records", "µs", [Series("consume", windows(samples))], goal=CPU_GOAL_US, x_top=top)
    plot(drawing, "Lag over time: produced and not yet written", "s", "records", [Series("lag", [(one.time_s, float(one.lag)) for one in samples])])
    drawing.height += 8
    return drawing.render()


if __name__ == "__main__":
    sys.exit(main())
