"""`dev/bench-line`: one or several ways of running the line over one topic, compared with each other.

Refuses to know what the ways are: they are flags for `penstock run`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics

from . import host, line
from .compare import order
from .servers import Bench, with_servers
from .topics import publish

DELIVERIES = ("at_least_once", "exactly_once")
# What is compared, and where it stands in a result.
FIGURES = {
    "rows_per_s": lambda result: result["rows_per_s"],
    "rows_per_s_joined": lambda result: result["rows_per_s_joined"],
    "cpu_ns_penstock": lambda result: result["cpu_ns_per_event"]["penstock"],
    "cpu_ns_all": lambda result: sum(result["cpu_ns_per_event"].values()),
}


def show(result: dict) -> None:
    unknown = "?"
    print(f"{result['rows']:,} events of {result['event_bytes']} bytes in {result['seconds']} s")
    print(f"  rows/s        {result['rows_per_s']:>12,}   ({result['rows_per_s_joined']:,} once joined)")
    print(f"  MB/s          {result['mb_per_s']:>12}")
    for kind in ("penstock", "clickhouse", "kafka"):
        print(f"  CPU {kind:<10}{result['cpu_s'][kind]:>10} s   {result['cpu_ns_per_event'][kind]:>7,} ns per event")
    print(f"  CPU others    {result['cores_others']:>10} cores, which is noise in all of these figures")
    print(f"  RSS peak      {result['rss_peak_mib']:>12} MiB of penstock")
    print(f"  inserts       {result['inserts'] or unknown:>12}   {result['commits'] or unknown} commits")
    print(f"  parts         {result['parts_made']:>12} made", flush=True)


def bench(servers: Bench, args: argparse.Namespace) -> None:
    load = publish(servers, "clicks", args.count, partitions=args.partitions)
    variants = args.variant + [f"--set delivery={delivery}" for delivery in args.delivery]
    variants = variants or [""]
    results = []
    for variant in order(variants, args.rounds):
        result = line.run(servers, load, tuple(shlex.split(variant)), args.merges)
        results.append({"variant": variant, **result})
        if not args.json:
            print(variant)
            show(result)
    summary = summarise(variants, results)
    cores = host.cores()
    if args.json:
        print(json.dumps({"cores": cores, "variants": summary, "runs": results}, indent=2))
        return
    for variant in summary:
        figures = ", ".join(f"{name} {middle:,} ({ratio:.3f})" for name, (middle, ratio) in variant["medians"].items())
        print(f"median of {args.rounds}: {figures}   {variant['variant']}")
    print(f"on {cores} cores, all servers on the same machine; in brackets the ratio to the first")


def summarise(variants: list[str], results: list[dict]) -> list[dict]:
    """The medians of each variant, each with its ratio to the first variant's."""
    first: dict[str, float] = {}
    summary = []
    for variant in variants:
        own = [result for result in results if result["variant"] == variant]
        medians = {}
        for name, of in FIGURES.items():
            middle = round(statistics.median(map(of, own)))
            medians[name] = (middle, round(middle / first.setdefault(name, middle), 3))
        summary.append({"variant": variant, "medians": medians})
    return summary


def deliveries(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(DELIVERIES):
        raise argparse.ArgumentTypeError(f"{text!r} is not made of {' and '.join(DELIVERIES)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="dev/bench-line",
        description="Measures the whole line: a prepared topic of synthetic click events, then `penstock run --stop-at-end`.",
    )
    parser.add_argument("--count", type=int, default=3_000_000, metavar="N", help="events in the topic")
    parser.add_argument("--partitions", type=int, default=16, metavar="P")
    parser.add_argument(
        "--rounds", "--runs", type=int, default=1, metavar="R",
        help="measure so often over the same topic; each time every variant, in swapped order",
    )
    parser.add_argument(
        "--variant", action="append", default=[], metavar="FLAGS",
        help="flags for `penstock run`; several are compared with each other",
    )
    parser.add_argument(
        "--delivery", type=deliveries, default=[], metavar="NAMES",
        help="deliveries to compare: at_least_once,exactly_once; the ratio is to the first",
    )
    parser.add_argument("--merges", action="store_true", help="count the servers' CPU up to the end of the last merge")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    args = parser.parse_args()
    return with_servers(lambda servers: bench(servers, args))
