"""What is left undone about tables, each in a release of its own, by `rarer`."""

from __future__ import annotations

from chart import Failure
from rarer_admin import Drifted, OfAdmin


class Halfway(Drifted):
    """A migration stops at its second statement, which names a table that is not there."""

    alerts = ("PenstockMigrationUnfinished",)
    config = {}
    # Both end with the code that says so.
    nothing = ("penstock migrate status", "penstock migrate plan")

    def induce(self) -> None:
        self.next = self.file().with_name("V2__more.sql")
        self.write("missing")
        told = self.run("migrate", "up", "--no-shadow")
        if told.returncode == 0:
            raise Failure(f"it did not stop: {told.stdout}{told.stderr}")

    def write(self, table: str) -> None:
        self.next.write_text(f"INSERT INTO extra VALUES (1);\nINSERT INTO {table} VALUES (2);\n")

    def repair(self) -> None:
        self.write("extra")
        self.release.must("migrate", "up")


class Altered(Drifted):
    """Somebody adds a column by hand."""

    alerts = ("PenstockSchemaDrift",)
    beside = {"PenstockScheduleFailed": "the comparison that finds it ends as failed"}
    fires_minutes = 100
    config = {"admin": {"schedules": [{"name": "files", "what": "migrate drift", "every": "5s"}]}}

    def prepare(self) -> None:
        super().prepare()
        # A table of no migration would be a difference of its own.
        statements = self.release.must("schema", "ddl").replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ")
        self.file().with_name("V2__clicks.sql").write_text(statements)
        self.release.must("migrate", "up")

    def induce(self) -> None:
        self.ask(f"ALTER TABLE {self.name}.extra ADD COLUMN y UInt8")

    def repair(self) -> None:
        self.ask(f"ALTER TABLE {self.name}.extra DROP COLUMN y")
        self.release.must("schedule", "run", "files")


class Unerased(OfAdmin):
    """An erasure was cut off five hours ago, and nobody asked again."""

    alerts = ("PenstockErasureOverdue",)
    table = {"subject_columns": ["user_id"]}

    def erase(self, reason: str) -> None:
        self.release.must("erase", "--subject", "user_id=7", "--reason", reason)

    def induce(self) -> None:
        """The record of one that was carried out becomes that of one that was begun, and long ago."""
        self.erase("case 1")
        table = f"{self.name}.penstock_erasures"
        digest = self.ask(f"SELECT any(digest) FROM {table}").strip()
        self.ask(f"TRUNCATE TABLE {table}")
        self.ask(
            f"INSERT INTO {table} (at, id, stage, column, digest) "
            f"SELECT now64(6, 'UTC') - 18000, generateUUIDv4(), 'received', 'user_id', '{digest}'"
        )

    def repair(self) -> None:
        """As the page says."""
        self.erase("case 2")


class Kept(OfAdmin):
    """Rows come in that are older than the table keeps, and the server's own deletion stands still."""

    alerts = ("PenstockRetentionOverdue",)
    # It ends with the code that says so.
    nothing = ("penstock lifecycle plan",)
    beside = {"PenstockDiskWillFill": "what all stories write in a minute is hours to so fast a clock"}
    # The rule looks back for 26 hours.
    faster = 12
    fires_minutes = 27 * 60
    table = {"partition_by": "toYYYYMM(time)", "lifecycle": {"time_column": "time", "delete_after": "90d"}}
    config = {"admin": {"health": {"lifecycle_interval": "1s"}}, "audit": {"enabled": "never"}}

    def induce(self) -> None:
        self.ask(f"SYSTEM STOP TTL MERGES {self.name}.clicks")
        rows = f"SELECT * REPLACE (time - INTERVAL 200 DAY AS time) FROM {self.name}.clicks LIMIT 100"
        self.ask(f"INSERT INTO {self.name}.clicks {rows}")

    def repair(self) -> None:
        """As the page says."""
        self.release.must("lifecycle", "expire")
