# shellcheck shell=bash
# The same verbs over compose.yaml's containers, for machines with Docker and without Java. Sourced by services.sh.

docker_runs() { command -v docker >/dev/null && docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

# A compose project per instance; the ports are those of the environment.
compose() {
  local project
  project=userpipe-$(printf %s "$VAR" | sha256sum | cut -c1-12)
  docker compose -p "$project" -f "$SERVICES_HOME/../../compose.yaml" "$@" </dev/null
}

# The names as compose.yaml has them: of the given ones, or of $SERVICES.
docker_names() {
  local name
  for name in ${1:-$SERVICES}; do if [[ $name == registry ]]; then echo schema-registry; else echo "$name"; fi; done
}

# on_services VERB [OPTIONS...]: a compose command on all of $SERVICES.
on_services() {
  local names
  mapfile -t names < <(docker_names)
  compose "$@" "${names[@]}"
}

docker_fetch() { on_services pull; }

docker_up() {
  [[ $SECURE == 0 ]] || die "SECURE=1 needs the jars: install Java 17 and Maven"
  [[ -z ${KAFKA_ADVERTISED:-} ]] || die "KAFKA_ADVERTISED needs the jars: install Java 17 and Maven"
  mkdir -p "$VAR"
  echo docker >"$VAR/backend"
  on_services up -d --wait --wait-timeout "$WAIT"
}

docker_down() { on_services stop; }

docker_wipe() {
  compose down --volumes --timeout 1
  rm -rf "$VAR" "$VAR.lock"
}

docker_status() { on_services ps; }

docker_kill() {
  local sig=${2:-KILL}
  case ${sig#SIG} in
    STOP) compose pause "$(docker_names "$1")" ;;
    CONT) compose unpause "$(docker_names "$1")" ;;
    # stop, not kill: a container that ends by itself would be restarted by its policy
    TERM) compose stop "$(docker_names "$1")" ;;
    *) compose kill -s "$sig" "$(docker_names "$1")" ;;
  esac
}

docker_start() { docker_up; }

# In the host's network, where the addresses mean what they mean to the caller.
docker_tool() {
  local name=$1 image
  shift
  case $name in
    cqlsh) image=$(compose_image cassandra); exec docker run --rm -i --network host "$image" cqlsh "$@" ;;
    psql)
      image=$(compose_image postgres)
      exec docker run --rm -i --network host -e "PGPASSWORD=${PGPASSWORD:-userpipe}" "$image" psql "$@" ;;
  esac
  image=$(compose_image kafka)
  exec docker run --rm -i --network host --entrypoint /opt/kafka/bin/kafka-run-class.sh "$image" "$(kafka_class "$name")" "$@"
}

compose_image() { compose config --images "$1" | head -n 1; }
