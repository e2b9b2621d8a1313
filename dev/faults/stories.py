"""Eight faults, each in a release of its own, and what must come of it: one alert, no other, until it is mended.

A story says which alert it expects, which sentence the process says meanwhile, and how the fault is brought about and
mended. `play` does the rest, and is the same for all.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import chart
import rules
from chart import ADMIN_RULES, Failure
from pages import Walk
from pod import wait_for as wait
from release import Release, Servers, query
from watcher import Watcher

RUNBOOKS = chart.ROOT / "docs" / "runbooks"
# In minutes of the rules' own clock. Nothing waits longer than this for being told of; so anything that a fault brings
# with it shows while the fault lasts.
FAULT_LASTS_MINUTES = 17
FIRES_MINUTES = 24
CLEARS_MINUTES = 35
# Of the real clock, for servers and processes on a busy machine.
GRACE_SECONDS = 45
START_SECONDS = 120
# What admin.health.interval is by default.
HEALTH_SECONDS = 30
# Evaluations of the rules before anything is broken.
LOOKS = 4
# Set when the run is to end before its time.
OVER = threading.Event()


def wait_for(what: str, question: Callable[[], object], seconds: float) -> object:
    def asked() -> object:
        if OVER.is_set():
            raise Failure("the run ends before its time")
        return question()

    return wait(what, asked, seconds)


@dataclass
class Stage:
    """Where stories are played."""

    servers: Servers
    watcher: Watcher
    penstock: Path
    folder: Path
    factor: float
    # Nobody is judged while others of the same act are still being started, which takes all of a small machine.
    ready: threading.Barrier
    # Whether the steps of the runbooks are carried out.
    walks: bool = False

    def seconds(self, minutes: float) -> float:
        return minutes * 60 / self.factor


class Story:
    alert = ""
    # Which process says it, where, and what.
    says = ("line", "log", "")
    has_admin = True
    on: tuple[int, ...] = (1,)
    table: dict = {}
    config: dict = {}
    has_backup = True
    # How much faster the clock of the rules is than that of the others.
    faster = 1.0
    # Steps of the runbook that rightly find nothing after this fault, or fail as they say.
    nothing: tuple[str, ...] = ()

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.name = type(self).__name__.lower()
        self.release = Release(
            self.name,
            stage.folder / self.name,
            stage.penstock,
            stage.servers,
            self.on,
            self.has_admin,
            self.table,
            self.config,
        )
        # As often as by default, by the clock of the rules.
        self.release.health_interval = f"{round(HEALTH_SECONDS * 1000 / stage.factor)}ms"
        self.told: list[str] = []
        # What was wrong with the steps of runbooks.
        self.wrong: list[str] = []

    def induce(self) -> None:
        raise NotImplementedError

    def repair(self) -> None:
        raise NotImplementedError

    def tell(self, words: str) -> None:
        self.told.append(words)
        print(f"    {time.strftime('%H:%M:%S')} {self.name}: {words}", flush=True)

    def play(self) -> None:
        try:
            self.prepare()
            self.stage.watcher.add(self.release)
            self.watch()
        finally:
            # Its target must be gone before its processes are: their end is no fault.
            try:
                self.stage.watcher.remove(self.release)
            finally:
                self.release.stop()

    def prepare(self) -> None:
        try:
            self.release.start(self.has_backup)
        except BaseException:
            self.stage.ready.abort()
            raise
        # Where one could not be started the others go on.
        with contextlib.suppress(threading.BrokenBarrierError):
            self.stage.ready.wait(START_SECONDS)

    def watch(self) -> None:
        stage, watcher = self.stage, self.stage.watcher
        self.is_judged()
        if self.has_backup:
            self.is_quiet(GRACE_SECONDS + stage.seconds(CLEARS_MINUTES))
        began = time.time()
        self.induce()
        induced = time.time()
        self.tell("the fault is there")
        self.fires(stage.seconds(FIRES_MINUTES) + GRACE_SECONDS)
        self.tell(f"{self.alert} fires after {time.time() - began:.1f} s")
        self.hears()
        if stage.walks:
            self.walk(self.alert)
        lasts = induced + stage.seconds(FAULT_LASTS_MINUTES)
        wait_for("the fault to last", lambda: time.time() > lasts or self.is_another(began), lasts - time.time() + 5)
        if not self.is_another(began) and self.alert not in watcher.now(self.release, "firing"):
            raise Failure(f"{self.alert} no longer fires while the fault lasts")
        mended = time.time()
        self.repair()
        self.tell("mended")
        self.is_quiet(stage.seconds(CLEARS_MINUTES) + GRACE_SECONDS)
        self.tell(f"all is quiet {time.time() - mended:.1f} s after the repair")
        fired = watcher.fired(self.release, began)
        if fired != {self.alert}:
            raise Failure(f"{sorted(fired)} fired, not {self.alert} alone")
        if self.wrong:
            raise Failure("\n".join(self.wrong))

    def walk(self, alert: str) -> None:
        self.wrong += Walk(self.release, self.stage.watcher, self.said(), self.nothing).through(alert)
        self.tell(f"{alert}.md is walked")

    def said(self) -> dict[str, str]:
        """What stands for the names in capitals."""
        return {
            "http://HOST:8123": self.release.endpoints()[0],
            "ENDPOINT": self.release.endpoints()[0].removeprefix("http://"),
            "NAMESPACE": "faults",
            "TOPIC": self.name,
            "TABLE": "clicks",
            "POD": f"{self.name}-0",
        }

    def is_judged(self) -> None:
        """The rules have been evaluated a few times; before that everything is quiet."""
        looks = f'count_over_time(penstock:freshness_good:bool{{job="{self.name}"}}[1h])'
        patience = self.stage.seconds(5) + GRACE_SECONDS
        wait_for("rules of " + self.name, lambda: (self.stage.watcher.number(looks) or 0) >= LOOKS, patience)

    def is_another(self, since: float) -> bool:
        """Whether an alert fired that must not; then there is no need to go on."""
        return bool(self.stage.watcher.fired(self.release, since) - {self.alert})

    def fires(self, seconds: float) -> None:
        watcher = self.stage.watcher
        try:
            wait_for("", lambda: self.alert in watcher.now(self.release, "firing"), seconds)
        except Failure as failure:
            raise Failure(f"{self.alert} does not fire within {seconds:.0f} s; {self.alerts_now()}") from failure

    def is_quiet(self, seconds: float) -> None:
        """Nothing fires, and nothing is about to."""
        try:
            wait_for("", lambda: not self.stage.watcher.now(self.release), seconds)
        except Failure as failure:
            raise Failure(f"it is not quiet within {seconds:.0f} s; {self.alerts_now()}") from failure

    def alerts_now(self) -> str:
        watcher = self.stage.watcher
        firing, pending = watcher.now(self.release, "firing"), watcher.now(self.release, "pending")
        return f"firing: {sorted(firing)}, pending: {sorted(pending)}"

    def hears(self) -> None:
        """The process says what the runbook tells its reader to look for."""
        part, place, words = self.says
        if not words:
            return

        def text() -> str:
            if place == "log":
                return (self.release.folder / f"{part}.log").read_text(errors="replace")
            return self.release.get(part, "/health")[1]

        wait_for(f"{part} says {words!r} in its {place}: {text()[-1500:]}", lambda: words in text(), GRACE_SECONDS)
        page = " ".join((RUNBOOKS / f"{self.alert}.md").read_text().split())
        if words not in page:
            raise Failure(f"{self.alert}.md does not say {words!r}")


class ClickHouseDown(Story):
    alert = "PenstockClickHouseDown"
    says = ("line", "log", "health check failed")
    on = (2,)
    nothing = ("penstock query",)

    def induce(self) -> None:
        self.stage.servers.do("kill", "clickhouse-2")

    def repair(self) -> None:
        self.stage.servers.do("restart", "clickhouse-2")


class Hanging(Story):
    """One of two servers takes connections and answers nothing. They share no data, so rows cannot be audited."""

    alert = "PenstockEndpointDown"
    says = ("line", "log", "health check failed")
    on = (2, 3)
    config = {"audit": {"enabled": "never"}}

    def induce(self) -> None:
        self.stage.servers.do("kill", "clickhouse-3", "--signal", "STOP")

    def repair(self) -> None:
        self.stage.servers.do("kill", "clickhouse-3", "--signal", "CONT")


class Parts(Story):
    """Somebody else writes many small inserts, and nothing merges them."""

    alert = "PenstockPartsPressure"
    says = ("", "", "")
    table = {"settings": {"parts_to_delay_insert": 300, "parts_to_throw_insert": 3000}}

    def ask(self, sql: str) -> str:
        return query(self.release.endpoints()[0], sql)

    def induce(self) -> None:
        self.ask(f"SYSTEM STOP MERGES {self.name}.clicks")
        for _ in range(215):
            self.ask(f"INSERT INTO {self.name}.clicks SELECT * FROM {self.name}.clicks LIMIT 1")

    def repair(self) -> None:
        self.ask(f"SYSTEM START MERGES {self.name}.clicks")


class Poison(Story):
    """A producer publishes what is no event, much more of it than there are events."""

    alert = "PenstockTopicPaused"
    says = ("line", "health", "the topic is paused, nothing is lost")
    config = {"dead_letter": {"ceiling": {"window": "10s"}}}

    def said(self) -> dict[str, str]:
        return super().said() | {"TOPIC.dead/0@17": f"{self.name}.dead/0@0"}

    def induce(self) -> None:
        own = f"kafka_broker_list = '{self.stage.servers.kafka}', kafka_topic_list = '{self.name}', "
        own += f"kafka_group_name = '{self.name}-nobody', kafka_format = 'LineAsString'"
        address = self.release.endpoints()[0]
        query(address, f"CREATE TABLE {self.name}.flood (line String) ENGINE = Kafka SETTINGS {own}")
        query(address, f"""INSERT INTO {self.name}.flood SELECT '{{"event_id": ' || number FROM numbers(20000)""")

    def repair(self) -> None:
        """As the runbook says: the ceiling is raised until the bad stretch has gone to dead letters."""
        self.release.config = {"dead_letter": {"ceiling": {"percent_max": 100}}}
        self.release.write()


class Storm(Story):
    """A member joins and leaves again and again, as of an autoscaler that cannot decide."""

    alert = "PenstockRebalanceStorm"
    says = ("line", "log", "partitions assigned")
    has_admin = False

    def induce(self) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.flap)
        self.thread.start()

    def flap(self) -> None:
        line = f'penstock_assigned_partitions{{topic="{self.name}"}}'
        while not self.over.is_set():
            self.release.spawn("guest", "run", "--set", "telemetry.listen=127.0.0.1:0")
            self.until(lambda: self.release.value("line", line) < 4)
            self.release.end("guest")
            self.until(lambda: self.release.value("line", line) == 4)

    def until(self, question: Callable[[], object]) -> None:
        wait_for("a rebalance", lambda: self.over.is_set() or question(), GRACE_SECONDS)

    def repair(self) -> None:
        self.over.set()
        self.thread.join()
        self.release.end("guest")

    def play(self) -> None:
        try:
            super().play()
        finally:
            if hasattr(self, "over"):
                self.over.set()
                self.thread.join()
                self.release.stop()


class NoConsumer(Story):
    """The only pod is killed, and nobody starts it."""

    alert = "PenstockAbsent"
    says = ("", "", "")
    nothing = ("curl",)

    def induce(self) -> None:
        self.release.kill("line")

    def repair(self) -> None:
        self.release.start_line()


class Disk(Story):
    """Something fills the disk under a server: a real file system of its own."""

    alert = "PenstockDiskNearlyFull"
    says = ("admin", "health", " % free, ")
    on = (3,)

    def induce(self) -> None:
        disk = os.statvfs(self.disk())
        free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        with self.ballast().open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - whole * 8 // 100)

    def disk(self) -> Path:
        return self.stage.servers.run / "clickhouse-3"

    def ballast(self) -> Path:
        return self.disk() / "ballast"

    def repair(self) -> None:
        self.ballast().unlink()
        text = self.release.get("admin", "/metrics")[1]
        missing = {name for name in told_at_all_times() if not re.search(rf"^{name}[{{ ]", text, re.MULTILINE)}
        if missing:
            raise Failure(f"the admin process does not export {', '.join(sorted(missing))}")

    def play(self) -> None:
        try:
            super().play()
        finally:
            self.ballast().unlink(missing_ok=True)


# Of migrations and rules of age, once they were looked at; `tests/it/admin/upkeep.rs` has each of them.
ONCE_LOOKED_AT = tuple(f"penstock_admin_{name}" for name in ("lifecycle_", "migrations", "schema_drift_"))


def told_at_all_times() -> set[str]:
    """Metrics that the rules of the admin process name, but for counters of what has not happened yet."""
    named = rules.metrics(rules.of_rules(ADMIN_RULES))
    of_admin = {name for name in named if name.startswith("penstock_admin_") and not name.endswith("_total")}
    return {name for name in of_admin if not name.startswith(ONCE_LOOKED_AT)}


class NoBackup(Story):
    """A policy is configured, and nobody has ever made a backup by it."""

    alert = "PenstockBackupMissing"
    says = ("admin", "health", "policy daily has no backup")
    has_backup = False
    nothing = ("penstock_admin_backup_last_success_timestamp_seconds",)

    def induce(self) -> None:
        """It is there from the start."""

    def hears(self) -> None:
        super().hears()
        told = chart.run(*self.release.command("health"))
        if told.returncode != 3 or self.says[2] not in told.stdout:
            raise Failure(f"penstock health ends with {told.returncode} and says {told.stdout}{told.stderr}")

    def repair(self) -> None:
        self.release.must("backup", "run", "daily")


# Those of one act run at the same time; they do not share a server that one of them breaks.
ACTS = ((Hanging, Parts, Poison, NoBackup), (ClickHouseDown, Disk, Storm, NoConsumer))
