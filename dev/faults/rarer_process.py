"""Faults of the process itself, each in a release of its own, by `rarer`."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import chart
from chart import Failure
from passage import HOLD, HOLD_INSERTS, PASS, Passage
from rarer_line import OfLine

LISTENS = re.compile(r"metrics and health are served listen=127\.0\.0\.1:(\d+)")


class LoopStuck(OfLine):
    """The thread of a consumer stops, as in a lock that is never given back."""

    alerts = ("PenstockLoopStuck",)
    # The limit is 60 s by the real clock.
    fires_minutes = 40

    def induce(self) -> None:
        process = str(self.release.processes["line"].pid)
        command = chart.bound(sys.executable, Path(__file__).parent / "freeze.py", process, "consumer-0")
        self.freezer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.freezer.stdout.readline() != "frozen\n":
            raise Failure("the thread was not stopped")

    def repair(self) -> None:
        """The pod is deleted, as the page says, and another one comes."""
        self.release.processes["line"].kill()
        # Nobody can wait for a process of which a thread is held.
        self.freezer.communicate()
        self.release.start_line()

    def play(self) -> None:
        try:
            super().play()
        finally:
            if hasattr(self, "freezer"):
                self.freezer.communicate()


class OtherConfig(OfLine):
    """One of two pods has a setting that the other one has not: a rollout that is stuck."""

    alerts = ("PenstockConfigSkew",)
    guests = ("line2",)
    # Both have the same configuration to the letter, so they take whichever port is free.
    config = {"telemetry": {"listen": "127.0.0.1:0"}}
    fires_minutes = 50
    nothing = ("needs a restart",)

    def prepare(self) -> None:
        super().prepare()
        self.release.end("line")
        for part in ("line", "line2"):
            self.pod(part)
            self.release.await_ready(part)

    def pod(self, part: str, *settings: str) -> None:
        """Starts it anew, at whichever port it says."""
        if part in self.release.processes:
            self.release.end(part)
        before = len(self.ports(part))
        self.release.spawn(part, "run", *[word for setting in settings for word in ("--set", setting)])
        self.until("its port", lambda: len(self.ports(part)) > before)
        self.release.ports[part] = int(self.ports(part)[-1])

    def ports(self, part: str) -> list[str]:
        log = self.release.folder / f"{part}.log"
        return LISTENS.findall(log.read_text()) if log.exists() else []

    def induce(self) -> None:
        self.pod("line2", "batch.age_max=4s")
        self.release.await_ready("line2")
        self.stage.watcher.add(self.release)

    def repair(self) -> None:
        self.pod("line2")
        self.release.await_ready("line2")
        self.stage.watcher.add(self.release)


class NeverReady(OtherConfig):
    """A new pod reaches a ClickHouse that answers nothing; whenever it gives up it is started anew."""

    alerts = ("PenstockNotReady",)
    beside = {"PenstockConfigSkew": "the new pod has another configuration"}

    def prepare(self) -> None:
        super().prepare()
        self.over = threading.Event()
        self.passage = Passage(self.release.endpoints()[0])
        self.thread = threading.Thread(target=self.go_on)

    def go_on(self) -> None:
        self.release.end("line2")
        listens = f"telemetry.listen=127.0.0.1:{self.release.ports['line2']}"
        endpoint = f"clickhouse.endpoints={self.passage.url}"
        while not self.over.is_set():
            self.release.spawn("line2", "run", "--set", listens, "--set", endpoint).wait()

    def induce(self) -> None:
        self.passage.set(HOLD)
        self.thread.start()

    def repair(self) -> None:
        self.passage.set(PASS)
        self.until("a pod that is ready", lambda: self.release.get("line2", "/ready")[0] == 200)
        self.over.set()
        self.release.end("line2")
        self.thread.join()
        super().repair()

    def play(self) -> None:
        try:
            super().play()
        finally:
            if hasattr(self, "over"):
                self.over.set()
                # It may be starting another one.
                while self.thread.is_alive():
                    self.release.stop()
                    self.thread.join(0.2)
                self.release.stop()


class BadFile(OfLine):
    """Somebody brings in a table file that is none."""

    alerts = ("PenstockReloadRefused",)
    nothing = ("penstock config check", "penstock check", "penstock schema diff")

    def path(self) -> Path:
        return self.release.folder / "tables" / "clicks" / "table.yaml"

    def induce(self) -> None:
        self.good = self.path().read_text()
        self.path().write_text("table: [no\n")

    def repair(self) -> None:
        self.path().write_text(self.good)


class MemoryFull(OfLine):
    """Inserts are not answered, and there is little room for what waits."""

    alerts = ("PenstockMemoryBudgetFull",)
    beside = {
        "PenstockStalled": "no insert is answered",
    }
    # What was held back comes to the table beside what is sent in its place.
    table = {"settings": {"non_replicated_deduplication_window": 1000}}
    config = {
        # One consumer alone finds its table's queue full before the budget.
        "kafka": {"prefetch": "8MiB", "consumers": 4},
        "memory": {"budget": "35MiB"},
        "batch": {"bytes_max": "512KiB", "in_flight_max": 2, "age_max": "8s"},
        "decode": {"record_bytes_max": "256KiB"},
        "clickhouse": {"insert_timeout": "5m", "retry": {"deadline": "6m"}},
    }
    nothing = ('trigger="memory"', "penstock_insert_duration_seconds_bucket")

    def prepare(self) -> None:
        self.passage = Passage(self.release.endpoints()[0])
        super().prepare()
        self.release.end("line")
        self.release.spawn(
            "line", "run", "--set", f"telemetry.listen=127.0.0.1:{self.release.ports['line']}",
            "--set", f"clickhouse.endpoints={self.passage.url}",
        )  # fmt: skip
        self.release.await_ready("line")

    def induce(self) -> None:
        self.passage.set(HOLD_INSERTS)
        self.release.must("generate", "clicks", "--topic", self.name, "--count", 100_000)

    def repair(self) -> None:
        self.passage.set(PASS)
