# shellcheck shell=bash
# PostgreSQL from the system's package: user, password and database `userpipe`, SCRAM, TCP on loopback only. Sourced by services.sh.

postgres_ports() { echo "$POSTGRES_PORT"; }

# The socket opens before recovery is over; the log tells when it is.
postgres_answers() {
  grep -q 'database system is ready to accept connections' "$VAR/postgres/log" &&
    "$(find_postgres)/pg_isready" -q -h 127.0.0.1 -p "$POSTGRES_PORT"
}

# PostgreSQL refuses to run as root; its package brings the user.
as_postgres() {
  if ((EUID == 0)); then setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; else "$@"; fi
}

# In VAR where the user postgres can get there; else, as with a checkout under /root, in the temporary directory.
postgres_data() {
  local dir=$VAR/postgres/data
  if ((EUID == 0)) && ! as_postgres test -x "$VAR/postgres"; then
    dir=/tmp/userpipe-postgres-$(printf %s "$VAR" | sha256sum | cut -c1-12)
  fi
  echo "$dir"
}

# The data that are not below VAR.
forget_postgres() {
  local dir
  [[ -f $VAR/postgres/elsewhere ]] || return 0
  dir=$(cat "$VAR/postgres/elsewhere")
  if [[ $dir == /tmp/userpipe-postgres-* ]]; then rm -rf "$dir"; fi
}

start_postgres() {
  local bin data run=() tls=()
  bin=$(find_postgres) || die "PostgreSQL is not installed"
  data=$(postgres_data)
  [[ $data == "$VAR"/* ]] || echo "$data" >"$VAR/postgres/elsewhere"
  [[ -f $data/.complete ]] || init_postgres "$bin" "$data"
  unlock_postgres "$data"
  if [[ $SECURE == 1 ]]; then secure_postgres "$data"; tls=(-c ssl=on -c ssl_ca_file=ca.pem); fi
  if ((EUID == 0)); then run=(setpriv --reuid=postgres --regid=postgres --clear-groups --); fi
  # no Unix socket: its path may be too long, and the default directory belongs to the system's own server
  spawn postgres "${run[@]}" "$bin/postgres" -D "$data" -c "userpipe.instance=$VAR/postgres" \
    -c listen_addresses=127.0.0.1 -p "$POSTGRES_PORT" -c unix_socket_directories= \
    -c shared_buffers=32MB -c max_connections=50 -c max_wal_size=256MB -c logging_collector=off "${tls[@]}"
}

# With TLS for everybody: passwords, and for the role `certified` a certificate of that name. The certificate may be another
# one than at the last start.
secure_postgres() {
  local data=$1 owner=()
  if ((EUID == 0)); then owner=(-o postgres -g postgres); fi
  install "${owner[@]}" -m 600 "$VAR/certs/server.key" "$VAR/certs/server.crt" "$VAR/certs/ca.pem" "$data"
  printf 'hostssl all certified 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n' >"$data/pg_hba.conf"
}

# An ordinary role that owns its database, made in single-user mode, so that no one can log in before.
init_postgres() {
  local bin=$1 data=$2
  rm -rf "$data"
  mkdir -p "$data"
  if ((EUID == 0)); then chown postgres:postgres "$data"; fi
  as_postgres "$bin/initdb" -D "$data" -U postgres -E UTF8 --locale=C.UTF-8 --auth=reject --no-sync \
    >"$VAR/postgres/init.log" 2>&1 </dev/null || { cat "$VAR/postgres/init.log" >&2; die "initdb failed"; }
  as_postgres "$bin/postgres" --single -D "$data" postgres >>"$VAR/postgres/init.log" 2>&1 <<'E' || die "cannot create the role; see $VAR/postgres/init.log"
CREATE ROLE userpipe LOGIN PASSWORD 'userpipe'
CREATE DATABASE userpipe OWNER userpipe
CREATE ROLE certified LOGIN IN ROLE userpipe
E
  echo 'host all all 127.0.0.1/32 scram-sha-256' >"$data/pg_hba.conf"
  as_postgres touch "$data/.complete"
}

# After SIGKILL a new server would refuse to start: while backends hold the shared memory, which passes, and where the dead
# process is a zombie that nobody has collected yet. Its lock file goes, since only our own server ever ran here.
unlock_postgres() {
  local id end=$((SECONDS + 10))
  id=$(awk 'NR == 7 {print $2}' "$1/postmaster.pid" 2>/dev/null) || return 0
  [[ -n $id ]] || return 0
  while awk -v id="$id" '$2 == id && $7 > 0 {found = 1} END {exit !found}' /proc/sysvipc/shm; do
    ((SECONDS < end)) || die "processes of the killed PostgreSQL are still there"
    sleep 0.1
  done
  rm -f "$1/postmaster.pid"
}
