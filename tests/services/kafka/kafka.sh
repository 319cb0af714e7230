# shellcheck shell=bash
# One Kafka broker in KRaft mode, broker and controller in one process. Sourced by services.sh.

KAFKA_HEAP=${KAFKA_HEAP:-512m}
# Of its bin/kafka-run-class.sh.
# shellcheck disable=SC2034 # by its name, in choose_jvm
KAFKA_JVM=(-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent)
CLUSTER_ID=dXNlcnBpcGUtdGVzdC0tLQ # any 16 bytes in url-safe base64
SASL_USER=userpipe
SASL_PASSWORD=test-secret

kafka_ports() {
  echo "$KAFKA_PORT $KAFKA_CONTROLLER_PORT"
  if [[ $SECURE == 1 ]]; then echo "$((KAFKA_PORT + 2)) $((KAFKA_PORT + 3)) $((KAFKA_PORT + 4))"; fi
}

# ApiVersions v0 with correlation id 7. The port opens before the broker is unfenced; the log tells when it is.
kafka_answers() {
  grep -q 'Kafka Server started' "$VAR/kafka/log" &&
    tcp_probe "$KAFKA_PORT" '\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff' 10 0000
}

start_kafka() {
  local dir=$VAR/kafka scram=()
  find_java || die "Kafka needs Java 17 or 21"
  write_log4j "$dir/log4j2.yaml" INFO SYSTEM_OUT
  kafka_properties >"$dir/server.properties"
  if [[ ! -f $dir/data/meta.properties ]]; then
    if [[ $SECURE == 1 ]]; then
      scram=(--add-scram "SCRAM-SHA-256=[name=$SASL_USER,password=$SASL_PASSWORD]"
        --add-scram "SCRAM-SHA-512=[name=$SASL_USER,password=$SASL_PASSWORD]")
    fi
    "${JAVA_COMMAND[@]}" -Xmx128m "${QUICK_JVM[@]}" -cp "$(libdir kafka)/*" kafka.tools.StorageTool format --standalone \
      -t "$CLUSTER_ID" -c "$dir/server.properties" "${scram[@]}" >"$dir/format.log" 2>&1 8>&- 9>&- ||
      { cat "$dir/format.log" >&2; die "Kafka cannot format its storage"; }
  fi
  choose_jvm kafka
  spawn kafka "${JAVA_COMMAND[@]}" "-Duserpipe.instance=$dir" -Xms128m "-Xmx$KAFKA_HEAP" "${JVM[@]}" \
    "-Dlog4j2.configurationFile=$dir/log4j2.yaml" -cp "$(libdir kafka)/*" kafka.Kafka "$dir/server.properties"
}

# Short sessions and no delay of the first rebalance, so that tests of faults do not wait for minutes.
kafka_properties() {
  local listeners="PLAINTEXT://127.0.0.1:$KAFKA_PORT" advertised map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
  if [[ $SECURE == 1 ]]; then
    listeners+=",SASL_PLAINTEXT://127.0.0.1:$((KAFKA_PORT + 2)),SSL://127.0.0.1:$((KAFKA_PORT + 3)),SASL_SSL://127.0.0.1:$((KAFKA_PORT + 4))"
    map+=,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
  fi
  advertised=$listeners
  if [[ -n ${KAFKA_ADVERTISED:-} ]]; then advertised=PLAINTEXT://$KAFKA_ADVERTISED; fi
  cat <<E
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$KAFKA_CONTROLLER_PORT
controller.listener.names=CONTROLLER
listeners=$listeners,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
advertised.listeners=$advertised,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
listener.security.protocol.map=$map
inter.broker.listener.name=PLAINTEXT
log.dirs=$VAR/kafka/data
auto.create.topics.enable=true
# Records of tests are as old as they like; what retention is to remove, a test removes.
log.retention.ms=-1
num.partitions=3
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=5
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=10000
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=16777216
E
  if [[ $SECURE == 1 ]]; then kafka_security; fi
}

kafka_security() {
  local listener login=org.apache.kafka.common.security
  echo 'sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512'
  # Unsigned tokens, whose claims are checked all the same, and connections that end with their token.
  echo 'listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER'
  echo "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=$login.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
  echo 'listener.name.sasl_plaintext.oauthbearer.connections.max.reauth.ms=3600000'
  for listener in sasl_plaintext sasl_ssl; do
    echo "listener.name.$listener.plain.sasl.jaas.config=$login.plain.PlainLoginModule required user_$SASL_USER=\"$SASL_PASSWORD\";"
    echo "listener.name.$listener.scram-sha-256.sasl.jaas.config=$login.scram.ScramLoginModule required;"
    echo "listener.name.$listener.scram-sha-512.sasl.jaas.config=$login.scram.ScramLoginModule required;"
  done
  cat <<E
ssl.keystore.type=PEM
ssl.keystore.location=$VAR/certs/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$VAR/certs/ca.pem
listener.name.ssl.ssl.client.auth=required
E
}
