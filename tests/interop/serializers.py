"""Confluent's Avro and JSON Schema serializers and deserializers round-trip with ours, against a schema registry."""

import datetime
import json

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from common import BROKERS, DATES, REGISTRY, TOPIC, USERS
from common import by_id, compare, instant, messages_of, rows_of, session, userpipe, users_of

CLIENT = SchemaRegistryClient({"url": REGISTRY})
LATEST = {"auto.register.schemas": False, "use.latest.version": True}


def read(topic, deserializer):
    """A topic's records, as a deserializer of Confluent's gives them."""
    context = SerializationContext(topic, MessageField.VALUE)
    return by_id(deserializer(message.value(), context) for message in messages_of(topic))


def write(topic, serializer, users):
    """Sends users through a serializer of Confluent's."""
    producer, context = Producer({"bootstrap.servers": BROKERS}), SerializationContext(topic, MessageField.VALUE)
    for user in users:
        producer.produce(topic, key=user["id"], value=serializer(user, context))
    producer.flush(30)


def schema_of(topic):
    """The latest schema of a topic's values, as JSON."""
    return json.loads(CLIENT.get_latest_version(f"{topic}-value").schema.schema_str)


def for_avro(user, schema):
    """A record as fastavro takes it for this schema: dates are datetimes where it has a logical type for them."""
    logical = {field["name"] for field in schema["fields"] if "logicalType" in json.dumps(field["type"])}

    def value(field):
        if field in DATES and field in logical:
            return datetime.datetime.fromtimestamp(instant(user[field]) / 1000, datetime.timezone.utc)
        return user[field]

    return {field: value(field) for field in user}


def theirs_to_ours(peer, encoding, topic, serializer, users, expected):
    """What Confluent's serializer sends, `consume` writes: the rows equal the records."""
    write(topic, serializer, users)
    here = ["--topic", topic, "--table", topic, "--schema-registry", REGISTRY, "--encoding", encoding]
    userpipe("init-schema", *here)
    userpipe("consume", "--exit-at-end", *here)
    compare(peer[0], peer[1], expected, rows_of(session(), topic))


def avro(users):
    peer, encoding, topic = "Confluent Avro", ["--schema-registry", REGISTRY, "--encoding", "avro"], "interop_avro"
    userpipe("produce", "--input", USERS, "--topic", topic, *encoding)
    compare(peer, "reads ours", users, read(topic, AvroDeserializer(CLIENT)))

    back = f"{topic}_back"
    userpipe("schema", "register", "--topic", back, *encoding)
    schema = schema_of(back)
    records = [for_avro(user, schema) for user in users.values()]
    theirs_to_ours((peer, "sends ours, our schema"), "avro", back, AvroSerializer(CLIENT, conf=LATEST), records, users)

    # a writer of another team: other order of fields, one more, and none of our registering
    schema["fields"] = [*reversed(schema["fields"]), {"name": "loyalty", "type": ["null", "string"], "default": None}]
    serializer = AvroSerializer(CLIENT, schema_str=json.dumps(schema))
    records = [{**record, "loyalty": "gold"} for record in records]
    theirs_to_ours((peer, "sends ours, their schema"), "avro", f"{topic}_foreign", serializer, records, users)


def json_schema(users):
    peer, topic = "Confluent JSON Schema", "interop_json_schema"
    encoding = ["--schema-registry", REGISTRY, "--encoding", "json-schema"]
    userpipe("produce", "--input", USERS, "--topic", topic, *encoding)
    schema = json.dumps(schema_of(topic))
    compare(peer, "reads ours", users, read(topic, JSONDeserializer(schema, schema_registry_client=CLIENT)))

    back = f"{topic}_back"
    userpipe("schema", "register", "--topic", back, *encoding)
    serializer = JSONSerializer(json.dumps(schema_of(back)), CLIENT, conf=LATEST)
    theirs_to_ours((peer, "sends ours, our schema"), "json-schema", back, serializer, users.values(), users)


if __name__ == "__main__":
    all_users = users_of(TOPIC)
    avro(all_users)
    json_schema(all_users)
