"""Puts the numbers of a result of `make bench`, and of a soak, into the places of a document that are marked for them.

    python3 benches/compare/fill.py docs/scaling.md benches/runs/…-compare.json [benches/runs/…-soak.json]

A place is `<!--NAME-->anything<!---->`; NAMES below says where each comes from. It can be filled again.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLACE = re.compile(r"<!--([a-z0-9-]+)-->(.*?)<!---->")
# What the reckoning for a million users a second asks of the cluster.
USERS_PER_S = 1_000_000
REPLICAS = 3
# Nobody plans a node or a core to its brim.
LOAD = 0.6


class Numbers:
    """A result and a soak, by name. A name whose measurement is not in them is an error that names it."""

    def __init__(self, result: dict[str, Any], soak: dict[str, Any]) -> None:
        self.result, self.soak = result, soak

    def value(self, key: str) -> float:
        """lines.KEY.value: what a line of the table compares with its goal."""
        return float(self.result["lines"][key]["value"])

    def middle(self, what: str, name: str, **having: object) -> float:
        """The median of one field of the measurements that have these values."""
        found = [one[name] for one in self.result["measurements"] if one["what"] == what and all(one.get(key) == value for key, value in having.items())]
        return float(statistics.median(found))

    def records(self) -> int:
        """How many users were in the topic."""
        return int(self.result["settings"]["data"].split()[0].replace(",", ""))

    def user_bytes(self) -> float:
        """The size of a value on the topic before compression."""
        found = re.search(r"of (\d+) bytes", self.result["settings"]["data"])
        return float(found.group(1)) if found else 0.0

    def rows_per_s(self, who: str) -> float:
        """Into Cassandra, from the first row to the last."""
        return self.middle("Kafka → Cassandra", "rows_per_s", who=who)

    def consume_us(self) -> float:
        """Client CPU of a record on its way to Cassandra: also the cores that a million a second keep busy."""
        return self.value("cassandra-cpu")

    def produce_us(self) -> float:
        """CPU of a record on its way to Kafka, without a ledger."""
        return self.middle("produce", "cpu_us", who="userpipe --ledger off")

    def ledger_us(self) -> float:
        """The same with the SQLite ledger."""
        return self.middle("produce", "cpu_us", who="userpipe, SQLite ledger")

    def node_us(self) -> float:
        """The node's CPU for a row of ours."""
        return self.middle("Kafka → Cassandra", "cassandra_cpu_s", who="userpipe") / self.records() * 1e6

    def scale_us(self, partitions: int, members: int) -> float:
        """CPU of a record with so many members of a group."""
        return self.middle("scale", "cpu_us", partitions=partitions, members=members)

    def gbit(self) -> float:
        """A million users a second on one wire, before compression."""
        return USERS_PER_S * self.user_bytes() * 8 / 1e9


NAMES: dict[str, Callable[[Numbers], str]] = {
    "run": lambda n: f"{n.result['date']}, commit {n.result['machine']['commit']}, {n.result['machine']['machine']}",
    "records": lambda n: f"{n.records():,}",
    "user-bytes": lambda n: f"{n.user_bytes():.0f}",
    "rows": lambda n: f"{n.rows_per_s('userpipe'):,.0f}",
    "limit-rows": lambda n: f"{n.rows_per_s('bare gocql writer'):,.0f}",
    "consume-us": lambda n: f"{n.consume_us():.1f}",
    "produce-us": lambda n: f"{n.produce_us():.1f}",
    "ledger-us": lambda n: f"{n.ledger_us():.1f}",
    "produce-rate": lambda n: f"{n.middle('produce', 'records_per_s', who='userpipe --ledger off'):,.0f}",
    "ledger-rate": lambda n: f"{n.middle('produce', 'records_per_s', who='userpipe, SQLite ledger'):,.0f}",
    "node-us": lambda n: f"{n.node_us():.0f}",
    "rss": lambda n: f"{n.value('cassandra-rss'):.0f}",
    "members-1": lambda n: f"{n.scale_us(12, 1):.1f}",
    "members-2": lambda n: f"{n.scale_us(12, 2):.1f}",
    "members-4": lambda n: f"{n.scale_us(12, 4):.1f}",
    "partitions-1": lambda n: f"{n.scale_us(1, 1):.1f}",
    "partitions-6": lambda n: f"{n.scale_us(6, 1):.1f}",
    "soak-records": lambda n: f"{n.soak['verdict']['records']:,}",
    "soak-early": lambda n: f"{n.soak['verdict']['rss_early_mib']:.0f}",
    "soak-peak": lambda n: f"{n.soak['verdict']['rss_peak_mib']:.0f}",
    "soak-first-us": lambda n: f"{n.soak['verdict']['cpu_us_first']:.1f}",
    "soak-last-us": lambda n: f"{n.soak['verdict']['cpu_us_last']:.1f}",
    "million-gbit": lambda n: f"{n.gbit():.1f}",
    "million-gbit-replicated": lambda n: f"{n.gbit() * REPLICAS:.1f}",
    "million-produce-cores": lambda n: f"{n.produce_us() / LOAD:.0f}",
    "million-consume-cores": lambda n: f"{n.consume_us() / LOAD:.0f}",
    "million-node-cores": lambda n: f"{n.node_us() * REPLICAS / LOAD:,.0f}",
    "million-nodes": lambda n: f"{n.node_us() * REPLICAS / LOAD / 32:,.0f}",
    "million-day-tb": lambda n: f"{USERS_PER_S * n.user_bytes() * 86_400 / 1e12:,.0f}",
}


def main() -> int:
    """Fills what the two results know; a place that they do not know stays as it is, and is named."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("document", type=Path)
    arguments.add_argument("result", type=Path)
    arguments.add_argument("soak", type=Path, nargs="?")
    args = arguments.parse_args()
    numbers = Numbers(json.loads(args.result.read_text()), json.loads(args.soak.read_text()) if args.soak else {})
    left = []

    def fill(place: re.Match[str]) -> str:
        try:
            return f"<!--{place[1]}-->{NAMES[place[1]](numbers)}<!---->"
        except (KeyError, statistics.StatisticsError):
            left.append(place[1])
            return place[0]

    args.document.write_text(PLACE.sub(fill, args.document.read_text()))
    if left:
        print(f"left as they are: {', '.join(sorted(set(left)))}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
