"""The goals, the verdicts and the table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """One line of the table: what was measured, against what, and whether that is enough."""

    path: str
    measure: str
    ours: str
    theirs: str
    value: float
    goal: float
    at_least: bool
    unit: str = "×"

    @property
    def verdict(self) -> str:
        good = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "ok" if good else "MISSED"

    def cells(self) -> list[str]:
        sign = "≥" if self.at_least else "≤"
        return [self.path, self.measure, self.ours, self.theirs, number(self.value, self.unit), f"{sign} {number(self.goal, self.unit)}", self.verdict]


@dataclass
class Report:
    """All lines of one run, and every single measurement behind them."""

    settings: dict[str, str]
    lines: list[Line] = field(default_factory=list)
    raw: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Something the reader of the table must know."""
        self.notes.append(text)

    def measured(self, what: str, **values: object) -> None:
        """Keeps one measurement as it came."""
        self.raw.append({"what": what, **values})

    def table(self) -> str:
        rows = [["path", "measure", "userpipe", "peer", "ratio or value", "goal", "verdict"], *[line.cells() for line in self.lines]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        drawn = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        drawn.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(drawn + [""] + [f"note: {note}" for note in self.notes])

    def write(self, directory: Path) -> Path:
        """The dated result with the machine, as text that a person reads, and every measurement as JSON below it."""
        now = datetime.now(timezone.utc)
        path = directory / f"{now:%Y-%m-%dT%H%MZ}-compare.txt"
        head = [f"{name:<9}{value}" for name, value in {**machine(), **self.settings}.items()]
        raw = [json.dumps(one, sort_keys=True) for one in self.raw]
        path.write_text("\n".join([*head, "", self.table(), "", "measurements", *raw, ""]))
        return path


def machine() -> dict[str, str]:
    """What it ran on."""
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    memory = next(int(line.split()[1]) // 2**20 for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit or "unknown",
        "machine": f"{model}, {os.cpu_count()} cores, {memory} GiB, {platform.system()} {platform.release()}",
        "load": f"{os.getloadavg()[0]:.2f} before the first run",
    }


def number(value: float, unit: str) -> str:
    if unit == "×":
        return f"{value:.2f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def median(values: list[float]) -> float:
    return statistics.median(values)


def rate(per_second: float) -> str:
    return f"{per_second:,.0f}/s"
