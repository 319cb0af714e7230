"""What all comparisons share: the data, the topics that hold it, and the peers that are installed."""

from __future__ import annotations

import csv
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from process import measure, say
from report import Report
from services import Services


@dataclass(frozen=True)
class Size:
    """How much is measured: users in the topic, rounds (of scale by themselves), how many times the users for what is fast, seconds of latency."""

    records: int
    rounds: int
    scale_rounds: int
    times: int
    seconds: int


class Bench:
    """The same users for everybody: in a file, in topics of so many partitions, and as CSV.

    `file` has `records` users. `many` has several times as many, for what is too fast to be measured on the others.
    """

    def __init__(self, services: Services, peers: dict[str, list[str]], report: Report, size: Size) -> None:
        self.services, self.peers, self.report = services, peers, report
        self.records, self.rounds, self.scale_rounds, self.seconds = size.records, size.rounds, size.scale_rounds, size.seconds
        self.many_records = size.records * size.times
        self._topics: dict[tuple[Path, int], str] = {}
        self.file = self._users("users", self.records)
        with self.file.open() as lines:
            self.columns = list(json.loads(next(lines)))
        size = self.file.stat().st_size / self.records
        self.report.settings["data"] = (
            f"{self.records:,} synthetic users of {size:.0f} bytes, 3 partitions, LZ4; stdout, SQLite, produce and scale: {self.many_records:,}"
        )

    @property
    def many(self) -> Path:
        """The larger file."""
        return self._users("many", self.many_records)

    def _users(self, name: str, count: int) -> Path:
        path = self.services.work / f"{name}-{count}.jsonl"
        if not path.exists():
            say(f"making {count:,} users")
            part = path.with_suffix(".part")
            command = ["--quiet", "fetch", "--source", "synthetic", "--seed", "bench", "--results", "5000", "--count", str(count)]
            measure([str(self.services.userpipe), *command], stdout=part)
            part.rename(path)
        return path

    def has(self, peer: str) -> bool:
        """Whether it is installed and wanted; the bare writer always is, as the judge of the rows."""
        return peer == "gocql" or peer in self.peers

    def topic(self, partitions: int = 3, file: Path | None = None) -> str:
        """The topic that holds all users of a file in so many partitions."""
        file = file or self.file
        if (file, partitions) not in self._topics:
            self._topics[file, partitions] = self.fresh_topic()
            self.services.load(self._topics[file, partitions], partitions, file)
        return self._topics[file, partitions]

    def last_ids(self) -> list[str]:
        """The ids that were sent last: when these are rows, all are, give or take what is in flight (the judge counts after)."""
        lines = self.file.read_text().splitlines()
        return [json.loads(line)["id"] for line in lines[-64:]]

    def csv(self, file: Path) -> Path:
        """The same users for the sqlite3 shell."""
        path = file.with_suffix(".csv")
        if not path.exists():
            part = path.with_suffix(".csv.part")
            with file.open() as lines, part.open("w", newline="") as out:
                writer = csv.writer(out)
                for line in lines:
                    writer.writerow(json.loads(line).values())
            part.rename(path)
        return path

    def fresh_topic(self) -> str:
        """A name that no topic has."""
        return f"bench-{uuid.uuid4().hex[:12]}"

    def fresh_group(self) -> str:
        """A name that no group has."""
        return f"bench-{uuid.uuid4().hex[:12]}"
