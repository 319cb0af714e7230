"""A key is on the same partition whoever sent it: Kafka's console producer, confluent-kafka, kafka-python, or we."""

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaProducer

from common import BROKERS, USERS, messages_of, report, tool, userpipe

PARTITIONS = 7


def places(topic):
    """The partition of each key of a topic."""
    return {message.key().decode(): message.partition() for message in messages_of(topic)}


def with_console_producer(topic, keys):
    """Java's own partitioner."""
    lines = "".join(f"{key}\tx\n" for key in keys)
    tool("console-producer", "--topic", topic, "--reader-property", "parse.key=true", stdin=lines)


def with_confluent(topic, keys):
    """librdkafka's murmur2_random, the one it has for Java's sake."""
    producer = Producer({"bootstrap.servers": BROKERS, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, key=key, value=b"x")
    producer.flush(30)


def with_kafka_python(topic, keys):
    """kafka-python's default partitioner."""
    producer = KafkaProducer(bootstrap_servers=BROKERS)
    for key in keys:
        producer.send(topic, key=key.encode(), value=b"x")
    producer.flush(30)
    producer.close()


def main():
    ours = "interop_placed"
    userpipe("produce", "--input", USERS, "--topic", ours, "--partitions", str(PARTITIONS))
    expected = places(ours)
    assert set(expected.values()) == set(range(PARTITIONS)), "the keys do not reach every partition"
    senders = {
        "console-producer": with_console_producer,
        "confluent-kafka": with_confluent,
        "kafka-python": with_kafka_python,
    }
    admin = AdminClient({"bootstrap.servers": BROKERS})
    for peer, send in senders.items():
        topic = f"interop_placed_by_{peer}"
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
        send(topic, expected)
        found = places(topic)
        wrong = next((key for key in sorted(expected) if expected[key] != found.get(key)), None)
        problem = wrong and f"{wrong} is on partition {expected[wrong]} of ours, on {found.get(wrong)} of theirs"
        report(peer, "same partition for a key", len(found), problem)


if __name__ == "__main__":
    main()
