"""One run of `penstock run --stop-at-end` over what waits in Kafka.

Refuses to compare. CPU and peak memory of penstock are the kernel's account of the ended process, from its start to its
end: joining the group and the last commit are in them.
"""

from __future__ import annotations

import os
import time
import subprocess
from itertools import count as numbers

from .servers import OPENER, ROOT, Bench, Config, Failure, penstock
from .topics import Load, create_tables, expect_once
from .watch import Watch

EXACT = ("--set", "delivery=exactly_once")
GROUPS = numbers()
CONSUMED = "penstock_consumed_records_total"
SCRAPE_SECONDS = 1.0


def new_group() -> str:
    """A name that no measurement of this run has had: everything is read from the beginning."""
    return f"bench-{next(GROUPS)}"


def counters(config: Config) -> dict[str, float]:
    """The sums over all labels of penstock's counters; empty when nothing answers."""
    try:
        with OPENER.open(f"http://{config.telemetry}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    sums: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("penstock_"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums


class Process:
    """A running penstock, with its log in a file."""

    def __init__(self, bench: Bench, config: Config, *arguments: object) -> None:
        self.log = bench.folder / "penstock.log"
        with open(self.log, "w") as log:
            self.child = subprocess.Popen(penstock(config, *arguments), cwd=ROOT, stdout=log, stderr=log)

    def ended(self, wait: bool = False) -> os.struct_rusage | None:
        """What it used, once it has ended in order."""
        pid, status, usage = os.wait4(self.child.pid, 0 if wait else os.WNOHANG)
        if not pid:
            return None
        self.child.returncode = os.waitstatus_to_exitcode(status)
        if self.child.returncode != 0:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise Failure(f"penstock ended with code {self.child.returncode}\n{tail}")
        return usage

    def kill(self) -> None:
        """Whatever happened, nothing is left running."""
        if self.child.returncode is None:
            self.child.kill()
            self.child.wait()


def run(bench: Bench, load: Load, options: tuple[str, ...] = EXACT, merges: bool = False) -> dict:
    """The figures of one run with a new group into new tables; with those of the merges afterwards, if so wished."""
    create_tables(bench, load)
    config = bench.config(load.folder, list(load.tables), new_group())
    watch = Watch(bench)
    process = Process(bench, config, "run", "--stop-at-end", *options)
    told: dict[str, float] = {}
    try:
        asked = 0.0
        while (usage := process.ended()) is None:
            # What answering costs is in the figures, so nobody asks more often than needed once it reads.
            if not told.get(CONSUMED) or SCRAPE_SECONDS < time.monotonic() - asked:
                told, asked = counters(config) or told, time.monotonic()
            watch.look(told.get(CONSUMED, 0))
    finally:
        process.kill()
    watch.look(load.count)
    if merges:
        watch.await_merges()
    figures = watch.figures(load.count, load.event_bytes, usage.ru_utime + usage.ru_stime)
    expect_once(bench, load)
    return {
        **figures,
        "rss_peak_mib": round(usage.ru_maxrss / 1024, 1),
        # As of the last look before the end.
        "inserts": told.get("penstock_insert_attempts_total"),
        "commits": told.get("penstock_offset_commits_total"),
    }
