"""The README's chart or table from one result: `chart.py RESULT.json > chart.svg`, `chart.py --table RESULT.json`.

The chart has rows/s and CPU per record of everybody who wrote the topic into Cassandra, medians of the run. The table is
Markdown, each line with its goal and verdict.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from consume import PATH
from report import ROOT, number
from svg import Bar, Drawing, bars

OURS = "userpipe"
RUNS = ROOT / "benches" / "runs"
# What each of them is, where its name does not say it.
NAMES = {"bare gocql writer": "bare Go writer (no Kafka)", "Kafka Connect": "Kafka Connect ¹", "Spark": "Spark Streaming", "kafka-python": "the demos’ Python"}


def main() -> int:
    """Prints one or the other."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("result", type=Path)
    arguments.add_argument("--table", action="store_true", help="the Markdown table instead of the chart")
    args = arguments.parse_args()
    result = json.loads(args.result.read_text())
    sys.stdout.write(table(result) if args.table else chart(result))
    return 0


def chart(result: dict[str, Any]) -> str:
    """Two groups of bars on linear scales from zero, the fastest first, with machine and date."""
    runs: dict[str, list[dict[str, float]]] = {}
    for one in result["measurements"]:
        if one["what"] == PATH:
            runs.setdefault(one["who"], []).append(one)
    middle = {who: {name: statistics.median(run[name] for run in all_of) for name in ("rows_per_s", "cpu_s")} for who, all_of in runs.items()}
    order = sorted(middle, key=lambda who: -middle[who]["rows_per_s"])
    records = int(result["settings"]["data"].split()[0].replace(",", ""))
    drawing = Drawing(f"Kafka to Cassandra, {records:,} users: rows per second and CPU per record")
    drawing.text(16, 28, f"Kafka → Cassandra, {records:,} users: userpipe and what one would pick instead", "title")
    drawing.text(16, 46, f"{result['date'][:10]}, commit {result['machine']['commit']}; {result['machine']['machine']}; medians of one run", "quiet")
    drawing.height = 50
    bars(drawing, "Rows per second (more is better)", [bar(who, middle[who]["rows_per_s"], "{:,.0f}") for who in order])
    bars(drawing, "Client CPU per record (less is better)", [bar(who, middle[who]["cpu_s"] / records * 1e6, "{:,.1f} µs") for who in order])
    if "Kafka Connect" in middle:
        drawing.height += 18
        drawing.text(16, drawing.height, "¹ its runtime with a minimal sink of ours on the DataStax driver; all start-up CPU counts, no start-up time does", "quiet")
    drawing.height += 12
    return drawing.render()


def bar(who: str, value: float, form: str) -> Bar:
    """One of a group."""
    return Bar(NAMES.get(who, who), value, form.format(value), who == OURS)


def table(result: dict[str, Any]) -> str:
    """The lines of the result that have a goal, and those that only tell."""
    rows = ["| path | measure | userpipe | peer | ratio or value | goal | |", "|---|---|---:|---:|---:|---:|---|"]
    for line in result["lines"].values():
        goal = "" if line["goal"] is None else f"{'≥' if line['at_least'] else '≤'} {plain(line['goal'], line['unit'])}"
        verdict = {"ok": "✓", "MISSED": "missed"}.get(line["verdict"], "")
        # The newest, which may have been made after the result.
        profiles = sorted(RUNS.glob(f"*-profile-{line['profile']}.*")) if line["profile"] and verdict == "missed" else []
        if profiles:
            verdict += f": [why]({profiles[-1].relative_to(ROOT)})"
        value = number(line["value"], line["unit"])
        rows.append(f"| {line['path']} | {line['measure']} | {line['ours']} | {line['theirs']} | {value} | {goal} | {verdict} |")
    about = f"{result['date']}, commit {result['machine']['commit']}: {result['machine']['machine']}; {result['settings']['data']}; {result['settings']['rounds']}."
    return "\n".join([*rows, "", about, ""])


def plain(goal: float, unit: str) -> str:
    """A goal without needless digits; a ratio has no unit."""
    return f"{goal:g}" if unit == "×" else f"{goal:g} {unit}"


if __name__ == "__main__":
    sys.exit(main())
