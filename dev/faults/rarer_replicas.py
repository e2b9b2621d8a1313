"""Faults of replicas, on two servers that are replicas of each other and that somebody else has started, by `rarer`.

They have one Keeper, a macro {replica}, and the user of CLICKHOUSE_USER with the password of CLICKHOUSE_PASSWORD.
"""

from __future__ import annotations

import os

from rarer_line import OfLine
from release import query

ENGINE = "ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{replica}')"
# Numbers of the two, behind those of a run's own.
REPLICAS = (4, 5)
# The limits are 300 s by the real clock.
LATE_MINUTES = 150


class OfReplicas(OfLine):
    on = REPLICAS
    table = {"engine": ENGINE}
    login = {
        "user": os.environ.get("CLICKHOUSE_USER", "default"),
        "password": os.environ.get("CLICKHOUSE_PASSWORD", ""),
    }
    # Whether every replica has all rows is not what is tried here.
    config = {
        "clickhouse": login,
        "migrations": {"engine": "replicated_merge_tree"},
        "audit": {"enabled": "never"},
    }

    def ask_second(self, sql: str) -> str:
        return query(self.release.endpoints()[1], sql)

    def said(self) -> dict[str, str]:
        return super().said() | {"http://HOST:8123": self.release.endpoints()[1]}

    def play(self) -> None:
        try:
            super().play()
        finally:
            for address in self.release.endpoints():
                query(address, f"DROP DATABASE IF EXISTS {self.name} SYNC")


class ReadOnly(OfReplicas):
    """Keeper has lost what it knew of one replica."""

    alerts = ("PenstockReplicaReadOnly",)
    # The embedded engine that serves it has no such table.
    nothing = ("system.zookeeper",)
    beside = {
        "PenstockInsertsFail": "a part of them tries the replica that takes none",
        "PenstockEndpointShut": "its gate shuts",
    }

    def induce(self) -> None:
        table = f"{self.name}.clicks"
        own = self.ask_second("SELECT getMacro('replica')").strip()
        self.ask_second(f"DETACH TABLE {table} SYNC")
        self.ask(f"SYSTEM DROP REPLICA '{own}' FROM TABLE {table}")
        self.ask_second(f"ATTACH TABLE {table}")

    def repair(self) -> None:
        self.ask_second(f"SYSTEM RESTORE REPLICA {self.name}.clicks")


class LateReplica(OfReplicas):
    """One replica fetches nothing from the other."""

    alerts = ("PenstockReplicaLate",)
    fires_minutes = LATE_MINUTES
    config = OfReplicas.config | {"clickhouse": OfReplicas.login | {"balance": "first_alive"}}

    def induce(self) -> None:
        self.ask_second(f"SYSTEM STOP FETCHES {self.name}.clicks")

    def repair(self) -> None:
        self.ask_second(f"SYSTEM START FETCHES {self.name}.clicks")


class LateElsewhere(OfReplicas):
    """The same, with a table that the line does not fill."""

    alerts = ("PenstockServerReplicaLate",)
    beside = {
        "PenstockHealthDegraded": "its check `replicas` tells it as well, until this alert is on its way",
        "PenstockBackupUnplanned": "it has no policy",
    }
    throughout = frozenset({"PenstockBackupUnplanned"})
    has_admin = True
    has_backup = False
    fires_minutes = LATE_MINUTES
    # Its servers have no folder of backups that this process sees, and no policy.
    config = OfReplicas.config | {"admin": {"backup": {"policies": None, "files_path": None}, "schedules": []}}
    nothing = ("penstock_ch_keeper_latency_seconds",)

    def induce(self) -> None:
        for address in self.release.endpoints():
            query(address, f"CREATE TABLE {self.name}.other (n UInt64) ENGINE = {ENGINE} ORDER BY n")
        self.ask_second(f"SYSTEM STOP FETCHES {self.name}.other")
        self.ask(f"INSERT INTO {self.name}.other VALUES (1)")

    def repair(self) -> None:
        self.ask_second(f"SYSTEM START FETCHES {self.name}.other")


# The last one alone: its admin process sees the tables of all.
ACTS = ((ReadOnly, LateReplica), (LateElsewhere,))
