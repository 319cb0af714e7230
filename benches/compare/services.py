"""Kafka and Cassandra as the runs need them: fresh topics and tables, and the judge of what is in them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path

from process import Failed, Process, say, tree

KEYSPACE = "bench"
# Those of kafka-run-class.sh, and the heap of kafka-producer-perf-test.sh.
JVM = ["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
       "-Djava.awt.headless=true", "-Xmx512M"]
TABLE_CQL = """CREATE TABLE IF NOT EXISTS {table} (id uuid PRIMARY KEY, first_name text, last_name text, gender text,
 email text, username text, phone text, address text, post_code text, dob timestamp, registered_date timestamp,
 picture text, timestamp timestamp)"""


class Services:
    """The services that `services.sh with` has started, and our own program."""

    def __init__(self, userpipe: Path, gocql: Path, kafka_jars: Path, work: Path) -> None:
        self.brokers = os.environ["USERPIPE_TEST_KAFKA"]
        self.cassandra = os.environ["USERPIPE_TEST_CASSANDRA"]
        self.script = os.environ["USERPIPE_TEST_SERVICES"]
        self.userpipe, self.gocql, self.kafka_jars, self.work = userpipe, gocql, kafka_jars, work

    def versions(self) -> str:
        """Of the services, as their jars are pinned, and of ourselves."""
        kafka, cassandra = (pinned(Path(self.script).parent / name / "pom.xml") for name in ("kafka", "cassandra"))
        ours = subprocess.run([str(self.userpipe), "--version"], capture_output=True, text=True, check=True).stdout.strip()
        return f"Kafka {kafka} (one broker), Cassandra {cassandra} (one node, {os.environ.get('CASS_HEAP', '1g')} heap), JVM options and storage as they ship; {ours}"

    def tool(self, *args: str) -> str:
        """One of the services' own command line tools."""
        done = subprocess.run([self.script, "tool", *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
        if done.returncode != 0:
            raise Failed(f"{' '.join(args[:3])}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def kafka_tool(self, name: str, *args: str) -> list[str]:
        """A tool of Kafka's that is measured: with the JVM options of its own scripts, where `tool` saves start-up time."""
        return ["java", *JVM, "-cp", f"{self.kafka_jars}/*", f"org.apache.kafka.tools.{name}", *args]

    def ours(self, *args: str) -> list[str]:
        """Our own command line, on these brokers."""
        return [str(self.userpipe), "--quiet", "--brokers", self.brokers, "--data-dir", str(self.work / "data"), *args]

    def load(self, topic: str, partitions: int, file: Path) -> None:
        """A new topic with the records of a file, keyed by id."""
        say(f"loading {file.name} into {partitions} partitions")
        subprocess.run(
            self.ours("--topic", topic, "--partitions", str(partitions), "--ledger", "off", "produce", "--input", str(file)),
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
        )

    def create(self, topic: str, partitions: int, *config: str) -> None:
        """A new topic without records; `config` is of KEY=VALUE."""
        settings = [word for one in config for word in ("--config", one)]
        self.tool("topics", "--bootstrap-server", self.brokers, "--create", "--topic", topic, "--partitions", str(partitions), "--replication-factor", "1", *settings)

    def end_offsets(self, topic: str) -> int:
        """How many records the topic was sent: the sum over its partitions."""
        said = self.tool("get-offsets", "--bootstrap-server", self.brokers, "--topic", topic)
        return sum(int(line.rsplit(":", 1)[1]) for line in said.splitlines())

    def free_port(self) -> int:
        """A port that nobody listens on."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])

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

    def check(self, table: str, file: Path, *options: str) -> None:
        """Every row, value by value (or its id alone, with -ids-only), against the file."""
        command = [str(self.gocql), "check", "-hosts", self.cassandra, "-table", table, "-file", str(file), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
        if done.returncode != 0:
            raise Failed(f"the rows of {table} are not those of the file: {done.stdout.strip()} {done.stderr.strip()[-500:]}")

    def node_cpu_s(self) -> float:
        """CPU time of the Cassandra node until now; 0 where it is somebody else's process."""
        try:
            return tree(int((Path(os.environ["VAR"]) / "cassandra" / "pid").read_text()))[1]
        except (KeyError, OSError, ValueError):
            return 0.0

    def probe(self, table: str, ids: list[str]) -> Probe:
        """Watches for the first row, and for the last ones."""
        return Probe([str(self.gocql), "probe", "-hosts", self.cassandra, "-table", table, "-ids", ",".join(ids)])


def pinned(pom: Path) -> str:
    """The version of a service, which its pom.xml names after that of itself."""
    versions = re.findall(r"version>([\d.]+)<", pom.read_text())
    return next((version for version in versions if version.count(".") == 2), "?")


class Probe(Process):
    """Somebody who reads a table until all of it is there."""

    _said: dict[str, float] | None = None

    def times(self) -> tuple[float, float]:
        """When the first row was there, and when all the last ones were; seconds since the epoch. Waits for that."""
        if self._said is None:
            self._said = {}
            for line in self.wait().stdout.splitlines():
                self._said.update(json.loads(line))
        return self._said["first"], self._said["last"]
