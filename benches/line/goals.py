"""The goals, each with what was measured of it in this run.

Refuses to measure. A goal that is missed is a result like another; one that was not measured says so.
"""

from __future__ import annotations

import json
from pathlib import Path

from .compare import best_rate, cpu, least_cpu
from .servers import target

# Megabytes of JSON per second and core that ClickPipes states, with events of the same size.
HOSTED_MB_PER_S = 63
MICRO_GROUP = "click event*"


def at_most(name: str, value: float, goal: float, unit: str, figures: dict) -> dict:
    return _entry(name, value, goal, value <= goal, f"at most {goal:g}{unit}", figures)


def at_least(name: str, value: float, goal: float, unit: str, figures: dict) -> dict:
    return _entry(name, value, goal, value >= goal, f"at least {goal:g}{unit}", figures)


def _entry(name: str, value: float, goal: float, met: bool, bar: str, figures: dict) -> dict:
    return {"name": name, "value": round(value, 3), "goal": goal, "met": met, "bar": bar, "figures": figures}


def unmeasured(name: str, goal: float, bar: str, why: str) -> dict:
    return {"name": name, "value": None, "goal": goal, "met": None, "bar": bar, "figures": {"why": why}}


def micro(folder: Path) -> dict[str, float]:
    """Nanoseconds of each micro benchmark by its name, where criterion has left some."""
    found = {}
    for path in folder.glob(f"{MICRO_GROUP}/*/new/estimates.json"):
        about = json.loads((path.parent / "benchmark.json").read_text())
        found[about["function_id"]] = json.loads(path.read_text())["mean"]["point_estimate"]
    return found


def decoding(times: dict[str, float]) -> list[dict]:
    parse, arrow = "decoding, ratio to the bare SIMD parse", "decoding, speed against arrow-json"
    missing = [name for name in ("decode", "bare SIMD parse", "arrow-json") if name not in times]
    if missing:
        why = f"the micro benchmarks have no {', '.join(missing)}"
        return [unmeasured(parse, 1.25, "at most 1.25 x", why), unmeasured(arrow, 4, "at least 4 x", why)]
    return [
        at_most(parse, times["decode"] / times["bare SIMD parse"], 1.25, " x", times),
        at_least(arrow, times["arrow-json"] / times["decode"], 4, " x", times),
    ]


def compared(found: dict[str, list[dict]]) -> list[dict]:
    """`found` has the rounds of each system; of the engine the better number of consumers counts, figure by figure."""
    bare, line, engine = found["consume"], found["penstock"], [*found["engine"], *found["engine, 1 consumer"]]
    rates = {name: best_rate(results) for name, results in found.items() if name != "consume"}
    ingestor, loop = least_cpu(line, "penstock"), least_cpu(bare)
    both, whole = least_cpu(line, "penstock", "clickhouse"), least_cpu(engine, "clickhouse")
    server = least_cpu(line, "clickhouse")
    return [
        at_most("CPU of the ingestor, ratio to a bare consume loop", ingestor / loop, 2.2, " x", {"ns": ingestor, "bare_ns": loop}),
        at_least("rows/s against the Kafka engine", best_rate(line) / best_rate(engine), 5, " x", rates),
        at_most("CPU of penstock and ClickHouse, ratio to the Kafka engine", both / whole, 0.25, " x", {"ns": both, "engine_ns": whole}),
        at_most("CPU of ClickHouse, ratio to the Kafka engine", server / whole, 0.1, " x", {"ns": server, "engine_ns": whole}),
    ]


def grown(found: dict[str, list[dict]]) -> list[dict]:
    broad = next(step for step in found["event"] if step["label"] == "1.6 kB")
    entries = [
        at_least(
            "JSON per second and core, 1.6 kB events", broad["json_mb_per_s_and_core"], 4 * HOSTED_MB_PER_S, " MB/s",
            {"event_bytes": broad["event_bytes"], "ns": broad["cpu_ns_per_event"]},
        )
    ]
    for kind in ("partitions", "tables"):
        steps = found[kind]
        figures = {step["label"]: step["cpu_ns_per_event"] for step in steps}
        name = f"CPU per event, {steps[-1]['label']} {kind} against 1"
        entries.append(at_most(name, max(step["ratio"] for step in steps), 1.1, " x", figures))
    return entries


def fresh(name: str, bar_ms: int, found: dict) -> dict:
    figures = {key: value for key, value in found.items() if key != "curve"}
    return at_most(f"freshness p99, {name}", found["p99_ms"], bar_ms, " ms", figures)


def judge(results: dict) -> list[dict]:
    """One entry for each goal; `results` is what `full` has measured."""
    memory = results["memory"]
    return [
        *decoding(micro(target() / "criterion")),
        *compared(results["compare"]),
        *grown(results["growth"]),
        fresh("batch age as by default", 1000, results["freshness"]["default"]),
        fresh("batch age 100 ms", 250, results["freshness"]["100 ms"]),
        at_most("memory at full speed over 64 partitions", memory["rss_peak_mib"], memory["limit_mib"], " MiB", memory),
    ]


def spread(results: list[dict], *kinds: str) -> str:
    """Least and most of several rounds, as it stands in a table."""
    values = sorted(cpu(figures, *kinds) for figures in results)
    return f"{values[0]:,}" if values[0] == values[-1] else f"{values[0]:,} to {values[-1]:,}"
