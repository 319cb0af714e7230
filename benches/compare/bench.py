"""What all comparisons share: the data, the topics that hold it, and the peers that are installed."""

from __future__ import annotations

import json
import socket
import uuid
from pathlib import Path

from process import measure, say
from report import Report
from services import Services


class Bench:
    """The same users for everybody: in a file, in topics of 1, 3 and 6 partitions, and as CSV."""

    def __init__(self, services: Services, peers: dict[str, list[str]], report: Report, records: int, rounds: int) -> None:
        self.services, self.peers, self.report, self.records, self.rounds = services, peers, report, records, rounds
        self.file = services.work / "users.jsonl"
        self._topics: dict[int, str] = {}
        self.make_users()
        self.topic = self.with_partitions(3)
        self.last_ids = self._last_ids()

    def make_users(self) -> None:
        say(f"making {self.records:,} users")
        measure([str(self.services.userpipe), "--quiet", "fetch", "--source", "synthetic", "--seed", "bench", "--results", "5000", "--count", str(self.records)],
                stdout=self.file)
        with self.file.open() as lines:
            self.columns = list(json.loads(next(lines)))
        size = self.file.stat().st_size / self.records
        self.report.settings["data"] = f"{self.records:,} synthetic users of {size:.0f} bytes, 3 partitions"

    def has(self, peer: str) -> bool:
        return peer == "gocql" and self.services.gocql.exists() or peer in self.peers

    def with_partitions(self, partitions: int) -> str:
        """The topic that holds all users in so many partitions."""
        if partitions not in self._topics:
            self._topics[partitions] = self.fresh_topic()
            self.services.load(self._topics[partitions], partitions, self.file)
        return self._topics[partitions]

    def _last_ids(self) -> list[str]:
        """The ids that were sent last: when these are rows, all are, give or take what is in flight (the judge counts after)."""
        lines = self.file.read_text().splitlines()
        return [json.loads(line)["id"] for line in lines[-64:]]

    def csv(self) -> Path:
        """The same users for the sqlite3 shell."""
        import csv

        path = self.services.work / "users.csv"
        if not path.exists():
            with self.file.open() as lines, path.open("w", newline="") as out:
                writer = csv.writer(out)
                for line in lines:
                    writer.writerow(json.loads(line).values())
        return path

    def console_consumer(self) -> tuple[str, list[str]]:
        """kcat where it is installed, else Kafka's own."""
        if "kcat" in self.peers:
            return "kcat", [*self.peers["kcat"], "-C", "-b", self.services.brokers, "-t", self.topic, "-o", "beginning", "-e", "-q"]
        return "the console consumer", [self.services.script, "tool", "console-consumer", "--bootstrap-server", self.services.brokers, "--topic", self.topic,
                                        "--from-beginning", "--max-messages", str(self.records)]

    def fresh_topic(self) -> str:
        return f"bench-{uuid.uuid4().hex[:12]}"

    def fresh_group(self) -> str:
        return f"bench-{uuid.uuid4().hex[:12]}"

    def free_port(self) -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return listener.getsockname()[1]
