"""Faults of reading, of records and of the process itself, each in a release of its own, by `rarer`."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

from passage import HOLD, HOLD_INSERTS, PASS, Passage
from rarer import Rarer
from release import query
from wire import Broker

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "schemas" / "clicks" / "examples"
GOOD, BAD = (EXAMPLES / "ok-full.json").read_bytes().strip(), (EXAMPLES / "bad-status.json").read_bytes().strip()
PARTITIONS = 4
OLD_SECONDS = 400
STRETCH = re.compile(r"--partition (\d+) --from-offset (\d+) --to-offset (\d+)")
LISTENS = re.compile(r"metrics and health are served listen=127\.0\.0\.1:(\d+)")
ON_PAGE = "--partition 3 --from-offset 1000000 --to-offset 1100000"


LATE = "what waits in Kafka, or is read again, is late"


class OfLine(Rarer):
    @property
    def broker(self) -> Broker:
        return Broker(self.stage.servers.kafka)

    def ask(self, sql: str) -> str:
        return query(self.release.endpoints()[0], sql)

    def change(self, config: dict) -> None:
        """As somebody edits the file; it is reloaded."""
        self.release.config = config
        self.release.write()

    def restart(self) -> None:
        self.release.end("line")
        self.release.start_line()


class TooSlow(OfLine):
    """A ceiling is set far below what is published, and old records come in."""

    alerts = (
        "PenstockFreshnessBudgetBurnFast",
        "PenstockFreshnessBudgetBurnMedium",
        "PenstockFreshnessBudgetBurnSlow",
        "PenstockLagWillNotDrain",
    )
    # The windows of the slow one are days.
    faster = 4
    config = {"batch": {"age_max": "1200ms"}}
    fires_minutes = 150
    clears_minutes = 400
    nothing = ("penstock_insert_retries_total", "penstock_paused_partitions", "penstock_rebalances_total")

    def induce(self) -> None:
        self.change(self.config | {"limits": {"topics": {self.name: {"records_per_second": 4}}}})
        for partition in range(PARTITIONS):
            self.broker.publish(self.name, partition, [GOOD] * 1000, OLD_SECONDS)

    def repair(self) -> None:
        self.change(self.config)


class DeadTopicNarrow(OfLine):
    """The dead-letter topic takes only what is smaller than any letter, and one partition has a bad record."""

    alerts = ("PenstockDeadLettersRefused", "PenstockPartitionStuck", "PenstockDegraded")
    fires_minutes = 35

    def said(self) -> dict[str, str]:
        return super().said() | {"--partition 3": "--partition 0"}

    def induce(self) -> None:
        self.broker.alter(f"{self.name}.dead", "max.message.bytes", "100")
        self.broker.publish(self.name, 0, [BAD], OLD_SECONDS)

    def repair(self) -> None:
        self.broker.alter(f"{self.name}.dead", "max.message.bytes", "1048576")


class TopicGone(OfLine):
    """Somebody deletes the topic."""

    alerts = ("PenstockTopicUnowned",)
    beside = {"PenstockCommitsFail": "until the client has seen it, offsets are committed in vain"}
    # Every five minutes by default, by the clock of the rules.
    config = {"kafka": {"client": {"topic.metadata.refresh.interval.ms": "15000"}}}
    nothing = ("penstock_kafka_errors_total",)

    def induce(self) -> None:
        self.release.end("producer")
        self.broker.delete(self.name)

    def repair(self) -> None:
        self.broker.create(self.name, PARTITIONS)
        self.release.spawn("producer", "generate", "clicks", "--topic", self.name, "--rate", 20, "--count", 1_000_000)


class NoCommits(OfLine):
    """The topic of the offsets lacks replicas in sync. All releases on the broker feel it."""

    alerts = ("PenstockCommitsFail",)

    def induce(self) -> None:
        self.broker.alter("__consumer_offsets", "min.insync.replicas", "2")

    def repair(self) -> None:
        self.broker.alter("__consumer_offsets", "min.insync.replicas", "1")


class LoopStuck(OfLine):
    """The thread of a consumer stops, as in a lock that is never given back."""

    alerts = ("PenstockLoopStuck",)
    # The limit is 60 s by the real clock.
    fires_minutes = 40

    def induce(self) -> None:
        process = str(self.release.processes["line"].pid)
        command = [sys.executable, Path(__file__).parent / "freeze.py", process, "consumer-0"]
        self.freezer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.freezer.stdout.readline() != "frozen\n":
            raise AssertionError("the thread was not stopped")

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


class OffsetsDiffer(OfLine):
    """What the audit of committed offsets finds; it is tried until a change comes between the insert and the audit."""

    config = {"audit": {"interval": "3s"}}
    beside = {
        "PenstockAbsent": "no pod runs while offsets are set back, or while it is started anew",
        "PenstockFreshnessBudgetBurnFast": LATE,
        "PenstockFreshnessBudgetBurnMedium": LATE,
        "PenstockFreshnessBudgetBurnSlow": LATE,
    }
    series = ""

    def said(self) -> dict[str, str]:
        found = STRETCH.findall((self.release.folder / "line.log").read_text())
        partition, first, end = found[0] if found else ("0", "0", "1")
        stretch = f"--partition {partition} --from-offset {first} --to-offset {end}"
        return super().said() | {ON_PAGE: stretch}

    def induce(self) -> None:
        self.until("a difference", lambda: self.ask(self.change_rows()) is not None and self.differs())

    def differs(self) -> bool:
        before = self.release.value("line", "penstock_audit_offsets_total")
        self.until("an audit", lambda: self.release.value("line", "penstock_audit_offsets_total") > before)
        return self.release.value("line", self.series) > 0

    def change_rows(self) -> str:
        raise NotImplementedError


class RowsGone(OffsetsDiffer):
    """Somebody empties the table."""

    alerts = ("PenstockRowsMissing",)
    series = "penstock_audit_missing_rows"
    nothing = ("penstock_ch_replica_delay_seconds",)

    def change_rows(self) -> str:
        return f"TRUNCATE TABLE {self.name}.clicks"

    def repair(self) -> None:
        self.release.end("line")
        self.ask(self.change_rows())
        back = ("ledger", "rewind", "--topic", self.name, "--all-partitions", "--to", "earliest")
        self.release.must(*back, "--dry-run")
        self.release.must(*back, "--yes")
        self.release.start_line()
        self.until("every row", lambda: self.release.value("line", "penstock_lag_records") < 100)
        self.release.must("audit-rows", "--table", "clicks", "--topic", self.name)


class RowsTwice(OffsetsDiffer):
    """Somebody inserts rows of the table once more."""

    alerts = ("PenstockRowsSurplus",)
    series = "penstock_audit_surplus_rows"
    nothing = ("penstock_deduplicated_batches_total", "penstock_rebalances_total", "penstock_delivery_level")

    def change_rows(self) -> str:
        own = f"{self.name}.clicks"
        return f"INSERT INTO {own} SELECT * FROM {own} ORDER BY _offset DESC LIMIT 40"

    def repair(self) -> None:
        self.ask(f"OPTIMIZE TABLE {self.name}.clicks FINAL DEDUPLICATE")
        self.restart()
        self.release.must("audit-rows", "--table", "clicks", "--topic", self.name)


class FewBad(OfLine):
    """A part of what is published is refused, far less than the ceiling."""

    alerts = ("PenstockDeadLettersMany",)

    def said(self) -> dict[str, str]:
        return super().said() | {"TOPIC.dead/0@17": f"{self.name}.dead/0@0"}

    def induce(self) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.go_on)
        self.thread.start()

    def go_on(self) -> None:
        while not self.over.wait(1):
            self.broker.publish(self.name, 0, [BAD] * 3)

    def repair(self) -> None:
        self.over.set()
        self.thread.join()

    def play(self) -> None:
        try:
            super().play()
        finally:
            if hasattr(self, "over"):
                self.repair()


class NewError(OfLine):
    """A dozen records with a fault that nobody has made for a day, among thousands."""

    alerts = ("PenstockDeadLettersNewKind",)
    rate = 300

    def said(self) -> dict[str, str]:
        return super().said() | {"KIND": "out_of_range"}

    def induce(self) -> None:
        self.broker.publish(self.name, 0, [BAD] * 14)

    def repair(self) -> None:
        """It ends by itself: after a quarter of an hour the kind is known."""


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
    """A new pod reaches a ClickHouse that takes connections and answers nothing; whenever it gives up it is started anew."""

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
        "PenstockFreshnessBudgetBurnFast": LATE,
        "PenstockFreshnessBudgetBurnMedium": LATE,
        "PenstockFreshnessBudgetBurnSlow": LATE,
    }
    config = {
        "kafka": {"prefetch": "8MiB"},
        "memory": {"budget": "12MiB"},
        "batch": {"bytes_max": "512KiB", "in_flight_max": 2, "age_max": "1s"},
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
