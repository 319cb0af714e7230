# shellcheck shell=bash
# What the comparison and the soak share: the builds, the peers from the package registries. Sourced by their scripts.

here=benches/compare
work=$PWD/target/bench
say() { printf 'bench: %s\n' "$*" >&2; }

# The bare writer, our release, and services as they run in production: their own JVM options (with an optimizing compiler the
# node is not what all writers wait for), and a heap of Cassandra that takes what the writers give; the same for everybody.
prepare() {
  mkdir -p "$work"
  command -v go >/dev/null || { say 'the bare writer needs Go: install golang-go'; exit 1; }
  (cd $here/peers/gocql && go build -o "$work/gocql" .)
  [[ ${BUILD:-release} == none ]] || cargo build --release --locked
  # `cargo bench` puts one with what tests need in its place.
  cp -f target/release/userpipe "$work/userpipe"
  export BENCH_LOG=$work/bench.log
  : >"$BENCH_LOG"
  export SERVICES='cassandra kafka' VAR=${VAR:-$work/services} CASS_HEAP=${CASS_HEAP:-2g} JVM_OPTIONS=${JVM_OPTIONS:-shipped}
}

# install COMMAND PACKAGE: through apt-get, where it is not here and that is allowed.
install() {
  if ! command -v "$1" >/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
    say "installing $2 through apt-get"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2"; } </dev/null >>"$BENCH_LOG" 2>&1 || true
  fi
  command -v "$1" >/dev/null
}

# Python peers in one virtual environment, made anew when their pins change.
venv() {
  local dir=$work/venv pins=$here/peers/requirements.txt
  if ! cmp -s "$pins" "$dir/requirements.txt"; then
    say 'installing the Python peers'
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/pip" --quiet --disable-pip-version-check install -r "$pins" </dev/null >&2
    cp "$pins" "$dir/requirements.txt"
  fi
}

# jars PEER: what its pom.xml names, resolved once by Maven; a path a line.
jars() {
  local dir
  dir=$(tests/services/services.sh jars "$here/peers/$1")
  find "$dir" -name '*.jar' | sort
}

# The classes of our sink, its manifest for the worker's discovery, and the jars.
connect_classpath() {
  local paths classes=$work/connect source=$here/peers/connect
  paths=$(jars connect | paste -sd:)
  if [[ $source/UserSink.java -nt $classes/UserSink.class ]]; then
    mkdir -p "$classes/META-INF/services"
    javac --release 17 -cp "$paths" -d "$classes" "$source/UserSink.java" >&2
    echo UserSink >"$classes/META-INF/services/org.apache.kafka.connect.sink.SinkConnector"
  fi
  echo "$classes:$paths"
}
