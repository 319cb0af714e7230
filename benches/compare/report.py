"""The goals, the verdicts and the table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Line:
    """One line of the table: what was measured, against what, and whether that is enough.

    `key` names the line in the result's JSON. `value` is in `unit`, and `goal` is None for a line that only tells.
    `profile` is the NAME in benches/runs/*-profile-NAME.*, the file that says why a goal was missed; benches/profile.sh makes it.
    """

    key: str
    path: str
    measure: str
    ours: str
    theirs: str
    value: float
    goal: float | None
    at_least: bool = True
    unit: str = "×"
    profile: str = ""

    @property
    def verdict(self) -> str:
        """ok, MISSED, or nothing where there is no goal."""
        if self.goal is None:
            return ""
        good = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "ok" if good else "MISSED"

    def why(self, runs: Path) -> str:
        """The newest profile of what was missed."""
        if self.verdict != "MISSED" or not self.profile:
            return ""
        kept = sorted(runs.glob(f"*-profile-{self.profile}.*"))
        return f"benches/runs/{kept[-1].name}" if kept else f"benches/profile.sh {self.profile} says why"

    def cells(self, runs: Path) -> list[str]:
        """The line as it is printed."""
        goal = "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {number(self.goal, self.unit)}"
        why = self.why(runs)
        return [self.path, self.measure, self.ours, self.theirs, number(self.value, self.unit), goal, self.verdict + (f": {why}" if why else "")]


@dataclass
class Report:
    """All lines of one run, and every single measurement behind them."""

    settings: dict[str, str]
    runs: Path
    lines: list[Line] = field(default_factory=list)
    raw: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    peers: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=lambda: machine())

    def note(self, text: str) -> None:
        """Something the reader of the table must know."""
        self.notes.append(text)

    def peer(self, name: str, settings: str) -> None:
        """How a peer was set up: version and settings."""
        self.peers[name] = settings

    def measured(self, what: str, **values: object) -> None:
        """Keeps one measurement as it came."""
        self.raw.append({"what": what, **values})

    def table(self) -> str:
        """All lines with goal and verdict, the notes, and how each peer was set up."""
        rows = [["path", "measure", "userpipe", "peer", "ratio or value", "goal", "verdict"], *[line.cells(self.runs) for line in self.lines]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        drawn = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        drawn.insert(1, "  ".join("-" * width for width in widths))
        width = max((len(name) for name in self.peers), default=0)
        peers = [f"{name:<{width}}  {how}" for name, how in self.peers.items()]
        return "\n".join([*drawn, "", *[f"note: {note}" for note in self.notes], "", "peers", *peers])

    def write(self) -> Path:
        """The dated result with the machine: as text for a person, and with every measurement as JSON beside it."""
        now = datetime.now(UTC)
        path = self.runs / f"{now:%Y-%m-%dT%H%MZ}-compare.txt"
        head = [f"{name:<9}{value}" for name, value in {**self.machine, **self.settings}.items()]
        path.write_text("\n".join([*head, "", self.table(), ""]))
        whole = {
            "date": f"{now:%Y-%m-%dT%H:%MZ}",
            "machine": self.machine,
            "settings": self.settings,
            "peers": self.peers,
            "lines": {line.key: {**asdict(line), "verdict": line.verdict, "why": line.why(self.runs)} for line in self.lines},
            "notes": self.notes,
            "measurements": self.raw,
        }
        path.with_suffix(".json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        return path


def machine() -> dict[str, str]:
    """What it ran on."""
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    memory = next(int(line.split()[1]) // 2**20 for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {
        "commit": commit or "unknown",
        "machine": f"{model}, {os.cpu_count()} cores, {memory} GiB, {platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.2f} before the first run",
    }


def number(value: float, unit: str) -> str:
    """A value with its unit, in three digits or so."""
    if unit == "×":
        return f"{value:.2f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def rate(per_second: float) -> str:
    """Something a second, for a person."""
    return f"{per_second:,.0f}/s"
