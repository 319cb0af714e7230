"""What the programs here share: calling userpipe, reading a topic or a table, comparing records, reporting."""

import datetime
import json
import os
import subprocess
import uuid

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy
from cassandra.query import dict_factory
from confluent_kafka import Consumer, TopicPartition

BROKERS = os.environ["USERPIPE_TEST_KAFKA"]
CASSANDRA = os.environ["USERPIPE_TEST_CASSANDRA"]
REGISTRY = os.environ["USERPIPE_TEST_REGISTRY"]
SERVICES = os.environ["USERPIPE_TEST_SERVICES"]
PROGRAM = os.environ["INTEROP_PROGRAM"]
SCRATCH = os.environ["INTEROP_SCRATCH"]
RESULTS = os.environ["INTEROP_RESULTS"]

KEYSPACE = "interop"
TOPIC = "interop_users"
# the records of that topic, for `produce --input`
USERS = f"{SCRATCH}/users.jsonl"
FIELDS = [
    "id", "first_name", "last_name", "gender", "email", "username", "phone", "address", "post_code",
    "dob", "registered_date", "picture", "timestamp",
]
DATES = {"dob", "registered_date", "timestamp"}
TIMEOUT_S = 120


def userpipe(*arguments, stdin=None):
    """Runs the program on the test's services and returns the lines of its standard output."""
    command = [
        PROGRAM, *arguments, "--brokers", BROKERS, "--cassandra", CASSANDRA, "--keyspace", KEYSPACE,
        "--data-dir", f"{SCRATCH}/userpipe-data",
    ]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.splitlines()


def tool(name, *arguments, stdin=None):
    """Runs one of Kafka's own console tools and returns the lines of its standard output."""
    command = [SERVICES, "tool", name, "--bootstrap-server", BROKERS, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.splitlines()


def messages_of(topic):
    """Everything that is in a topic now, as confluent-kafka reads it."""
    settings = {"bootstrap.servers": BROKERS, "group.id": f"interop-{uuid.uuid4()}", "enable.auto.commit": False}
    consumer = Consumer(settings)
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ends, start = {}, []
        for partition in partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
            if high > low:
                ends[partition] = high
                start.append(TopicPartition(topic, partition, low))
        consumer.assign(start)
        messages = []
        while ends:
            message = consumer.poll(30)
            if message is None or message.error():
                raise SystemExit(f"reading {topic}: {message and message.error() or 'nothing came for 30 s'}")
            messages.append(message)
            if message.offset() + 1 >= ends.get(message.partition(), 0):
                ends.pop(message.partition(), None)
        return messages
    finally:
        consumer.close()


def users_of(topic):
    """The records of a topic of plain JSON, by id."""
    return by_id(json.loads(message.value()) for message in messages_of(topic))


def by_id(records):
    """Records by their id, as text."""
    return {str(record["id"]): record for record in records}


def session():
    """A session of Cassandra's own Python driver, rows as dictionaries. Ends with the process."""
    host, port = CASSANDRA.rsplit(":", 1)
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), row_factory=dict_factory, request_timeout=60)
    return Cluster([host], port=int(port), execution_profiles={EXEC_PROFILE_DEFAULT: profile}).connect()


def rows_of(connection, table):
    """The rows of a table, by id."""
    return by_id(connection.execute(f"SELECT * FROM {KEYSPACE}.{table}"))


def instant(value):
    """Milliseconds since the epoch of any of the forms that a date takes; what has no zone is UTC."""
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return round(value.timestamp() * 1000)
    return value


def same(field, ours, theirs):
    """Whether two values of a field are the same: dates as instants, all else exactly (an id as text)."""
    if field in DATES:
        return instant(ours) == instant(theirs)
    return str(ours) == str(theirs) if field == "id" else ours == theirs


def difference(expected, found, fields):
    """The first record and field in which two sets of records by id differ, or nothing."""
    for key in sorted(expected.keys() | found.keys()):
        if key not in found:
            return f"{key} is missing"
        if key not in expected:
            return f"{key} is one too many"
        for field in fields:
            if not same(field, expected[key].get(field), found[key].get(field)):
                return f"{key}, {field}: {expected[key].get(field)!r} became {found[key].get(field)!r}"
    return None


def report(peer, direction, records, problem=None):
    """Adds a row to the table; a problem ends the program."""
    with open(RESULTS, "a", encoding="utf-8") as results:
        results.write("\t".join([peer, direction, str(records), f"no: {problem}" if problem else "yes"]) + "\n")
    if problem:
        raise SystemExit(f"{peer}, {direction}: {problem}")


def compare(peer, direction, expected, found, fields=FIELDS):
    """Reports whether two sets of records by id are equal in these fields. None at all would prove nothing."""
    problem = difference(expected, found, fields) if expected else "there are no records"
    report(peer, direction, len(found), problem)
