"""What the demos' DAGs send through kafka-python, each in its dialect, is consumed as the lenient decoder promises."""

import json
import uuid

from kafka import KafkaProducer

from common import BROKERS, FIELDS, USERS, compare, messages_of, report, rows_of, session, userpipe

PEOPLE = 100
SENT_AT_MS = 1_790_000_000_000


def people():
    """Some of our users, as what the API would have told the demos."""
    with open(USERS, encoding="utf-8") as lines:
        return [json.loads(next(lines)) for _ in range(PEOPLE)]


def number_of(text):
    """A postcode as the API gives most of them: a number."""
    return int("".join(c for c in text if c.isascii() and c.isdigit()) or "0")


def all_fields_without_zones(user):
    """All 13 fields; the dates have no zone, and a blank where others have a T."""
    sent = dict(user)
    for field in ("dob", "registered_date", "timestamp"):
        sent[field] = user[field].removesuffix("Z").replace("T", " " if field == "timestamp" else "T")
    return sent, user


def numeric_postcode_without_id(user):
    """`postcode` as a number, neither timestamp nor id: the record's own time, and an id by --derive-id."""
    sent = {field: user[field] for field in FIELDS if field not in ("id", "timestamp", "post_code")}
    sent["postcode"] = number_of(user["post_code"])
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{user['email']}\x1f{user['username']}")
    return sent, {**user, "id": str(identity), "timestamp": SENT_AT_MS, "post_code": str(sent["postcode"])}


def numeric_post_code(user):
    """A fresh UUIDv4 and `post_code` as a number; no timestamp."""
    sent = {**user, "id": str(uuid.uuid4()), "post_code": number_of(user["post_code"])}
    del sent["timestamp"]
    return sent, {**sent, "post_code": str(sent["post_code"]), "timestamp": SENT_AT_MS}


# name: (topic, dialect, further options of consume)
DEMOS = {
    "13 fields, times without zone": ("users_created", all_fields_without_zones, []),
    "numeric postcode, no id": ("user_created", numeric_postcode_without_id, ["--derive-id"]),
    "numeric post_code": ("users_profile", numeric_post_code, []),
}

# What is no user, and the field that the dead letter names.
UNREADABLE = [
    ("id", lambda user: user.pop("id")),
    ("id", lambda user: user.update(id="17")),
    ("email", lambda user: user.pop("email")),
    ("address", lambda user: user.update(address=None)),
    ("dob", lambda user: user.update(dob="14/02/1990")),
    ("post_code", lambda user: user.update(post_code=[1234])),
    ("registered_date", lambda user: user.update(registered_date="yesterday")),
]


def send(topic, records):
    """As the demos do it: no key, UTF-8 JSON."""
    producer = KafkaProducer(bootstrap_servers=BROKERS, max_block_ms=30000)
    for record in records:
        producer.send(topic, json.dumps(record).encode("utf-8"), timestamp_ms=SENT_AT_MS)
    producer.flush(30)
    producer.close()


def check_dialect(connection, name, topic, dialect, options):
    sent, expected = zip(*(dialect(user) for user in people()))
    send(topic, sent)
    table = f"from_{topic}"
    here = ["--topic", topic, "--table", table]
    userpipe("init-schema", *here)
    userpipe("consume", "--exit-at-end", *here, *options)
    compare("kafka-python", f"sends {name}", {user["id"]: user for user in expected}, rows_of(connection, table))


def check_unreadable(connection):
    """Each of them becomes a dead letter that names its field, and the good record between them a row."""
    topic, table = "demo_unreadable", "from_unreadable"
    users = people()[: len(UNREADABLE) + 1]
    good = users.pop()
    for user, (_, spoil) in zip(users, UNREADABLE):
        spoil(user)
    send(topic, [*users, good])
    here = ["--topic", topic, "--table", table]
    userpipe("init-schema", *here)
    userpipe("consume", "--exit-at-end", *here)
    reasons = {}
    for letter in messages_of(f"{topic}.dead-letters"):
        headers = {name: value.decode() for name, value in letter.headers()}
        reasons[letter.value().decode()] = headers["userpipe.error"]
    problem = None if len(reasons) == len(UNREADABLE) else f"{len(UNREADABLE)} sent, {len(reasons)} dead letters"
    for user, (field, _) in zip(users, UNREADABLE):
        reason = reasons.get(json.dumps(user), "no dead letter")
        if not reason.startswith(f"{field}: ") and problem is None:
            problem = f"{user.get('id')}, {field}: the reason is {reason!r}"
    if set(rows_of(connection, table)) != {good["id"]}:
        problem = problem or "the good record between them is not the one row"
    report("kafka-python", "sends what is unreadable", len(reasons), problem)


def main():
    connection = session()
    for name, (topic, dialect, options) in DEMOS.items():
        check_dialect(connection, name, topic, dialect, options)
    check_unreadable(connection)


if __name__ == "__main__":
    main()
