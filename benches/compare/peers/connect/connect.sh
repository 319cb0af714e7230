#!/usr/bin/env bash
# Kafka Connect's standalone worker with the sink of UserSink.java, until it is told to stop.
#
#   connect.sh CLASSPATH --brokers HOST:PORT --topic TOPIC --cassandra HOST:PORT --table KEYSPACE.TABLE --work DIRECTORY --port PORT
set -euo pipefail

classpath=$1
shift
declare -A option=()
while (($# > 0)); do
  option[${1#--}]=$2
  shift 2
done
work=${option[work]}
mkdir -p "$work"

cat >"$work/worker.properties" <<P
bootstrap.servers=${option[brokers]}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
offset.storage.file.filename=$work/offsets
listeners=http://127.0.0.1:${option[port]}
plugin.discovery=service_load
# A poll's worth fills many batches; the default of 500 is slower.
consumer.max.poll.records=5000
P
cat >"$work/sink.properties" <<P
name=$(basename "$work")
connector.class=UserSink
topics=${option[topic]}
tasks.max=2
cassandra=${option[cassandra]}
table=${option[table]}
batch.rows=50
in.flight=16
compression=none
P
# The options of Kafka's own connect-standalone.sh.
exec java -Xms256m -Xmx2g -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classpath" \
  org.apache.kafka.connect.cli.ConnectStandalone "$work/worker.properties" "$work/sink.properties"
