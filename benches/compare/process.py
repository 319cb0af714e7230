"""Runs a program and measures it: wall time, CPU time of it and of its children, and the most memory it had."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A program that takes longer is stuck; the slowest peer takes a few minutes.
LIMIT_S = 900.0
RSS_POLL_S = 0.02
# What is read of a program's output at once, and what its pipe holds, so that nobody waits for the reader.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Run:
    """One measured run, descendants included. `rss_mib` is the largest sum of them at one time."""

    wall_s: float
    cpu_s: float
    rss_mib: float
    out: bytes = b""
    # From the first bytes of the output to the last ones, and how many came first.
    out_s: float = 0.0
    first_bytes: int = 0

    @property
    def stdout(self) -> str:
        """The output as text."""
        return self.out.decode()

    @property
    def out_bytes_per_s(self) -> float:
        """How fast the output came, once it came: neither the start nor the end of the program is in it."""
        return (len(self.out) - self.first_bytes) / self.out_s if self.out_s else 0.0


class Failed(Exception):
    """A program ended with an error, or did not end."""


def measure(command: list[str], *, env: dict[str, str] | None = None, stdout: Path | None = None, ok: tuple[int, ...] = (0,)) -> Run:
    """Runs `command` to its end. Its standard output goes to a file, or comes back as text."""
    with Process(command, env=env, stdout=stdout) as process:
        return process.wait(ok=ok)


class Process:
    """A program that is running and measured until it ends or is stopped."""

    def __init__(self, command: list[str], *, env: dict[str, str] | None = None, stdout: Path | None = None, limit_s: float = LIMIT_S) -> None:
        self.command, self._limit_s = command, limit_s
        self.rss_mib = self.tree_cpu_s = 0.0
        self._out = open(stdout, "wb") if stdout else subprocess.PIPE
        self._first_s = self._last_s = 0.0
        self._err = open(os.environ.get("BENCH_LOG", os.devnull), "ab")
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._child = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
            bufsize=0,
        )
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended.is_set():
            os.killpg(self._child.pid, signal.SIGKILL)
            self._reap()
        self._err.close()
        if self._out is not subprocess.PIPE:
            self._out.close()

    def is_running(self) -> bool:
        """Whether it has not ended, without waiting for it as `wait` does."""
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self, ok: tuple[int, ...] = (0,)) -> Run:
        """Waits for the end. CPU time is that of the process and of the descendants it has waited for."""
        stuck = threading.Timer(self._limit_s, lambda: os.killpg(self._child.pid, signal.SIGKILL))
        stuck.start()
        chunks = list(self._chunks())
        usage = self._reap()
        stuck.cancel()
        if self._child.returncode not in ok:
            raise Failed(f"{self._name()}: exit code {self._child.returncode}")
        # A descendant that nobody waited for (the JVM below pyspark) is in what was seen last, and not in the usage.
        cpu_s = max(usage.ru_utime + usage.ru_stime, self.tree_cpu_s)
        wall_s = time.monotonic() - self._began
        return Run(wall_s, cpu_s, self.rss_mib, b"".join(chunks), self._last_s - self._first_s, len(chunks[0]) if chunks else 0)

    def _chunks(self) -> Iterator[bytes]:
        """The output as it comes; when the first and the last of it came is remembered."""
        if self._child.stdout is None:
            return
        pipe = self._child.stdout.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
        while chunk := os.read(pipe, CHUNK_BYTES):
            self._last_s = time.monotonic()
            self._first_s = self._first_s or self._last_s
            yield chunk
        self._child.stdout.close()

    def _reap(self) -> resource.struct_rusage:
        """The only place that waits for the child: its CPU time comes with that and is not told twice."""
        _, status, usage = os.wait4(self._child.pid, 0)
        self._child.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()
        self._watching.join()
        return usage

    def stop(self) -> Run:
        """Asks the program to end, and waits for that."""
        self._child.send_signal(signal.SIGTERM)
        return self.wait(ok=(0, 143, -signal.SIGTERM, 130, 1))

    def _name(self) -> str:
        return " ".join(self.command[:3])

    def _watch(self) -> None:
        while not self._ended.wait(RSS_POLL_S):
            rss_mib, cpu_s = tree(self._child.pid)
            self.rss_mib, self.tree_cpu_s = max(self.rss_mib, rss_mib), max(self.tree_cpu_s, cpu_s)


def tree(pid: int) -> tuple[float, float]:
    """The resident memory in MiB and the CPU time in seconds of a process and its descendants now."""
    pages, ticks, waiting = 0, 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            with open(f"/proc/{one}/statm") as statm:
                pages += int(statm.read().split()[1])
            with open(f"/proc/{one}/stat") as stat:
                # user, system; and those of the children it has waited for
                ticks += sum(int(field) for field in stat.read().rpartition(")")[2].split()[11:15])
            with open(f"/proc/{one}/task/{one}/children") as children:
                waiting.extend(int(child) for child in children.read().split())
        except (OSError, IndexError, ValueError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, ticks / os.sysconf("SC_CLK_TCK")


def say(text: str) -> None:
    """Progress goes to stderr; the table is what stdout is for."""
    print(text, file=sys.stderr, flush=True)
