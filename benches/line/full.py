"""`dev/bench`: everything that is measured against real servers, in one run, and its results.

Refuses to fail for a goal that is missed: it fails when something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass

from . import compare, consume, engine, freshness, goals, growth, host, memory, report
from .servers import ROOT, Bench, say, with_servers
from .topics import publish


@dataclass(frozen=True)
class Size:
    compare_count: int
    compare_rounds: int
    growth_count: int
    growth_rounds: int
    backlog_count: int
    backlog_rounds: int
    warm_seconds: int
    fresh_seconds: int


WHOLE = Size(2_000_000, 3, 1_000_000, 2, 3_000_000, 2, 10, 60)
QUICK = Size(300_000, 1, 60_000, 1, 300_000, 1, 2, 6)
CONSUMERS = engine.SETTINGS["kafka_num_consumers"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench", description="Measures the whole line and judges it by its goals.")
    parser.add_argument("--quick", action="store_true", help="all parts with few events: to try it, not to quote it")
    parser.add_argument("--report", action="store_true", help="measure nothing: judge and write again what was measured last")
    args = parser.parse_args()
    if args.report:
        return again()
    return with_servers(lambda bench: measure(bench, QUICK if args.quick else WHOLE, not args.quick))


def measure(bench: Bench, size: Size, whole: bool) -> None:
    began = time.monotonic()
    consume.program()
    say(f"publishing {size.compare_count:,} clicks")
    load = publish(bench, "clicks", size.compare_count)
    measurements = {**compare.systems(bench, load, CONSUMERS), "engine, 1 consumer": lambda: engine.run(bench, load, 1)}
    found = compare.rounds(measurements, size.compare_rounds)
    results = {
        "compare": found,
        "freshness": fresh(bench, size),
        "memory": memory.run(bench, size.backlog_count, size.backlog_rounds),
        "growth": growth.run(bench, size.growth_count, size.growth_rounds),
    }
    versions = {"clickhouse": bench.query("SELECT version()"), "kafka": kafka_version()}
    results = {
        "machine": {**host.machine(), **versions},
        "date": time.strftime("%Y-%m-%d"),
        "whole": whole,
        "seconds": round(time.monotonic() - began),
        "cores_others": statistics.median(one["cores_others"] for one in (*found["penstock"], *found["engine"])),
        **results,
    }
    conclude(results)


def again() -> int:
    try:
        results = json.loads(report.results_path().read_text())
    except FileNotFoundError:
        print("bench: nothing was measured yet\nhint: run `make bench`", file=sys.stderr)
        return 1
    conclude({name: value for name, value in results.items() if name != "goals"})
    return 0


def conclude(results: dict) -> None:
    judged = goals.judge(results)
    path = report.write(results, judged)
    for goal in judged:
        verdict = {True: "met   ", False: "missed", None: "-     "}[goal["met"]]
        print(f"{verdict}  {goal['name']}: {goal['value']} ({goal['bar']})")
    say(f"{path}")


def fresh(bench: Bench, size: Size) -> dict:
    maximum = freshness.maximum(bench, "fresh_maximum", size.fresh_seconds // 2, size.warm_seconds)
    say(f"with a producer and a reader beside it at most {maximum:,} rows/s")
    found = {}
    for name, options in (("default", ()), ("100 ms", ("--set", "batch.age_max=100ms"))):
        topic = f"fresh_{len(found)}"
        found[name] = freshness.run(bench, topic, maximum // 2, size.fresh_seconds, size.warm_seconds, options)
        told = ", ".join(f"{key} {found[name][key]}" for key in ("rate_reached", "p50_ms", "p99_ms", "p99.9_ms", "max_ms"))
        say(f"freshness, batch age {name}: {told}")
    return found


def kafka_version() -> str:
    pom = (ROOT / "dev" / "kafka" / "pom.xml").read_text()
    return pom.partition("<artifactId>kafka_2.13</artifactId>")[2].partition("<version>")[2].partition("<")[0].strip() or "unknown"
