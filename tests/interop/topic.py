"""Fills the topic that the other programs read, and reads it back with Confluent's and the kafka-python client."""

import glob
import json
import os

from kafka import KafkaConsumer

from common import BROKERS, TOPIC, USERS, by_id, compare, report, userpipe, users_of

SYNTHETIC = 2000
SAMPLES = os.environ.get("USERPIPE_SAMPLES") or os.path.join(os.path.dirname(__file__), "../fixtures/randomuser")


def recorded_users():
    """The recorded answers of the API, all nationalities: other scripts, blanks, quotes, leading zeros.

    Without the one of our own fixtures that lacks a field: `produce` names such a user and ends with 1."""
    for name in sorted(glob.glob(f"{SAMPLES}/*.json")):
        with open(name, encoding="utf-8") as page:
            yield from (user for user in json.load(page)["results"] if user["location"].get("country"))


def main():
    synthetic = userpipe("fetch", "--source", "synthetic", "--seed", "interop", "--count", str(SYNTHETIC))
    raw = [json.dumps(user) for user in recorded_users()]
    userpipe("init-schema", "--topic", TOPIC)
    for lines in (synthetic, raw):
        userpipe("produce", "--input", "-", "--topic", TOPIC, stdin="\n".join(lines))

    users = users_of(TOPIC)
    with open(USERS, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(user) + "\n" for user in users.values())
    sent = by_id(json.loads(line) for line in synthetic)
    compare("confluent-kafka", "reads our JSON", sent, {key: users[key] for key in sent if key in users})
    missing = SYNTHETIC + len(raw) - len(users)
    report("confluent-kafka", "reads the API's users", len(raw), f"{missing} are missing" if missing else None)
    consumer = KafkaConsumer(TOPIC, bootstrap_servers=BROKERS, auto_offset_reset="earliest", consumer_timeout_ms=30_000)
    read = {}
    for message in consumer:
        user = json.loads(message.value)
        read[user["id"]] = user
        if len(read) == len(users):
            break
    consumer.close()
    compare("kafka-python", "reads our JSON", users, read)


if __name__ == "__main__":
    main()
