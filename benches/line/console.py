"""`dev/bench-console`: how soon the line answers `/metrics` and `/v1/summary`, and the admin process the summary of the
whole line, while the line reads as fast as it can.

Refuses to measure an idle process: an answer counts only while records come in.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
import urllib.request

from . import host, line
from .clients import Admin
from .servers import OPENER, Bench, Failure, say, with_servers
from .topics import Load, create_tables, publish

COUNT, PER_SECOND = 3_000_000, 20.0
# At the 99th percentile.
ANSWER_MAX_S = 0.2


class Asker:
    """Asks one address at a pace, on a thread of its own, and keeps how long each answer took and when it came."""

    def __init__(self, url: str, per_second: float, token: str = "") -> None:
        self.url, self.pause, self.headers = url, 1 / per_second, {"Authorization": f"Bearer {token}"} if token else {}
        self.answers: list[tuple[float, float]] = []
        self.failures = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                with OPENER.open(urllib.request.Request(self.url, headers=self.headers), timeout=5) as answer:
                    answer.read()
                ended = time.monotonic()
                self.answers.append((ended, ended - began))
            except OSError:
                self.failures += 1
            time.sleep(max(0.0, began + self.pause - time.monotonic()))

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()

    def between(self, first: float, last: float) -> list[float]:
        return sorted(took for ended, took in self.answers if first <= ended <= last)


def percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def bench(servers: Bench, args: argparse.Namespace) -> int:
    load: Load = publish(servers, "clicks", args.count)
    create_tables(servers, load)
    config = servers.config(load.folder, list(load.tables), line.new_group())
    admin = Admin(servers, load, lines=[f"http://{config.telemetry}"])
    process = line.Process(servers, config, "run", "--stop-at-end", *line.EXACT)
    askers = {
        "line /metrics": Asker(f"http://{config.telemetry}/metrics", args.per_second),
        "line /v1/summary": Asker(f"http://{config.telemetry}/v1/summary", args.per_second),
        "admin /v1/summary": Asker(f"http://127.0.0.1:{admin.port}/v1/summary", args.per_second, admin.token),
    }
    first = last = None
    before = 0.0
    try:
        while process.ended() is None:
            records = line.counters(config).get(line.CONSUMED, 0.0)
            if before < records < load.count:
                first, last, before = first or time.monotonic(), time.monotonic(), records
            time.sleep(0.1)
    finally:
        for asker in askers.values():
            asker.stop()
        process.kill()
        admin.kill()
    if first is None or last is None:
        raise Failure("the line was never seen reading; take more events with --count")
    found, is_good = {}, True
    for name, asker in askers.items():
        took = asker.between(first, last)
        if len(took) < 20:
            raise Failure(f"{name}: only {len(took)} answers while it read; take more events with --count")
        p50, p99 = (percentile(took, percent) for percent in (50, 99))
        found[name] = {"answers": len(took), "p50_ms": round(1000 * p50, 1), "p99_ms": round(1000 * p99, 1)}
        is_good &= p99 <= ANSWER_MAX_S
        verdict = "ok  " if p99 <= ANSWER_MAX_S else "FAIL"
        say(f"{verdict}  {name}: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms of {len(took)} answers, at most {1000 * ANSWER_MAX_S:.0f}")
    say(f"over {last - first:.1f} s at {before / (last - first):,.0f} records/s; {host.cores()} cores for everything")
    if args.json:
        print(json.dumps({"cores": host.cores(), "seconds": round(last - first, 1), "answers": found}, indent=2))
    return 0 if is_good else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench-console", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help="events in the topic")
    parser.add_argument("--per-second", type=float, default=PER_SECOND, metavar="R", help="requests to each address")
    parser.add_argument("--json", action="store_true", help="print all figures as one JSON document")
    args = parser.parse_args()
    return with_servers(lambda servers: bench(servers, args))
