# shellcheck shell=bash
# Apicurio registry, which speaks the Confluent API, in memory. Sourced by services.sh.

# 3.x needs Java 21.
REGISTRY_VERSION=${REGISTRY_VERSION:-2.6.13.Final}

registry_ports() { echo "$REGISTRY_PORT $REGISTRY_MANAGEMENT_PORT"; }

registry_url() { echo "http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7"; }

# HTTP/1.x 200
registry_answers() { tcp_probe "$REGISTRY_PORT" 'GET /apis/ccompat/v7/subjects HTTP/1.0\r\n\r\n' 12 485454502f312e3.20323030; }

start_registry() {
  find_java || die "the registry needs Java 17 or 21"
  spawn registry "${JAVA_COMMAND[@]}" "-Duserpipe.instance=$VAR/registry" -Xms64m -Xmx384m "${QUICK_JVM[@]}" \
    -Djava.util.logging.manager=org.jboss.logmanager.LogManager \
    -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$REGISTRY_PORT" \
    -Dquarkus.management.host=127.0.0.1 "-Dquarkus.management.port=$REGISTRY_MANAGEMENT_PORT" \
    -jar "$(registry_jar)"
}

registry_jar() { compgen -G "$(libdir registry)/*-runner.jar" || echo "$(libdir registry)/quarkus-run.jar"; }
