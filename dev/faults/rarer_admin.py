"""Faults of the admin process and of what it alone sees, each in a release of its own, by `rarer`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from chart import Failure
from passage import CUT, PASS, Passage, Server
from rarer_line import OfLine
from stories import wait_for


STARTS = "by this clock two minutes are over before a process that starts has looked at its trail"


class OfAdmin(OfLine):
    has_admin = True
    # Most of its windows are an hour.
    faster = 3
    fires_minutes = 75
    # As long as the windows of two hours remember what a start brings.
    clears_minutes = 130

    def backups(self) -> list[str]:
        """Names of the backups, the oldest first."""
        told = json.loads(self.release.must("--output", "json", "backup", "list"))
        found = told if isinstance(told, list) else told["backups"]
        return sorted(one["id"] for one in found)

    def restart_admin(self, *settings: str) -> None:
        self.release.end("admin")
        self.release.start_admin(*settings)


class NoAdmin(OfAdmin):
    """The admin process is killed, and nobody starts it."""

    alerts = ("PenstockAdminAbsent",)

    def induce(self) -> None:
        self.release.kill("admin")

    def repair(self) -> None:
        self.release.start_admin()


class TwoAdmins(OfAdmin):
    guests = ("admin2",)

    def prepare(self) -> None:
        super().prepare()
        self.second()

    def second(self, *settings: str) -> None:
        own = (
            f"telemetry.listen=127.0.0.1:{self.release.ports['admin2']}",
            f"admin.audit.file={self.release.folder}/trail2.jsonl",
            "admin.listen=127.0.0.1:0",
            *settings,
        )
        self.release.spawn("admin2", "admin", *[part for setting in own for part in ("--set", setting)])
        self.release.await_ready("admin2")


class TwoLead(TwoAdmins):
    """Of two admin processes one has another name of the fleet, by mistake."""

    alerts = ("PenstockAdminTwoLeaders",)

    def induce(self) -> None:
        self.release.end("admin2")
        self.second(f"admin.leader.name={self.name}-other")

    def repair(self) -> None:
        self.release.end("admin2")
        self.second()


class NobodyLeads(OfAdmin):
    """The admin process comes back with an address of the brokers at which nobody answers."""

    alerts = ("PenstockAdminNoLeader",)
    beside = {
        "PenstockHealthFailing": "its check `kafka` fails as well",
        "PenstockAdminAbsent": "it is started anew",
        "PenstockAuditTrailBroken": STARTS,
    }

    def induce(self) -> None:
        self.restart_admin("kafka.brokers=127.0.0.1:1")

    def repair(self) -> None:
        self.restart_admin()


class Frozen(OfAdmin):
    """The admin process is frozen while something is due, for less time than it takes to be called absent."""

    alerts = ("PenstockScheduleMissed",)
    faster = 2
    config = {"admin": {"schedules": [{"name": "trail", "what": "audit verify", "every": "4s", "late_max": "1s"}]}}
    FROZEN_SECONDS = 6

    def said(self) -> dict[str, str]:
        return super().said() | {"SCHEDULE": "trail"}

    def induce(self) -> None:
        self.release.processes["admin"].send_signal(signal.SIGSTOP)
        until = time.time() + self.FROZEN_SECONDS
        try:
            wait_for("the frozen process", lambda: time.time() > until, 2 * self.FROZEN_SECONDS)
        finally:
            self.release.processes["admin"].send_signal(signal.SIGCONT)

    def repair(self) -> None:
        """It goes on by itself."""


class Drifted(OfAdmin):
    """A migration file is changed after it was run."""

    alerts = ("PenstockScheduleFailed",)
    config = {"admin": {"schedules": [{"name": "files", "what": "migrate verify", "every": "5s"}]}}

    def said(self) -> dict[str, str]:
        return super().said() | {"SCHEDULE": "files"}

    def file(self) -> Path:
        return self.stage.folder / f"{self.name}-migrations" / "V1__extra.sql"

    def prepare(self) -> None:
        self.release.config = self.config | {"migrations": {"path": str(self.file().parent)}}
        self.file().parent.mkdir(parents=True)
        self.file().write_text("CREATE TABLE extra (x UInt8) ENGINE = MergeTree ORDER BY x;\n")
        super().prepare()
        self.release.must("migrate", "up")

    def induce(self) -> None:
        self.file().write_text("CREATE TABLE extra (x UInt16) ENGINE = MergeTree ORDER BY x;\n")

    def repair(self) -> None:
        self.file().write_text("CREATE TABLE extra (x UInt8) ENGINE = MergeTree ORDER BY x;\n")
        self.release.must("schedule", "run", "files")


class Deaf(OfAdmin):
    """A mutation fails, and whoever is to be told answers 500."""

    alerts = ("PenstockWebhookGivenUp", "PenstockHealthDegraded")
    # Every admin process of a server tells of a mutation that fails there.
    on = (2,)

    def prepare(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            log_message = lambda *_: None  # noqa: E731

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        webhook = {
            "url": f"http://127.0.0.1:{server.server_port}/",
            "key_file": str(self.release.folder / "key"),
            "attempts_max": 2,
            "backoff_min": "100ms",
        }
        self.release.config = {"admin": {"health": {"webhook": webhook}}}
        super().prepare()

    def induce(self) -> None:
        # The server takes it and says at once that it fails.
        with contextlib.suppress(urllib.error.HTTPError):
            self.ask(f"ALTER TABLE {self.name}.clicks UPDATE duration_ms = throwIf(user_id > 0) WHERE 1")

    def repair(self) -> None:
        self.ask(f"KILL MUTATION WHERE database = '{self.name}' SYNC")


class Unreached(OfAdmin):
    """What stands between the admin process and ClickHouse is gone; the line has another way."""

    alerts = ("PenstockHealthFailing",)

    def prepare(self) -> None:
        super().prepare()
        self.passage = Passage(self.release.endpoints()[0])
        self.restart_admin(f"clickhouse.endpoints={self.passage.url}")

    def induce(self) -> None:
        self.passage.set(CUT)

    def repair(self) -> None:
        self.passage.set(PASS)


class Unplanned(OfAdmin):
    """Nobody has configured a policy of backups."""

    alerts = ("PenstockBackupUnplanned",)
    beside = {"PenstockAdminAbsent": "it is started anew with the policy", "PenstockAuditTrailBroken": STARTS}
    config = {"admin": {"backup": {"policies": None}, "schedules": []}}
    has_backup = False
    is_well_before = False
    nothing = ("penstock_admin_backup_age_max_seconds",)

    def induce(self) -> None:
        """It is so from the start."""

    def repair(self) -> None:
        self.change({})
        self.release.must("backup", "run", "daily")
        self.restart_admin()


class Unverified(OfAdmin):
    """Backups are made, and none is verified."""

    alerts = ("PenstockBackupUnverified",)
    has_backup = False
    is_well_before = False
    nothing = ("penstock_admin_backup_runs_total",)

    def prepare(self) -> None:
        super().prepare()
        self.release.must("backup", "create", "--policy", "daily")

    def induce(self) -> None:
        """It is so from the start."""

    def repair(self) -> None:
        self.release.must("backup", "verify", self.backups()[-1], "--level", "restore")


class Damaged(OfAdmin):
    """A file of the only backup loses its end."""

    alerts = ("PenstockBackupDamaged",)
    beside = {"PenstockBackupMissing": "there is no good one"}

    def said(self) -> dict[str, str]:
        return super().said() | {"ID": self.backups()[0]}

    def induce(self) -> None:
        folder = self.stage.servers.run / "clickhouse-1" / "backups" / self.name
        largest = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
        os.truncate(largest, largest.stat().st_size // 2)
        self.damaged = self.backups()[0]
        self.found(self.damaged, 3)

    def found(self, name: str, code: int) -> None:
        told = self.run("backup", "verify", name)
        if told.returncode != code:
            raise Failure(f"verify ends with {told.returncode}: {told.stdout}{told.stderr}")

    def repair(self) -> None:
        """As the page says."""
        self.release.must("backup", "create", "--policy", "daily", "--full")
        self.found(self.backups()[-1], 0)
        self.release.must("backup", "delete", self.damaged)


class Filling(OfAdmin):
    """Something takes most of a disk within a few minutes."""

    alerts = ("PenstockDiskWillFill",)
    on = (3,)

    def path(self) -> Path:
        return self.stage.servers.run / "clickhouse-3" / "ballast"

    def induce(self) -> None:
        disk = os.statvfs(self.path().parent)
        free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        with self.path().open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - whole * 25 // 100)

    def repair(self) -> None:
        self.path().unlink()

    def play(self) -> None:
        try:
            super().play()
        finally:
            self.path().unlink(missing_ok=True)


class Forged(OfAdmin):
    """Somebody changes a word of a line in the audit trail."""

    alerts = ("PenstockAuditTrailBroken",)
    beside = {"PenstockAdminAbsent": "it is started anew with another file"}
    config = {"admin": {"health": {"audit_interval": "1s"}}}

    def induce(self) -> None:
        trail = self.release.folder / "trail.jsonl"
        lines = trail.read_text().splitlines(keepends=True)
        lines[0] = lines[0].replace("backup", "backing", 1)
        trail.write_text("".join(lines))

    def repair(self) -> None:
        """As the page says: the old files stay as they are."""
        audit = {"file": str(self.release.folder / "trail-2.jsonl")}
        self.change({"admin": {"health": {"audit_interval": "1s"}, "audit": audit}})
        self.restart_admin()
