"""How long a message takes from being produced to being in an answer of ClickHouse, at a constant rate.

Refuses to trust anybody's metrics: the moment of producing is Kafka's own timestamp of each message, the moment of
visibility that of the first answer to a reader which had it, so that what reading takes is in the figure. The table
is asked all the time for the rows of each partition; the n-th message of a partition is visible once n rows of it are.
"""

from __future__ import annotations

import bisect
import json
import subprocess
import time
from collections import Counter

from .line import EXACT, Process, counters, new_group
from .servers import DATABASE, OPENER, ROOT, Bench, Config, Failure, must, penstock, say
from .shapes import CLICK
from .topics import Load, create_tables, define, expect_once

PARTITIONS = 4
POLL_SECONDS = 0.02
# Only rows that are younger are read by each poll; what is older counts as seen, so that nothing may take so long.
WINDOW_MS = 5_000
READY_SECONDS = 30
# More than any broker takes meanwhile.
COUNT_MAX = 1_000_000_000
DRAIN_SECONDS = 60
PERCENTILES = (50.0, 99.0, 99.9)
# The table is sorted by the time of producing, so that a poll reads no older rows.
ORDER = "[_produced, user_id]"
PRODUCED = "  - {name: _produced, type: DateTime64(3), from: $timestamp}\n"


def percentile(histogram: Counter, percent: float) -> int:
    """The smallest value that so many percent of the events do not exceed."""
    left = sum(histogram.values()) * percent / 100
    for value in sorted(histogram):
        left -= histogram[value]
        if left <= 1e-9:
            return value
    raise Failure("no event was measured")


class Reader:
    """Asks a table again and again, and notes what each answer showed."""

    def __init__(self, bench: Bench, table: str) -> None:
        self.bench, self.table = bench, table
        # When the answer was here, from which moment on rows were counted, and how many there were of each partition.
        self.polls: list[tuple[int, int, dict[int, int]]] = []

    def poll(self) -> None:
        since = int(time.time() * 1000) - WINDOW_MS
        lines = self.bench.query(
            f"SELECT _partition, count() FROM {DATABASE}.{self.table} WHERE _produced >= fromUnixTimestamp64Milli({since}) "
            "GROUP BY _partition"
        ).splitlines()
        counts = {int(partition): int(rows) for partition, rows in (line.split("\t") for line in lines)}
        self.polls.append((int(time.time() * 1000), since, counts))

    def produced(self) -> dict[int, list[tuple[int, int]]]:
        """For each partition how many messages were produced in each millisecond, in order."""
        lines = self.bench.query(
            f"SELECT _partition, toUnixTimestamp64Milli(_produced) AS ms, count() FROM {DATABASE}.{self.table} "
            "GROUP BY 1, 2 ORDER BY 1, 2"
        ).splitlines()
        found: dict[int, list[tuple[int, int]]] = {}
        for partition, ms, rows in (map(int, line.split("\t")) for line in lines):
            found.setdefault(partition, []).append((ms, rows))
        return found

    def latencies(self, from_ms: int) -> Counter:
        """How many events took how many milliseconds, of those that were produced from `from_ms` on."""
        took: Counter = Counter()
        for partition, produced in self.produced().items():
            moments = [ms for ms, _rows in produced]
            before = [0]
            for _ms, rows in produced:
                before.append(before[-1] + rows)
            place, left, seen = 0, produced[0][1], 0
            for answered_ms, since, counts in self.polls:
                visible = before[bisect.bisect_left(moments, since)] + counts.get(partition, 0)
                new, seen = max(0, visible - seen), max(visible, seen)
                while new > 0:
                    taken = min(new, left)
                    if from_ms <= moments[place]:
                        took[answered_ms - moments[place]] += taken
                    new, left = new - taken, left - taken
                    if left == 0:
                        place += 1
                        left = produced[place][1] if place < len(produced) else 1 << 62
            if seen != before[-1]:
                raise Failure(f"partition {partition}: {seen} rows were seen of {before[-1]}")
        return took


def await_ready(config: Config, process: Process) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.ended() is None:
        try:
            with OPENER.open(f"http://{config.telemetry}/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise Failure("penstock is not ready")


def produce(config: Config, topic: str, count: int, rate: int | None) -> list[str]:
    """`rate` in messages a second; as fast as the broker takes them without one."""
    options = ("--count", count, "--seed", count, "--topic", topic, "--partitions", PARTITIONS)
    return penstock(config, "--output", "json", "generate", "clicks", *options, *(("--rate", rate) if rate else ()))


class Live:
    """Penstock over a topic of its own that is being filled, and a reader of the table."""

    def __init__(self, bench: Bench, name: str, options: tuple[str, ...]) -> None:
        self.bench, self.name = bench, name
        self.load = define(bench, name, CLICK, extra=PRODUCED, order=ORDER)
        self.config = bench.config(self.load.folder, list(self.load.tables), new_group())
        create_tables(bench, self.load)
        # One message, so that the topic is there before penstock asks for it.
        must(produce(self.config, name, 1, None))
        self.process = Process(bench, self.config, "run", *EXACT, *options)
        self.producer: subprocess.Popen | None = None
        self.reader = Reader(bench, name)

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        if self.producer is not None and self.producer.poll() is None:
            self.producer.kill()
            self.producer.wait()

    def begin(self, count: int, rate: int | None) -> None:
        await_ready(self.config, self.process)
        self.producer = subprocess.Popen(produce(self.config, self.name, count, rate), cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def poll(self) -> int:
        """Reads as users do, and gives how many rows are there."""
        if self.process.ended() or (self.producer is not None and self.producer.poll()):
            raise Failure(f"freshness: {self.bench.rows_visible()} rows were visible when penstock or the producer ended")
        self.reader.poll()
        time.sleep(POLL_SECONDS)
        return self.bench.rows_visible()


def maximum(bench: Bench, name: str, seconds: int, warm_seconds: int) -> int:
    """Rows a second that become visible while messages are produced as fast as the broker takes them."""
    with Live(bench, name, ()) as live:
        live.begin(COUNT_MAX, None)
        marks: list[tuple[float, int]] = []
        for until in (warm_seconds, seconds):
            end = time.monotonic() + until
            while time.monotonic() < end:
                live.poll()
            visible = live.poll()
            marks.append((time.monotonic(), visible))
    (start, before), (end, after) = marks
    return round((after - before) / (end - start))


def run(bench: Bench, name: str, rate: int, seconds: int, warm_seconds: int, options: tuple[str, ...] = ()) -> dict:
    """At `rate` messages a second for so many seconds, after others at the same rate that do not count."""
    count = rate * (warm_seconds + seconds)
    with Live(bench, name, options) as live:
        began_ms, deadline = time.time() * 1000, time.monotonic() + READY_SECONDS + warm_seconds + seconds + DRAIN_SECONDS
        live.begin(count, rate)
        while (visible := live.poll()) < count + 1:
            if deadline < time.monotonic():
                raise Failure(f"freshness: {visible} rows were visible of {count + 1}")
        live.reader.poll()
        took = json.loads(live.producer.communicate()[0])["seconds"]
        told = counters(live.config)
        live.process.child.terminate()
        usage = live.process.ended(wait=True)
    expect_once(bench, Load(name, live.load.tables, live.load.folder, PARTITIONS, count + 1, 0))
    figures = evaluate(live.reader, int(began_ms) + warm_seconds * 1000)
    polls = live.reader.polls
    intervals = [after[0] - before[0] for before, after in zip(polls, polls[1:])]
    return {
        "rate": rate,
        "rate_reached": round(count / took),
        "partitions": PARTITIONS,
        **figures,
        "ms_between_polls": round(sum(intervals) / len(intervals), 1),
        "rss_peak_mib": round(usage.ru_maxrss / 1024, 1),
        "inserts": told.get("penstock_insert_attempts_total"),
    }


def evaluate(reader: Reader, from_ms: int) -> dict:
    took = reader.latencies(from_ms)
    if max(took) >= WINDOW_MS:
        say(f"an event took {max(took)} ms: what takes more than {WINDOW_MS} ms is not told apart")
    found = {f"p{percent:g}_ms": percentile(took, percent) for percent in PERCENTILES}
    curve = [(percent, percentile(took, percent)) for percent in (*range(1, 99, 3), 98, 99, 99.5, 99.9, 100)]
    return {"events": sum(took.values()), **found, "max_ms": max(took), "curve": curve}
