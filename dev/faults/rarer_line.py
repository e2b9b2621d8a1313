"""Faults of reading, of records and of the process itself, each in a release of its own, by `rarer`."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from rarer import Rarer
from release import query
from wire import Broker

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "schemas" / "clicks" / "examples"
GOOD, BAD = (EXAMPLES / "ok-full.json").read_bytes().strip(), (EXAMPLES / "bad-status.json").read_bytes().strip()
PARTITIONS = 4
OLD_SECONDS = 400
STRETCH = re.compile(r"--partition (\d+) --from-offset (\d+) --to-offset (\d+)")
ON_PAGE = "--partition 3 --from-offset 1000000 --to-offset 1100000"


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
    beside = {"PenstockPartitionStuck": "partitions are let through one after the other"}
    # The windows of the slow one are days.
    faster = 4
    rate = 300
    config = {"batch": {"age_max": "1200ms"}}
    fires_minutes = 150
    clears_minutes = 400
    nothing = ("penstock_insert_retries_total", "penstock_paused_partitions", "penstock_rebalances_total")

    def induce(self) -> None:
        before = self.reloads()
        self.change(self.config | {"limits": {"topics": {self.name: {"records_per_second": self.rate // 3}}}})
        self.until("a reload", lambda: self.reloads() > before)
        for partition in range(PARTITIONS):
            self.broker.publish(self.name, partition, [GOOD] * 2000, OLD_SECONDS)

    def reloads(self) -> float:
        return self.release.value("line", 'penstock_config_reloads_total{outcome="ok"}')

    def repair(self) -> None:
        self.change(self.config)


class DeadTopicNarrow(OfLine):
    """The dead-letter topic takes only what is smaller than any letter, and one partition has a bad record."""

    alerts = ("PenstockDeadLettersRefused", "PenstockPartitionStuck", "PenstockDegraded")
    beside = {"PenstockLagWillNotDrain": "what waits in the one partition does not get less"}
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
    beside = {
        "PenstockCommitsFail": "until the client has seen it, offsets are committed in vain",
        "PenstockAbsent": "it ends when the topic is made anew",
    }
    # Every five minutes by default, by the clock of the rules.
    # Rows of the old topic stand at the offsets of the new one, which the audit would call too many.
    config = {"kafka": {"client": {"topic.metadata.refresh.interval.ms": "15000"}}, "audit": {"enabled": "never"}}
    # It says that there is no such topic, as the page has it.
    nothing = ("penstock ledger show",)

    def induce(self) -> None:
        self.release.end("producer")
        self.broker.delete(self.name)

    def repair(self) -> None:
        """As the page says; whoever runs the pod starts it again."""
        self.broker.create(self.name, PARTITIONS)
        self.let_it_end()
        self.release.start_line()
        self.release.spawn("producer", "generate", "clicks", "--topic", self.name, "--rate", 20, "--count", 1_000_000)

    def let_it_end(self) -> None:
        self.until("its end", lambda: self.release.processes["line"].poll() is not None)


class NoCommits(TopicGone):
    """The same, before the client has seen it."""

    alerts = ("PenstockCommitsFail",)
    beside = TopicGone.beside | {"PenstockTopicUnowned": "the client sees it in the end"}
    config = {"audit": {"enabled": "never"}}

    def let_it_end(self) -> None:
        """It may do so as late as it sees it."""
        self.release.end("line")


class OffsetsDiffer(OfLine):
    """What the audit of committed offsets finds; it is tried until a change comes between the insert and the audit."""

    config = {"audit": {"interval": "3s"}}
    beside = {
        "PenstockAbsent": "no pod runs while offsets are set back, or while it is started anew",
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
