"""The demos' Spark job, tuned: all that is in the topic, 13 columns, batches grouped by replica set as the connector does it."""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json, to_timestamp
from pyspark.sql.types import StringType, StructField, StructType

COLUMNS = ["id", "first_name", "last_name", "gender", "email", "username", "phone", "address", "post_code", "dob", "registered_date", "picture", "timestamp"]

arguments = argparse.ArgumentParser()
for name in ("brokers", "topic", "cassandra", "table", "jars", "checkpoint"):
    arguments.add_argument(f"--{name}", required=True)
args = arguments.parse_args()
host, port = args.cassandra.rsplit(":", 1)
keyspace, table = args.table.split(".")

spark = (
    SparkSession.builder.appName("bench").master("local[2]").config("spark.jars", args.jars)
    .config("spark.cassandra.connection.host", host).config("spark.cassandra.connection.port", port)
    .config("spark.cassandra.output.concurrent.writes", "32").config("spark.cassandra.output.batch.size.rows", "50")
    # Grouped by partition, which is the default, a batch of users would have one row.
    .config("spark.cassandra.output.batch.grouping.key", "replica_set").config("spark.cassandra.connection.compression", "NONE")
    .config("spark.cassandra.output.consistency.level", "LOCAL_QUORUM")
    .config("spark.sql.shuffle.partitions", "2").config("spark.ui.enabled", "false").config("spark.driver.memory", "1g")
    .getOrCreate()
)
# The server warns of every batch over 5 KiB, and a line with its values for each would slow the driver down.
spark.sparkContext.setLogLevel("ERROR")
records = (
    spark.readStream.format("kafka").option("kafka.bootstrap.servers", args.brokers).option("subscribe", args.topic)
    # Few large batches, and tasks that two cores share evenly, though the topic has three partitions.
    .option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", "100000").option("minPartitions", "4").load()
)
users = records.select(from_json(col("value").cast("string"), StructType([StructField(c, StringType()) for c in COLUMNS])).alias("u")).select("u.*")
for name in ("dob", "registered_date", "timestamp"):
    users = users.withColumn(name, to_timestamp(col(name)))
query = (
    users.writeStream.format("org.apache.spark.sql.cassandra").option("keyspace", keyspace).option("table", table)
    .option("checkpointLocation", args.checkpoint).trigger(availableNow=True).start()
)
query.awaitTermination()
spark.stop()
