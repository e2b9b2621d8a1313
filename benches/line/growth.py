"""What an event costs when there is more of something: partitions, tables, members, bytes; and by compression.

Refuses to look at seconds: the figures are penstock's CPU per event, the least of several rounds, and their ratio to
that of the smallest of each kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import line
from .compare import least_cpu, rounds
from .servers import Bench, Failure, say
from .shapes import BROAD, CLICK, LARGE, SMALL, Shape
from .topics import Load, publish


@dataclass(frozen=True)
class Step:
    """One topic or set of topics, beside what is usual, and how it is read."""

    label: str
    shape: Shape = CLICK
    partitions: int = 16
    tables: int = 1
    compression: str = "lz4"
    members: int = 1

    @property
    def topic(self) -> tuple:
        """Steps that agree in this read the same topic."""
        return (self.shape, self.partitions, self.tables, self.compression)


KINDS: dict[str, tuple[Step, ...]] = {
    "partitions": tuple(Step(f"{n:,}", partitions=n) for n in (1, 64, 1000)),
    # The number of partitions stays the same, so that only that of the tables grows.
    "tables": tuple(Step(str(n), tables=n, partitions=100) for n in (1, 10, 100)),
    "members": tuple(Step(str(n), members=n) for n in (1, 2, 4)),
    "event": tuple(Step(shape.name, shape=shape) for shape in (SMALL, CLICK, BROAD, LARGE)),
    "compression": tuple(Step(name, compression=name) for name in ("none", "lz4", "zstd")),
}
# Larger events are fewer, so that the bytes do not grow with them.
BYTES_PER_COUNT = 340


def events_of(shape: Shape, count: int) -> int:
    return min(count, count * BYTES_PER_COUNT * 2 // shape.bytes) // 100 * 100


def run(bench: Bench, count: int, times: int) -> dict[str, list[dict]]:
    """The kinds of growth, each as its steps in order."""
    topics: dict[tuple, Load] = {}
    found = {}
    for kind, steps in KINDS.items():
        measurements = {}
        for step in steps:
            if step.topic not in topics:
                name = f"growth_{len(topics)}"
                events = events_of(step.shape, count)
                topics[step.topic] = publish(bench, name, events, step.shape, step.partitions, step.tables, step.compression)
                say(f"published for {kind} {step.label}: {topics[step.topic].count:,} of {topics[step.topic].event_bytes:.0f} bytes")
            options = (*line.EXACT, "--set", f"kafka.consumers={step.members}")
            measurements[f"{kind} {step.label}"] = lambda load=topics[step.topic], options=options: line.run(bench, load, options)
        results = rounds(measurements, times)
        found[kind] = [entry(step, results[f"{kind} {step.label}"]) for step in steps]
        for one in found[kind]:
            one["ratio"] = round(one["cpu_ns_per_event"] / found[kind][0]["cpu_ns_per_event"], 3)
    return found


def entry(step: Step, results: list[dict]) -> dict:
    least = least_cpu(results, "penstock")
    if least <= 0:
        raise Failure(f"{step.label}: too few events to measure CPU by")
    size = results[0]["event_bytes"]
    return {
        "label": step.label,
        "rows": results[0]["rows"],
        "event_bytes": size,
        "cpu_ns_per_event": least,
        "json_mb_per_s_and_core": round(size / least * 1e3, 1),
        "rows_per_s": max(result["rows_per_s"] for result in results),
        "rss_peak_mib": max(result["rss_peak_mib"] for result in results),
        "cpu_ns_all_rounds": [result["cpu_ns_per_event"]["penstock"] for result in results],
    }
