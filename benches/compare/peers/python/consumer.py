"""The demos' consumer: kafka-python, json.loads, one prepared insert after the other."""

import argparse
import json
import uuid
from datetime import datetime

from cassandra.cluster import Cluster
from kafka import KafkaConsumer

COLUMNS = ["id", "first_name", "last_name", "gender", "email", "username", "phone", "address", "post_code", "dob", "registered_date", "picture", "timestamp"]
DATES = {"dob", "registered_date", "timestamp"}

arguments = argparse.ArgumentParser()
for name in ("brokers", "topic", "cassandra", "table", "count"):
    arguments.add_argument(f"--{name}", required=True)
args = arguments.parse_args()

host, port = args.cassandra.rsplit(":", 1)
session = Cluster([host], port=int(port)).connect()
insert = session.prepare(f"INSERT INTO {args.table} ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})")
consumer = KafkaConsumer(args.topic, bootstrap_servers=args.brokers, auto_offset_reset="earliest", group_id=f"python-{uuid.uuid4()}")


def value(name: str, text: str) -> object:
    if name == "id":
        return uuid.UUID(text)
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if name in DATES else text


left = int(args.count)
for record in consumer:
    user = json.loads(record.value)
    session.execute(insert, [value(name, user[name]) for name in COLUMNS])
    left -= 1
    if left == 0:
        break
consumer.close()
