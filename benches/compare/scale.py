"""What a record costs with more members and more partitions, on the way to Cassandra."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench import Bench
from consume import command
from process import Process, say
from report import Line, median

MEMBERS = (1, 2, 4)
PARTITIONS = (1, 6)
# Members share them evenly, whether they are 1, 2 or 4.
PARTITIONS_OF_MEMBERS = 12
GROWTH_MAX = 5.0


def scale(bench: Bench) -> None:
    """CPU per record with 1, 2 and 4 members of a group, and with 1 and 6 partitions, in turn."""
    shapes = [(PARTITIONS_OF_MEMBERS, members) for members in MEMBERS] + [(partitions, 1) for partitions in PARTITIONS]
    costs: dict[tuple[int, int], list[float]] = {shape: [] for shape in shapes}
    for _ in range(bench.scale_rounds):
        for shape in shapes:
            costs[shape].append(cost(bench, *shape))
    alone = median(costs[PARTITIONS_OF_MEMBERS, 1])
    for members in MEMBERS[1:]:
        add(bench, f"scale-members-{members}", f"growth of CPU per record, 1 → {members} members", median(costs[PARTITIONS_OF_MEMBERS, members]), alone)
    add(bench, "scale-partitions", "growth of CPU per record, 1 → 6 partitions", median(costs[6, 1]), median(costs[1, 1]))
    bench.report.note(
        f"scale: into Cassandra; CPU per record is what {bench.many_records:,} records cost more than {bench.records:,}, for what a process costs "
        "once (start, join, mapping its code, growing its heap) does not grow with records"
    )


def add(bench: Bench, key: str, measure: str, more: float, less: float) -> None:
    """The growth from one cost to another."""
    bench.report.lines.append(Line(key, "scale", measure, f"{more:.2f} µs", f"from {less:.2f} µs", (more / less - 1) * 100, GROWTH_MAX, False, "%", "cassandra"))


def cost(bench: Bench, partitions: int, members: int) -> float:
    """Microseconds of CPU that a record more costs all members together."""
    few_s = cpu_s(bench, partitions, members, bench.file)
    many_s = cpu_s(bench, partitions, members, bench.many)
    per_record = (many_s - few_s) / (bench.many_records - bench.records) * 1e6
    bench.report.measured("scale", partitions=partitions, members=members, cpu_us=per_record, many_s=many_s, few_s=few_s)
    say(f"  {partitions} partitions, {members} members: {per_record:.2f} µs a record more; {few_s:.2f} s and {many_s:.2f} s")
    return per_record


def cpu_s(bench: Bench, partitions: int, members: int, file: Path) -> float:
    """CPU time of so many members of one group that read the topic to its end, into an empty table that is judged."""
    table, group, topic = bench.services.fresh_table("scale"), bench.fresh_group(), bench.topic(partitions, file)
    with ExitStack() as running:
        processes = [running.enter_context(Process(command(bench, topic, table, group))) for _ in range(members)]
        cpu = sum(process.wait().cpu_s for process in processes)
    bench.services.check(table, file)
    return cpu
