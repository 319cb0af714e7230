"""`make bench`: userpipe and what a person would pick instead, on the same data, in one run.

Prints the table of goals and verdicts, and keeps it with every measurement in benches/runs/. Ratios within one run are what
counts: absolute times are those of the machine and of whatever else it was doing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import consume
import fetch
import latency
import local
import produce
import scale
from bench import Bench, Size
from process import Failed, say
from report import Report
from services import Services

PATHS = {
    "cassandra": consume.cassandra,
    "stdout": local.stdout,
    "sqlite": local.sqlite,
    "produce": produce.produce,
    "fetch": fetch.fetch,
    "latency": latency.end_to_end,
    "start": latency.start,
    "scale": scale.scale,
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--userpipe", type=Path, required=True, help="the release binary")
    arguments.add_argument("--gocql", type=Path, required=True, help="the bare writer, which also judges the rows")
    arguments.add_argument("--kafka-jars", type=Path, required=True, help="the directory of Kafka's jars, for its tools")
    arguments.add_argument("--peers", type=json.loads, default={}, help="the command of each other peer, as a JSON object")
    arguments.add_argument("--work", type=Path, required=True, help="a directory for data, which is kept for the next run")
    arguments.add_argument("--runs", type=Path, required=True, help="where the dated result goes")
    arguments.add_argument("--records", type=int, default=200_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--scale-rounds", type=int, help="rounds of scale, where they are others")
    arguments.add_argument("--times", type=int, default=5, help="how many times as many for what is fast: stdout, SQLite, produce")
    arguments.add_argument("--seconds", type=int, default=30, help="how long the latency is watched")
    arguments.add_argument("--paths", default=",".join(PATHS), help="which comparisons")
    args = arguments.parse_args()

    args.work.mkdir(parents=True, exist_ok=True)
    report = Report({"rounds": f"{args.rounds}, in turn (A B A B …); medians"}, args.runs)
    services = Services(args.userpipe, args.gocql, args.kafka_jars, args.work)
    report.settings["versions"] = services.versions()
    bench = Bench(services, args.peers, report, Size(args.records, args.rounds, args.scale_rounds or args.rounds, args.times, args.seconds))
    failed = False
    for name in args.paths.split(","):
        say(f"{name}:")
        try:
            PATHS[name](bench)
        except Failed as error:
            # One comparison that fails is said in the result; it does not take the others with it.
            report.note(f"{name} failed: {error}")
            failed = True
    print(report.table())
    print(f"\nkept in {report.write()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
