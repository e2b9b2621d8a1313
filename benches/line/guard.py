"""`dev/bench-guard`: fails when the line has become clearly dearer, by ratios within one short run.

Refuses to look at seconds or at absolute CPU, which differ from machine to machine and with what else runs there: the
line is held against a bare consume loop and against ClickHouse's Kafka engine over the same topic, the best of
interleaved rounds of each.
"""

from __future__ import annotations

import argparse
import sys

from . import consume, full
from .compare import best_rate, least_cpu, rounds, systems
from .servers import Bench, Failure, say, with_servers
from .topics import publish

COUNT, ROUNDS = 300_000, 3
# On two idle cores it was 3.7, 0.35 and 0.46; on busy ones, and with more CPU per event, 4.4 to 4.8, 0.40 and 0.40. There is
# room for noise, but not for half as much CPU of penstock again. Whoever makes the line cheaper lowers these.
CPU_TO_CONSUME_MAX = 5.0
CPU_TO_ENGINE_MAX = 0.46
ENGINE_RATE_MAX = 0.6


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench-guard", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help="events in the topic")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="R")
    args = parser.parse_args()
    return with_servers(lambda bench: check(bench, args.count, args.rounds))


def check(bench: Bench, count: int, times: int) -> None:
    consume.program()
    load = publish(bench, "clicks", count)
    say(f"published {count:,} clicks")
    measurements = systems(bench, load, full.CONSUMERS)
    found = rounds(measurements, times)
    if not within(found):
        say("once more, in case something else was in the way")
        for name, results in rounds(measurements, times).items():
            found[name] += results
        if not within(found):
            raise Failure(
                "the line has become dearer\nhint: compare `make bench-line` at this commit and at the one before, and profile "
                "the dearer one"
            )


def within(found: dict[str, list[dict]]) -> bool:
    line, bare, engine = found["penstock"], found["consume"], found["engine"]
    both, whole = least_cpu(line, "penstock", "clickhouse"), least_cpu(engine, "clickhouse")
    return all([
        at_most("CPU of penstock to that of a bare consume loop", least_cpu(line, "penstock") / least_cpu(bare), CPU_TO_CONSUME_MAX),
        at_most("CPU of penstock and ClickHouse to that of the Kafka engine", both / whole, CPU_TO_ENGINE_MAX),
        at_most("rows/s of the Kafka engine to those of penstock", best_rate(engine) / best_rate(line), ENGINE_RATE_MAX),
    ])


def at_most(name: str, value: float, most: float) -> bool:
    print(f"{'ok  ' if value <= most else 'FAIL'}  {name}: {value:.2f}, at most {most:.2f}", file=sys.stderr, flush=True)
    return value <= most
