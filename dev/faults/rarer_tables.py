"""Faults of ClickHouse and of what stands before it, each in a release of its own, by `rarer`."""

from __future__ import annotations

from passage import PASS, REFUSE_INSERTS, Passage
from rarer_line import OfLine

OUT_OF_MEMORY = 241


class TinyInserts(OfLine):
    """Batches are closed after a fraction of a second, whatever is in them."""

    alerts = ("PenstockTinyBatches",)
    fires_minutes = 60

    def induce(self) -> None:
        self.change({"batch": {"age_max": "200ms"}})

    def repair(self) -> None:
        self.change({"batch": {"age_max": "3s"}})


class TableGone(OfLine):
    """Somebody renames the table."""

    alerts = ("PenstockStalled",)
    beside = {
        "PenstockInsertsFail": "the inserts into it fail",
        "PenstockPressureUnknown": "what is not there has no parts to be read",
    }
    # The limit is 120 s by the real clock.
    fires_minutes = 70
    # It is tried again every 30 s, which is ten minutes by this clock.
    nothing = ("penstock_insert_attempts_total",)

    def induce(self) -> None:
        self.ask(f"RENAME TABLE {self.name}.clicks TO {self.name}.gone")

    def repair(self) -> None:
        self.ask(f"RENAME TABLE {self.name}.gone TO {self.name}.clicks")


class ViewFails(OfLine):
    """A view behind the table needs more memory than there is, now and then."""

    alerts = ("PenstockInsertsFail",)
    beside = {"PenstockEndpointShut": "its gate shuts after some failures"}
    # The table itself has the rows of each try; without tokens it would have them as often.
    table = {"settings": {"non_replicated_deduplication_window": 1000}}
    config = {"clickhouse": {"settings": {"allow_custom_error_code_in_throwif": 1}}}

    def induce(self) -> None:
        self.ask(f"CREATE TABLE {self.name}.nothing (n Int8) ENGINE = Null")
        self.ask(
            f"CREATE MATERIALIZED VIEW {self.name}.v TO {self.name}.nothing AS SELECT throwIf(toSecond(now()) % 6 < 3, "
            f"'memory limit exceeded', {OUT_OF_MEMORY}::Int16) AS n FROM {self.name}.clicks "
            "SETTINGS allow_custom_error_code_in_throwif = 1"
        )

    def repair(self) -> None:
        self.ask(f"DROP TABLE {self.name}.v")


class ViewSlow(OfLine):
    """A view behind the table takes eleven seconds for each insert."""

    alerts = ("PenstockInsertsSlow",)
    config = {
        "clickhouse": {
            "insert_timeout": "30s",
            "retry": {"deadline": "60s"},
            "settings": {"function_sleep_max_microseconds_per_block": 20_000_000},
        }
    }
    nothing = ("penstock_ch_keeper_latency_seconds",)

    def induce(self) -> None:
        self.ask(f"CREATE TABLE {self.name}.nothing (n UInt8) ENGINE = Null")
        self.ask(
            f"CREATE MATERIALIZED VIEW {self.name}.v TO {self.name}.nothing AS SELECT sleep(11) AS n "
            f"FROM {self.name}.clicks SETTINGS function_sleep_max_microseconds_per_block = 20000000"
        )

    def repair(self) -> None:
        self.ask(f"DROP TABLE {self.name}.v")


class ManyParts(OfLine):
    """Nothing is merged, and somebody else writes until hardly any part fits."""

    alerts = ("PenstockPartsNearRejection", "PenstockPartsPressure", "PenstockThrottled")
    table = {"settings": {"parts_to_delay_insert": 220, "parts_to_throw_insert": 250}}
    fires_minutes = 50

    def induce(self) -> None:
        self.ask(f"SYSTEM STOP MERGES {self.name}.clicks")
        for _ in range(222):
            self.ask(f"INSERT INTO {self.name}.clicks SELECT * FROM {self.name}.clicks LIMIT 1")

    def repair(self) -> None:
        self.ask(f"SYSTEM START MERGES {self.name}.clicks")


class BadGateway(OfLine):
    """A proxy before one of two addresses of the server answers 502 to inserts."""

    alerts = ("PenstockEndpointShut",)
    beside = {"PenstockInsertsFail": "each probe of it fails"}

    def prepare(self) -> None:
        self.passage = Passage(self.release.endpoints()[0])
        endpoints = [*self.release.endpoints(), self.passage.url]
        breaker = {"failures": 3}
        self.release.config = {"clickhouse": {"endpoints": endpoints, "breaker": breaker}, "batch": {"age_max": "1s"}}
        super().prepare()

    def said(self) -> dict[str, str]:
        return super().said() | {"ENDPOINT": self.passage.url.removeprefix("http://")}

    def induce(self) -> None:
        self.passage.set(REFUSE_INSERTS)

    def repair(self) -> None:
        self.passage.set(PASS)


class NoGrant(OfLine):
    """The line is given a user that may not read parts."""

    alerts = ("PenstockPressureUnknown",)
    # These are the steps by which the missing right is found; the second is said with more of the log alone.
    nothing = ("FROM system.parts",)

    def as_user(self, name: str) -> None:
        own = {"clickhouse": {"user": name, "password": name}, "telemetry": {"log": {"level": "debug"}}}
        self.change(own)
        self.restart()

    def induce(self) -> None:
        self.as_user("blind")

    def repair(self) -> None:
        self.as_user("penstock")
