# shellcheck shell=bash
# Processes of one instance: spawn, find, probe, wait for, signal, stop. Sourced by services.sh.

# Prints the pid if the recorded process is alive and is ours; a recycled pid is not.
pid_of() {
  local pid
  pid=$(cat "$VAR/$1/pid" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  grep -qzxF -e "-Duserpipe.instance=$VAR/$1" -e "userpipe.instance=$VAR/$1" "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
}

# spawn NAME COMMAND...: a session of its own, no standard input, none of our locks.
spawn() {
  local name=$1
  shift
  : >"$VAR/$name/log"
  (
    cd "$VAR/$name" || exit
    setsid nohup "$@" >>log 2>&1 </dev/null 8>&- 9>&- &
    echo $! >pid
  )
  # Until it has called exec its command line is this script's, and pid_of would take it for a process that has ended.
  until pid_of "$name" >/dev/null || ended "$(cat "$VAR/$name/pid")"; do sleep 0.01; done
}

# Starts NAME without waiting; a foreign process on its port would otherwise be taken for it.
launch() {
  local name=$1 port
  for port in $("${name}_ports"); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then die "$name cannot start: port $port is taken; choose another (see the head of services.sh)"; fi
  done
  mkdir -p "$VAR/$name"
  "start_$name"
}

# tcp_probe PORT REQUEST N REGEX: sends one request (printf escapes) and compares the first N bytes of the answer, in hex.
tcp_probe() {
  local got
  got=$({ exec 3<>"/dev/tcp/127.0.0.1/$1" && printf '%b' "$2" >&3 && timeout 2 head -c "$3" <&3; } 2>/dev/null | od -An -tx1 | tr -d ' \n') || return 1
  [[ $got =~ ^$4 ]]
}

rss() { awk '/VmRSS/{printf "%d MiB", $2/1024}' "/proc/$(pid_of "$1")/status"; }

# await NAME BEGAN: until it answers. Its log says why where it does not.
await() {
  local name=$1 began=$2 end=$((SECONDS + WAIT))
  until "${name}_answers"; do
    pid_of "$name" >/dev/null || { tail -n 40 "$VAR/$name/log" >&2; die "$name ended; its log: $VAR/$name/log"; }
    ((SECONDS < end)) || { tail -n 40 "$VAR/$name/log" >&2; die "$name is not ready after $WAIT s; its log: $VAR/$name/log"; }
    sleep 0.2
  done
  log "$name ready after $(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN{printf "%.1f", b-a}') s, pid $(pid_of "$name"), RSS $(rss "$name")"
}

# Whether a process is over, all of its threads dead: its command line goes first, its sockets later, a zombie when collected.
ended() {
  local states
  states=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/task"/*/status 2>/dev/null) || true # threads end while they are listed
  [[ ! $'\n'$states =~ $'\n'[^ZX] ]]
}

# gone PID SECONDS: waits for the process to end.
gone() {
  local tries=$(($2 * 20))
  until ended "$1"; do
    ((tries-- > 0)) || return 1
    sleep 0.05
  done
}

# The process and its children (PostgreSQL's backends), one a line.
family() {
  local children
  read -ra children <<<"$(cat "/proc/$1/task/$1/children" 2>/dev/null || true)"
  printf '%s\n' "$1" "${children[@]}"
}

# signal NAME SIGNAL: one that ends the process is waited for; a child may end by itself while it is being signalled.
signal() {
  local name=$1 sig=${2#SIG} pid members
  pid=$(pid_of "$name") || die "$name is not running"
  members=("$pid")
  case $sig in STOP|CONT|KILL) mapfile -t members < <(family "$pid") ;; esac
  kill "-$sig" "${members[@]}" 2>/dev/null || kill -0 "$pid" 2>/dev/null || log "$name ended before SIG$sig"
  case $sig in
    TERM|INT|QUIT|KILL)
      gone "$pid" 30 || die "$name is alive 30 s after SIG$sig"
      rm -f "$VAR/$name/pid" ;;
  esac
  log "$name: SIG$sig sent to pid $pid"
}

# stop NAME SIGNAL: orderly, and by SIGKILL after 15 s. What is frozen must run on to see its signal.
stop() {
  local name=$1 sig=$2 pid members
  pid=$(pid_of "$name") || { rm -f "$VAR/$name/pid"; return 0; }
  if [[ $sig != KILL ]]; then
    if [[ $name == postgres ]]; then sig=INT; fi # its TERM waits for clients to leave
    mapfile -t members < <(family "$pid")
    kill -CONT "${members[@]}" 2>/dev/null || true
    kill "-$sig" "$pid" 2>/dev/null || true
    if gone "$pid" 15; then rm -f "$VAR/$name/pid"; log "$name stopped"; return; fi
    log "$name did not stop in 15 s: SIGKILL"
  fi
  signal "$name" KILL
}
