"""Kafka's own console consumer sees the keys, headers and timestamps of our records and of our dead letters."""

import json

from confluent_kafka import Producer

from common import BROKERS, TOPIC, instant, messages_of, report, tool, userpipe

SHOWN = ["timestamp", "partition", "offset", "headers", "key", "value"]
LETTERS_TOPIC = "interop_poison"


def printed(topic, count):
    """What the console consumer prints of a topic: a dictionary a record, by partition and offset."""
    options = [part for name in SHOWN for part in ("--formatter-property", f"print.{name}=true")]
    separator = ["--formatter-property", "key.separator=|", "--formatter-property", "headers.separator=,"]
    lines = tool(
        "console-consumer", "--topic", topic, "--from-beginning", "--max-messages", str(count), "--timeout-ms", "30000",
        *options, *separator,
    )
    # CreateTime:1|Partition:0|Offset:0|headers|key|value
    records = [dict(zip(SHOWN, line.split("|", len(SHOWN) - 1))) for line in lines if line.startswith("CreateTime:")]
    return {(record["partition"].split(":")[1], record["offset"].split(":")[1]): record for record in records}


def check_records():
    """The key is the id, the record's time is the user's timestamp, and there are no headers."""
    messages = messages_of(TOPIC)
    shown = printed(TOPIC, len(messages))
    problem = None if len(shown) == len(messages) else f"{len(messages)} records, {len(shown)} printed"
    for (partition, offset), record in sorted(shown.items()):
        user = json.loads(record["value"])
        expected = {"key": user["id"], "timestamp": f"CreateTime:{instant(user['timestamp'])}", "headers": "NO_HEADERS"}
        for name, value in expected.items():
            if record[name] != value and problem is None:
                problem = f"{partition}:{offset}, {name}: {value!r} became {record[name]!r}"
    report("console-consumer", "reads keys, times, headers", len(shown), problem)


def check_dead_letters():
    """A dead letter keeps the key, time and headers of the record, and says where it came from and why it is there."""
    producer = Producer({"bootstrap.servers": BROKERS})
    for number in range(10):
        producer.produce(
            LETTERS_TOPIC, key=f"key-{number}", value=b'{"id": 7}', timestamp=1_700_000_000_000 + number,
            headers={"trace": f"t{number}"}, partition=0,
        )
    producer.flush(30)
    userpipe("consume", "--topic", LETTERS_TOPIC, "--exit-at-end")
    shown = printed(f"{LETTERS_TOPIC}.dead-letters", 10)
    problem = None if len(shown) == 10 else f"10 dead letters, {len(shown)} printed"
    for record in shown.values():
        number = record["key"].removeprefix("key-")
        headers = dict(part.split(":", 1) for part in record["headers"].split(",") if ":" in part)
        expected = {"trace": f"t{number}", "userpipe.topic": LETTERS_TOPIC, "userpipe.offset": number}
        expected["userpipe.stage"] = "decode"
        wrong = [name for name, value in expected.items() if headers.get(name) != value]
        if record["timestamp"] != f"CreateTime:{1_700_000_000_000 + int(number)}":
            wrong.append("timestamp")
        if not headers.get("userpipe.error", "").startswith("id: "):
            wrong.append("userpipe.error")
        if wrong and problem is None:
            problem = f"{record['key']}: {', '.join(wrong)} of {record}"
    report("console-consumer", "reads our dead letters", len(shown), problem)


if __name__ == "__main__":
    check_records()
    check_dead_letters()
