"""One release as a cluster would have it: a process of the line, an admin process beside it if wanted, and a producer.

Knows nothing of alerts. Processes are ended by their handles; everything of a release lies in its own folder, database,
topic and group, so that several live on the same servers without seeing each other.
"""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import chart
import yaml
from chart import Failure
from pod import free_port, get, wait_for

RATE = 20
END_SECONDS = 30


@dataclass
class Servers:
    """The set of dev/servers that a run has for itself."""

    name: str
    clickhouse: list[str]
    kafka: str
    run: Path

    def do(self, *arguments: object) -> None:
        chart.must(chart.ROOT / "dev" / "servers", *arguments, "--name", self.name)


def query(address: str, sql: str) -> str:
    url = f"{address}/?{urllib.parse.urlencode({'user': 'default'})}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data=sql.encode()), timeout=30) as answer:
        return answer.read().decode()


@dataclass
class Release:
    name: str
    folder: Path
    penstock: Path
    servers: Servers
    # Numbers of its ClickHouse servers, from 1.
    on: tuple[int, ...] = (1,)
    has_admin: bool = False
    # More lines of the table file, and of the configuration.
    table: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    health_interval: str = "1s"
    # Events a second.
    rate: int = RATE
    # Further processes that are scraped, by the beginning of their names as those of the line or of the admin process.
    guests: tuple[str, ...] = ()
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def endpoints(self) -> list[str]:
        return [self.servers.clickhouse[number - 1] for number in self.on]

    def written(self) -> dict:
        backups = {"destination": {"kind": "file", "path": self.name}, "policies": {"daily": {"tables": ["clicks"]}}}
        backups["files_path"] = str(self.servers.run / f"clickhouse-{self.on[0]}" / "backups" / self.name)
        own = {
            "kafka": {"brokers": [self.servers.kafka], "group": self.name, "session_timeout": "6s"},
            "clickhouse": {
                "endpoints": self.endpoints(),
                "database": self.name,
                "user": "penstock",
                "password": "penstock",
                "insert_timeout": "3s",
                "retry": {"deadline": "10s"},
            },
            "tables": {"path": str(self.folder / "tables")},
            # Few and small inserts, as the little traffic is.
            "batch": {"age_max": "3s"},
            "reload": {"interval": "1s"},
            "shutdown": {"drain": "4s"},
            "admin": {
                "listen": f"127.0.0.1:{self.ports['rest']}",
                "access": {"key_file": str(self.folder / "key")},
                "audit": {"file": str(self.folder / "trail.jsonl"), "key_file": str(self.folder / "key")},
                "health": {"interval": self.health_interval, "timeout": "5s"},
                "backup": backups,
                # Due on no day on which this is likely to run.
                "schedules": [{"name": "nightly", "what": "backup run daily", "when": "0 2 29 2 *"}],
            },
        }
        return _merged(own, self.config)

    def lay_out(self) -> None:
        self.folder.mkdir(parents=True)
        self.ports = {part: free_port() for part in ("line", "admin", "rest", *self.guests)}
        (self.folder / "key").write_text("0123456789abcdef" * 3)
        (self.folder / "key").chmod(0o600)
        table = yaml.safe_load((chart.ROOT / "schemas" / "clicks" / "table.yaml").read_text())
        table |= {"topics": [self.name], **self.table}
        (self.folder / "tables" / "clicks").mkdir(parents=True)
        (self.folder / "tables" / "clicks" / "table.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
        self.write()

    def write(self) -> None:
        (self.folder / "penstock.yaml").write_text(yaml.safe_dump(self.written()))

    def command(self, *arguments: object) -> list[str]:
        return [str(part) for part in (self.penstock, "--config", self.folder / "penstock.yaml", *arguments)]

    def must(self, *arguments: object) -> str:
        return chart.must(*self.command(*arguments))

    def spawn(self, part: str, *arguments: object) -> subprocess.Popen:
        with (self.folder / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(chart.bound(*self.command(*arguments)), stdout=log, stderr=log)
        return self.processes[part]

    def start_line(self) -> None:
        self.spawn("line", "run", "--set", f"telemetry.listen=127.0.0.1:{self.ports['line']}")
        self.await_ready("line")

    def start_admin(self, *settings: str) -> None:
        own = [part for setting in settings for part in ("--set", setting)]
        self.spawn("admin", "admin", "--set", f"telemetry.listen=127.0.0.1:{self.ports['admin']}", *own)
        self.await_ready("admin")

    def await_ready(self, part: str) -> None:
        def is_ready() -> bool:
            if self.processes[part].poll() is not None:
                raise Failure(
                    f"{self.name}: {part} ended with code {self.processes[part].returncode}: {self.log(part)}"
                )
            return self.get(part, "/ready")[0] == 200

        wait_for(f"{self.name}: {part} is ready", is_ready)

    def start(self, backup: bool = True) -> None:
        """With its tables made, a topic that is filled evenly, and a backup that is verified."""
        self.lay_out()
        for address in self.endpoints():
            query(address, f"CREATE DATABASE IF NOT EXISTS {self.name}")
            self.must("schema", "create", "--set", f"clickhouse.endpoints={address}")
        self.must("generate", "clicks", "--topic", self.name, "--count", 200)
        self.spawn("producer", "generate", "clicks", "--topic", self.name, "--rate", self.rate, "--count", 1_000_000)
        self.start_line()
        wait_for(f"{self.name}: rows", lambda: self.value("line", "penstock_inserted_rows_total"))
        if self.has_admin:
            if backup:
                self.must("backup", "run", "daily")
            self.start_admin()

    def parts(self) -> list[str]:
        return ["line", *(["admin"] if self.has_admin else []), *self.guests]

    def get(self, part: str, path: str) -> tuple[int, str]:
        return get(f"http://127.0.0.1:{self.ports[part]}{path}")

    def value(self, part: str, series: str) -> float:
        """The sum of the series whose text begins so."""
        lines = self.get(part, "/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))

    def log(self, part: str) -> str:
        return (self.folder / f"{part}.log").read_text(errors="replace")[-4000:]

    def kill(self, part: str) -> None:
        self.processes[part].kill()
        self.processes[part].wait()

    def end(self, part: str) -> None:
        process = self.processes[part]
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop(self) -> None:
        """Whatever state it is in. All are told before one is waited for."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + END_SECONDS
        for process in self.processes.values():
            try:
                process.wait(timeout=max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _merged(one: dict, other: dict) -> dict:
    """What is None in the other is left out."""
    both = {key: value for key, value in one.items() if other.get(key, value) is not None}
    for key, value in other.items():
        if value is None:
            continue
        both[key] = _merged(one[key], value) if isinstance(value, dict) and isinstance(one.get(key), dict) else value
    return both
