"""Kafka and Cassandra as the runs need them: fresh topics and tables, and the judge of what is in them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from process import Failed, Process

KEYSPACE = "bench"
TABLE_CQL = """CREATE TABLE IF NOT EXISTS {table} (id uuid PRIMARY KEY, first_name text, last_name text, gender text,
 email text, username text, phone text, address text, post_code text, dob timestamp, registered_date timestamp,
 picture text, timestamp timestamp)"""


class Services:
    """The services that `services.sh with` has started, and our own program."""

    def __init__(self, userpipe: Path, gocql: Path, work: Path) -> None:
        self.brokers = os.environ["USERPIPE_TEST_KAFKA"]
        self.cassandra = os.environ["USERPIPE_TEST_CASSANDRA"]
        self.script = os.environ["USERPIPE_TEST_SERVICES"]
        self.userpipe, self.gocql, self.work = userpipe, gocql, work

    def tool(self, *args: str) -> str:
        """One of the services' own command line tools."""
        done = subprocess.run([self.script, "tool", *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
        if done.returncode != 0:
            raise Failed(f"{' '.join(args[:3])}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def ours(self, *args: str) -> list[str]:
        """Our own command line, on these brokers."""
        return [str(self.userpipe), "--quiet", "--brokers", self.brokers, "--data-dir", str(self.work / "data"), *args]

    def load(self, topic: str, partitions: int, file: Path) -> None:
        """A new topic with the records of a file, keyed by id."""
        subprocess.run(
            self.ours("--topic", topic, "--partitions", str(partitions), "--ledger", "off", "produce", "--input", str(file)),
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
        )

    def fresh_table(self, name: str) -> str:
        """An empty table of users."""
        table = f"{KEYSPACE}.{name}"
        host, port = self.cassandra.rsplit(":", 1)
        statements = [
            f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
            TABLE_CQL.format(table=table),
            f"TRUNCATE {table}",
        ]
        self.tool("cqlsh", host, port, "--request-timeout", "60", "-e", "; ".join(statements) + ";")
        return table

    def check(self, table: str, file: Path) -> None:
        """Every row, value by value, against the file."""
        command = [str(self.gocql), "check", "-hosts", self.cassandra, "-table", table, "-file", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise Failed(f"the rows of {table} are not those of the file: {done.stdout.strip()} {done.stderr.strip()[-500:]}")

    def probe(self, table: str, ids: list[str]) -> Process:
        """Watches for the first row, and for the last ones."""
        return Process([str(self.gocql), "probe", "-hosts", self.cassandra, "-table", table, "-ids", ",".join(ids)])


def times(probe: Process) -> tuple[float, float]:
    """When the first row was there, and when all the last ones were; seconds since the epoch."""
    said: dict[str, float] = {}
    for line in probe.wait().stdout.splitlines():
        said.update(json.loads(line))
    return said["first"], said["last"]
