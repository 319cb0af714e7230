# shellcheck shell=bash
# One Cassandra node. Sourced by services.sh.

CASS_HEAP=${CASS_HEAP:-1g}
CASS_COMMITLOG=${CASS_COMMITLOG:-periodic}
CASS_TLS=${CASS_TLS:-optional}
# Of its conf/jvm-server.options and conf/jvm17-server.options, but for AlwaysPreTouch: nothing here is about the size of its heap.
# shellcheck disable=SC2034 # by its name, in choose_jvm
CASSANDRA_JVM=(-server -ea -da:net.openhft... -XX:+UseThreadPriorities -XX:StringTableSize=1000003 -XX:+UseTLAB -XX:+ResizeTLAB -XX:+UseNUMA
  -XX:+PerfDisableSharedMem -XX:+UseG1GC -XX:+ParallelRefProcEnabled -XX:MaxTenuringThreshold=1 -XX:G1HeapRegionSize=16m
  -XX:G1RSetUpdatingPauseTimePercent=5 -XX:MaxGCPauseMillis=300 -XX:InitiatingHeapOccupancyPercent=70)

cassandra_ports() { echo "$CASS_PORT $CASS_STORAGE_PORT"; }

# CQL v4 OPTIONS, answered by SUPPORTED (version 0x84, opcode 0x06). On the first boot the role cassandra appears only
# after 'Startup complete'.
cassandra_answers() {
  local marker='Startup complete'
  [[ -f $VAR/cassandra/.booted ]] || marker='Created default superuser role'
  # without a certificate of its own the probe is not answered; the port opens last
  if [[ $SECURE == 1 && $CASS_TLS != optional ]]; then
    grep -q "$marker" "$VAR/cassandra/log" && grep -q 'Starting listening for CQL clients' "$VAR/cassandra/log" &&
      touch "$VAR/cassandra/.booted"
    return
  fi
  grep -q "$marker" "$VAR/cassandra/log" &&
    tcp_probe "$CASS_PORT" '\x04\x00\x00\x00\x05\x00\x00\x00\x00' 5 8400000006 && touch "$VAR/cassandra/.booted"
}

start_cassandra() {
  local dir=$VAR/cassandra lib extra heap=128m modules=()
  find_java || die "Cassandra needs Java 17 or 21"
  lib=$(libdir cassandra)
  mkdir -p "$dir/triggers"
  cassandra_logback >"$dir/logback.xml"
  cassandra_yaml >"$dir/cassandra.yaml"
  mapfile -t modules < <(cassandra_modules)
  read -ra extra <<<"${CASS_JVM_EXTRA:-}"
  choose_jvm cassandra
  # Cassandra as root locks everything that is committed at its start into memory, which its own scripts accept.
  if [[ $JVM_OPTIONS == shipped ]]; then heap=$CASS_HEAP; fi
  spawn cassandra "${JAVA_COMMAND[@]}" "-Duserpipe.instance=$dir" "-Xms$heap" "-Xmx$CASS_HEAP" -Xss384k -XX:MaxDirectMemorySize=256m \
    "${JVM[@]}" "${extra[@]}" "${modules[@]}" "-javaagent:$(compgen -G "$lib/jamm-*.jar")" \
    -Djava.net.preferIPv4Stack=true -Djdk.attach.allowAttachSelf=true -Djava.security.manager=allow \
    -Dio.netty.tryReflectionSetAccessible=true \
    "-Dcassandra.config=file://$dir/cassandra.yaml" "-Dcassandra.storagedir=$dir" "-Dcassandra.triggers_dir=$dir/triggers" \
    "-Dlogback.configurationFile=$dir/logback.xml" -Dcassandra-foreground=yes \
    -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.superuser_setup_delay_ms=0 -Dcassandra.ring_delay_ms=0 \
    -cp "$lib/*" org.apache.cassandra.service.CassandraDaemon
}

cassandra_logback() {
  cat <<'E'
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
E
}

# As in most clusters, a write is acknowledged before the commit log has it, so SIGKILL loses those of the last 0.1 s: with
# one replica a row that a client was told of. `batch` acknowledges what a replay will find.
cassandra_commitlog() {
  if [[ $CASS_COMMITLOG == batch ]]; then echo 'commitlog_sync: batch'; return; fi
  printf 'commitlog_sync: periodic\ncommitlog_sync_period: 10s\n'
}

# For benchmarks what Cassandra 5 recommends to new clusters, in its conf/cassandra_latest.yaml.
cassandra_storage() {
  if [[ $JVM_OPTIONS != shipped ]]; then return; fi
  cat <<'E'
storage_compatibility_mode: NONE
memtable:
  configurations:
    trie:
      class_name: TrieMemtable
    default:
      inherits: trie
memtable_allocation_type: offheap_objects
sstable:
  selected_format: bti
default_compaction:
  class_name: UnifiedCompactionStrategy
  parameters:
    scaling_parameters: T4
    max_sstables_to_compact: 64
    target_sstable_size: 1GiB
    sstable_growth: 0.3333333333333333
    min_sstable_size: 100MiB
E
}

cassandra_yaml() {
  local dir=$VAR/cassandra
  cat <<E
cluster_name: userpipe-test
num_tokens: 1
initial_token: 0
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:$CASS_STORAGE_PORT"
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: $CASS_STORAGE_PORT
ssl_storage_port: $((CASS_STORAGE_PORT + 1))
start_native_transport: true
native_transport_port: $CASS_PORT
data_file_directories: [$dir/data]
commitlog_directory: $dir/commitlog
saved_caches_directory: $dir/saved_caches
hints_directory: $dir/hints
cdc_raw_directory: $dir/cdc_raw
$(cassandra_commitlog)
$(cassandra_storage)
auto_snapshot: false
hinted_handoff_enabled: false
file_cache_size: 32MiB
networking_cache_size: 16MiB
memtable_heap_space: 128MiB
memtable_offheap_space: 128MiB
E
  [[ $SECURE == 1 ]] || return 0
  cat <<E
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
client_encryption_options:
  enabled: true
  optional: $([[ $CASS_TLS == optional ]] && echo true || echo false)
  require_client_auth: $([[ $CASS_TLS == mutual ]] && echo true || echo false)
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: $VAR/certs/server.pem
  truststore: $VAR/certs/ca.pem
E
}

# The JDK's internals that Cassandra reaches into: the list of its own conf/jvm17-server.options.
cassandra_modules() {
  local package
  for package in java.base/jdk.internal.misc java.base/java.lang.ref java.management.rmi/com.sun.jmx.remote.internal.rmi \
    java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc \
    jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach; do
    echo "--add-exports=$package=ALL-UNNAMED"
  done
  for package in java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect java.base/java.io java.base/java.util \
    java.base/java.nio java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect \
    java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar java.base/sun.nio.ch \
    jdk.management/com.sun.management.internal jdk.compiler/com.sun.tools.javac; do
    echo "--add-opens=$package=ALL-UNNAMED"
  done
}
