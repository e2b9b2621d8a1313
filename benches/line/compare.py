"""The line, ClickHouse's Kafka engine and the bare consume loop over one topic, in turn and in swapped order.

Refuses to judge. Others may use the cores meanwhile, so that what counts is the best of several rounds: interference
only ever adds.
"""

from __future__ import annotations

from . import consume, engine, line
from .servers import Bench, say
from .topics import Load


def order(variants: list, rounds: int) -> list:
    """Every variant once a round, in turn from the front and from the back, so that none always comes first."""
    return [variant for number in range(rounds) for variant in variants[:: -1 if number % 2 else 1]]


def systems(bench: Bench, load: Load, consumers: int) -> dict:
    """What is compared, each as a measurement to call."""
    return {
        "consume": lambda: consume.run(bench, load),
        "penstock": lambda: line.run(bench, load, merges=True),
        "engine": lambda: engine.run(bench, load, consumers),
    }


def rounds(measurements: dict, count: int) -> dict[str, list[dict]]:
    """All results of each by its name, in the order in which they were taken."""
    found: dict[str, list[dict]] = {name: [] for name in measurements}
    for name in order(list(measurements), count):
        figures = measurements[name]()
        found[name].append(figures)
        say(f"{name}: {summary(figures)}")
    return found


def summary(figures: dict) -> str:
    cpu = figures["cpu_ns_per_event"]
    used = f"{cpu:,} ns" if isinstance(cpu, int) else ", ".join(f"{kind} {ns:,} ns" for kind, ns in cpu.items() if ns)
    rate = f"{figures['rows_per_s_joined']:,} rows/s, " if "rows_per_s_joined" in figures else ""
    return f"{rate}CPU per event: {used}"


def cpu(figures: dict, *kinds: str) -> int:
    """CPU per event in ns of these processes; of the whole measurement without any."""
    used = figures["cpu_ns_per_event"]
    return used if isinstance(used, int) else sum(used[kind] for kind in kinds)


def least_cpu(results: list[dict], *kinds: str) -> int:
    return min(cpu(figures, *kinds) for figures in results)


def best_rate(results: list[dict]) -> int:
    """Rows a second from the first message read to the last row visible, of the best round."""
    return max(figures["rows_per_s_joined"] for figures in results)
