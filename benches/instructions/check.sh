#!/usr/bin/env bash
# Counts the instructions of the cases in cases.rs, and compares them with the recorded ones (recorded.txt):
#   check.sh check                         fails for a case that takes over 5 % more, and for one that is new or gone
#   check.sh record                        makes the present counts the recorded ones
#   check.sh compare RECORDED COUNTED      the comparison alone, of two files
#
# valgrind counts, since instructions stay the same on a busy machine, which times do not. Not all of them are ours to answer for:
# - what libc runs depends on its version, so the program's own are counted apart, and alone compared where libc is another one
# - what libc chooses by the processor is fixed to what all of a kind have
# - another target has other instructions: there only the names of the cases are compared
# rustc is named by rust-toolchain.toml: who changes that answers for the counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

self=benches/instructions/check.sh
recorded=benches/instructions/recorded.txt
program=${CARGO_TARGET_DIR:-target}/instructions/instructions
# The vector extensions by which glibc chooses its memcpy, memchr and the like.
hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load,-BMI2,-ERMS,-FSRM,-RTM,-SSE4_2,-SSSE3,-Fast_Unaligned_Copy

fail() { echo "bench-check: $1" >&2; exit 1; }

install_valgrind() {
  if command -v valgrind >/dev/null; then return; fi
  if ((EUID == 0)) && command -v apt-get >/dev/null; then
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends valgrind; } >/dev/null 2>&1 || true
  fi
  command -v valgrind >/dev/null || fail 'valgrind is not installed: apt-get install valgrind'
}

# count_one CASE PROGRAM: a line with its name, the instructions in the program, and those in libc. Runs below `env -i`.
count_one() {
  local out
  out=$(mktemp)
  if ! valgrind --quiet --tool=callgrind --callgrind-out-file="$out" --compress-strings=no --compress-pos=no \
    --toggle-collect='*counted_region*' "$2" "$1" >&2; then
    rm -f "$out"
    echo "bench-check: $1 did not run to its end" >&2
    return 1
  fi
  # A line of costs is a place and a number; the one below `calls=` is what was called, and has lines of its own elsewhere.
  awk -v name="$1" -v program="$2" '
    /^ob=/ { is_own = substr($0, 4) == program }
    /^totals: / { total = $2 }
    /^calls=/ { getline; next }
    /^[0-9]+ [0-9]+$/ { if (is_own) own += $2; else other += $2 }
    END {
      if (own == 0 || own + other != total) { print "bench-check: " name ": valgrind counted nothing usable" > "/dev/stderr"; exit 1 }
      printf "%s %d %d\n", name, own, other
    }' "$out" || { rm -f "$out"; return 1; }
  rm -f "$out"
}

# The counts of all cases as a file of them, from a program that is built for it.
count() {
  local cases lines
  install_valgrind
  env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS cargo build --locked --quiet --profile instructions --features instructions --bin instructions
  cases=$("$program")
  # shellcheck disable=SC2086 # names without blanks
  lines=$(printf '%s\n' $cases | xargs -P "$(nproc)" -I NAME \
    env -i PATH="$PATH" LC_ALL=C GLIBC_TUNABLES="glibc.cpu.hwcaps=$hwcaps" \
    "$BASH" "$self" count-one NAME "$(realpath "$program")") || fail 'not every case could be counted'
  echo '# What each case takes for 500 users: its name, the instructions of the program, those of libc. make bench-record writes it.'
  echo "# rustc $(rustc -V | cut -d ' ' -f 2)"
  echo "# target $(rustc -vV | sed -n 's/^host: //p')"
  echo "# libc $(getconf GNU_LIBC_VERSION 2>/dev/null | tr ' ' - || echo unknown)"
  echo "# valgrind $(valgrind --version | sed 's/^valgrind-//')"
  LC_ALL=C sort <<<"$lines"
}

# compare RECORDED COUNTED: the table; fails for what is slower, new, gone, or no file of counts.
compare() {
  awk -v limit=5 '
    function fault(text) { print "bench-check: " text > "/dev/stderr"; faults++ }
    function shown(file, name) { return file == 1 && !((1, name) in own) || file == 2 && !((2, name) in own) ? "-" : sum(file, name) }
    function sum(file, name) { return own[file, name] + (other_libc ? 0 : libc[file, name]) }
    /^# (rustc|target|libc|valgrind) [^ ]+$/ { about[file, $2] = $3; next }
    /^#/ { next }
    NF != 3 || $1 !~ /^[a-z0-9_]+$/ || $2 !~ /^[1-9][0-9]*$/ || $3 !~ /^[0-9]+$/ || (file, $1) in own {
      fault(FILENAME ": line " FNR " is no count: " substr($0, 1, 60)); unreadable = 1; next
    }
    { own[file, $1] = $2; libc[file, $1] = $3; if (!($1 in known)) { known[$1] = 1; names[++cases] = $1 }; counts[file]++ }
    END {
      split("recorded counted", role)
      for (f = 1; f <= 2; f++) {
        if (!counts[f]) { fault("the " role[f] " counts are empty"); unreadable = 1 }
        if (!((f, "rustc") in about) || !((f, "target") in about) || !((f, "libc") in about)) { fault("the " role[f] " counts lack rustc, target or libc"); unreadable = 1 }
      }
      if (unreadable) exit 1
      other_target = about[1, "target"] != about[2, "target"]
      other_libc = about[1, "libc"] != about[2, "libc"]
      if (other_target) print "recorded on " about[1, "target"] ", this is " about[2, "target"] ": only the names of the cases are compared"
      else if (other_libc) print "recorded with " about[1, "libc"] ", this is " about[2, "libc"] ": what libc runs is left out"
      if (about[1, "rustc"] != about[2, "rustc"]) print "recorded with rustc " about[1, "rustc"] ", this is " about[2, "rustc"]
      printf "%-24s %12s %12s %8s  %s\n", "case", "recorded", "now", "change", "verdict"
      for (i = 1; i <= cases; i++) {
        name = names[i]; change = "-"
        if (!((1, name) in own)) { verdict = "NEW"; fault(name " is not recorded") }
        else if (!((2, name) in own)) { verdict = "GONE"; fault(name " is recorded, and no longer a case") }
        else if (other_target) verdict = "not compared"
        else {
          percent = (sum(2, name) / sum(1, name) - 1) * 100
          change = sprintf("%+.1f %%", percent)
          verdict = "ok"
          if (percent > limit) { verdict = "SLOWER"; fault(name " takes " sprintf("%.1f", percent) " % more instructions than recorded; the limit is " limit " %") }
          if (percent < -limit) { verdict = "faster"; faster++ }
        }
        printf "%-24s %12s %12s %8s  %s\n", name, shown(1, name), shown(2, name), change, verdict
      }
      if (faults) { fault("if that is meant, `make bench-record` makes it the record: commit it with the reason"); exit 1 }
      if (faster) print "faster by over " limit " %: keep it with `make bench-record`"
    }' file=1 "$1" file=2 "$2"
}

case ${1:-check} in
  check)
    counted=$(mktemp)
    trap 'rm -f "$counted"' EXIT
    count >"$counted"
    [[ -f $recorded ]] || fail "there is no $recorded: make bench-record"
    compare "$recorded" "$counted"
    ;;
  record)
    counted=$(mktemp)
    trap 'rm -f "$counted"' EXIT
    count >"$counted"
    if [[ -f $recorded ]]; then compare "$recorded" "$counted" 2>/dev/null || true; fi
    cat "$counted" >"$recorded"
    echo "recorded in $recorded"
    ;;
  count-one) count_one "$2" "$3" ;;
  compare) compare "$2" "$3" ;;
  *) fail 'check.sh check | record | compare RECORDED COUNTED' ;;
esac
