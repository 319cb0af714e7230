"""Spark Structured Streaming reads our topic as the demos' job does, and writes a topic that we read.

All fields are strings to it (`from_json`), and `writeStream` puts them into Cassandra: once into a table like ours,
once through `foreachBatch` into the demos' own kind of table, where dates are text.
"""

import os

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json, struct, to_json
from pyspark.sql.types import StringType, StructField, StructType

from common import BROKERS, CASSANDRA, FIELDS, KEYSPACE, SCRATCH, TOPIC, compare, rows_of, session, userpipe

JARS = os.environ["INTEROP_SPARK_JARS"]
OURS, TYPED, TEXT, BACK = "written_by_us", "written_by_spark", "written_by_spark_as_text", "read_from_spark"
TOPIC_BACK = "interop_users_of_spark"


def spark_session():
    """Two threads of this machine, and no page for the job."""
    host, port = CASSANDRA.rsplit(":", 1)
    builder = SparkSession.builder.appName("interop").master("local[2]")
    options = {
        "spark.jars": ",".join(sorted(f"{JARS}/{name}" for name in os.listdir(JARS) if name.endswith(".jar"))),
        "spark.cassandra.connection.host": host,
        "spark.cassandra.connection.port": port,
        "spark.driver.memory": "700m",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": f"{SCRATCH}/spark",
    }
    for name, value in options.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def users_from(spark):
    """The demos' query: the value as text, its fields as strings."""
    schema = StructType([StructField(field, StringType(), False) for field in FIELDS])
    kafka = spark.readStream.format("kafka").options(**{"kafka.bootstrap.servers": BROKERS, "subscribe": TOPIC})
    values = kafka.option("startingOffsets", "earliest").load().selectExpr("CAST(value AS STRING)")
    return values.select(from_json(col("value"), schema).alias("data")).select("data.*")


def to_cassandra(rows, table):
    rows.write.format("org.apache.spark.sql.cassandra").options(keyspace=KEYSPACE, table=table).mode("append").save()


def start(users, name):
    """A query over what is there now, with its own checkpoint."""
    return users.writeStream.trigger(availableNow=True).option("checkpointLocation", f"{SCRATCH}/checkpoints/{name}")


def await_all(queries):
    for query in queries:
        if not query.awaitTermination(300):
            raise SystemExit("Spark's query did not end in 300 s")
        if query.exception():
            raise SystemExit(f"Spark's query failed: {query.exception()}")


def main():
    connection = session()
    for table in (OURS, TYPED, BACK):
        userpipe("init-schema", "--topic", TOPIC, "--table", table)
    columns = ", ".join(f"{field} text" for field in FIELDS if field != "id")
    connection.execute(f"CREATE TABLE {KEYSPACE}.{TEXT} (id uuid PRIMARY KEY, {columns})")

    spark = spark_session()
    spark.sparkContext.setLogLevel("ERROR")
    users = users_from(spark)
    typed = start(users, TYPED).format("org.apache.spark.sql.cassandra").options(keyspace=KEYSPACE, table=TYPED)
    text = start(users, TEXT).foreachBatch(lambda rows, _: to_cassandra(rows, TEXT))
    wire = users.select(col("id").alias("key"), to_json(struct(*FIELDS)).alias("value"))
    back = start(wire, BACK).format("kafka").options(**{"kafka.bootstrap.servers": BROKERS, "topic": TOPIC_BACK})
    await_all([typed.start(), text.start(), back.start()])
    spark.stop()

    userpipe("consume", "--exit-at-end", "--topic", TOPIC, "--table", OURS)
    userpipe("consume", "--exit-at-end", "--topic", TOPIC_BACK, "--table", BACK)
    ours = rows_of(connection, OURS)
    compare("Spark 3.5.3", "writeStream = our table", ours, rows_of(connection, TYPED))
    compare("Spark 3.5.3", "foreachBatch, dates as text", ours, rows_of(connection, TEXT))
    compare("Spark 3.5.3", "sends, we write", ours, rows_of(connection, BACK))


if __name__ == "__main__":
    main()
