"""Batches of every codec, in both directions, and of transactions: what was aborted never becomes a row."""

import json

from confluent_kafka import Producer

from common import BROKERS, USERS, by_id, compare, rows_of, session, userpipe, users_of

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PER_BATCH = 100


def people(number):
    """The users of one batch, other ones for each number."""
    with open(USERS, encoding="utf-8") as lines:
        users = [json.loads(line) for line in lines]
    return users[number * PER_BATCH : (number + 1) * PER_BATCH]


def send(producer, topic, users):
    for user in users:
        producer.produce(topic, key=user["id"], value=json.dumps(user))
    producer.flush(30)


def consumed(topic):
    """The rows that `consume` makes of a topic."""
    here = ["--topic", topic, "--table", topic]
    userpipe("init-schema", *here)
    userpipe("consume", "--exit-at-end", *here)
    return rows_of(session(), topic)


def check_codecs():
    ours, theirs, expected = "interop_codecs_of_ours", "interop_codecs_of_theirs", {}
    for number, codec in enumerate(CODECS):
        users = people(number)
        expected |= by_id(users)
        lines = "\n".join(json.dumps(user) for user in users)
        userpipe("produce", "--input", "-", "--topic", ours, "--compression", codec, stdin=lines)
        send(Producer({"bootstrap.servers": BROKERS, "compression.type": codec}), theirs, users)
    compare("confluent-kafka", "reads our 5 codecs", expected, users_of(ours))
    compare("confluent-kafka", "sends 5 codecs", expected, consumed(theirs))


def check_transactions():
    """One that is committed between two that are aborted. Their markers take offsets, and are no records."""
    topic = "interop_transactions"
    producer = Producer({"bootstrap.servers": BROKERS, "transactional.id": "interop", "log_level": 2})
    producer.init_transactions(60)
    for number, end in enumerate([producer.abort_transaction, producer.commit_transaction, producer.abort_transaction]):
        producer.begin_transaction()
        send(producer, topic, people(number))
        end(60)
    compare("confluent-kafka", "sends transactions, 2 of 3 aborted", by_id(people(1)), consumed(topic))


if __name__ == "__main__":
    check_codecs()
    check_transactions()
