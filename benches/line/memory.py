"""What penstock takes of the machine at full speed over a backlog of 64 partitions, against its budget.

Refuses to know what holds the memory: the figure is the kernel's highest resident size of the ended process.
"""

from __future__ import annotations

from . import line
from .servers import Bench
from .topics import publish

PARTITIONS = 64
BUDGET_MIB = 256
# What the process may take beside what the budget counts: its code, stacks, and what the allocator keeps.
BESIDE_MIB = 100
OPTIONS = (
    *line.EXACT,
    "--set", f"memory.budget={BUDGET_MIB}MiB",
    "--set", "kafka.prefetch=64MiB",
    "--set", "batch.bytes_max=16MiB",
)


def run(bench: Bench, count: int, times: int) -> dict:
    load = publish(bench, "backlog", count, partitions=PARTITIONS)
    peaks = [line.run(bench, load, OPTIONS)["rss_peak_mib"] for _ in range(times)]
    return {
        "partitions": PARTITIONS, "rows": count, "budget_mib": BUDGET_MIB, "limit_mib": BUDGET_MIB + BESIDE_MIB,
        "rss_peak_mib": max(peaks), "rss_peak_mib_all_rounds": peaks,
    }
