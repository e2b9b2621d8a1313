"""The servers of one measurement, how they are asked, and the penstock that is pointed at them.

Refuses to know what is measured. Servers are those of one set of `dev/servers`, started for this run and removed after
it; files that belong to the run lie in the set's folder and go with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SERVERS = ROOT / "dev" / "servers"
DATABASE = "bench"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
BEGAN = time.monotonic()


class Failure(Exception):
    """Ends the measurement with a message."""


def say(text: str) -> None:
    """A line of progress."""
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {text}", file=sys.stderr, flush=True)


# The build that is measured.
PROFILE = os.environ.get("PENSTOCK_BENCH_PROFILE") or "release"


def target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


def with_servers(work) -> int:
    """Runs `work` on servers of its own: in this process, if it has some, else in another one that is given them."""
    if "PENSTOCK_TEST_SET" not in os.environ:
        # A broker that serves millions of events is worth a compiler that optimises; tests start faster without.
        environment = dict(os.environ, PENSTOCK_DEV_KAFKA_JIT="full")
        command = [str(SERVERS), "with", "--clickhouse", "1", "--kafka", "1", "--", *sys.orig_argv]
        return subprocess.run(command, env=environment, check=False).returncode
    # Whoever ends this process must not leave behind what it runs.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        return work(Bench.attach()) or 0
    except Failure as failure:
        print(f"{Path(sys.argv[0]).name}: {failure}", file=sys.stderr)
        return 1


@dataclass(frozen=True)
class Config:
    """A configuration file of penstock, and the address of its telemetry in it."""

    path: Path
    telemetry: str


@dataclass(frozen=True)
class Bench:
    clickhouse: str
    kafka: str
    pids: dict[str, int]
    folder: Path

    @classmethod
    def attach(cls) -> Bench:
        name = os.environ["PENSTOCK_TEST_SET"]
        printed = subprocess.run([SERVERS, "status", "--name", name, "--json"], stdout=subprocess.PIPE, check=True).stdout
        state = json.loads(printed)[0]
        address = {server["kind"]: server["address"] for server in state["servers"]}
        pids = {server["kind"]: server["pid"] for server in state["servers"]}
        bench = cls(address["clickhouse"], address["kafka"], pids, Path(state["folder"]) / "bench")
        bench.folder.mkdir(exist_ok=True)
        bench.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        return bench

    def query(self, sql: str) -> str:
        request = urllib.request.Request(f"{self.clickhouse}/?wait_end_of_query=1", data=sql.encode())
        try:
            with OPENER.open(request, timeout=300) as answer:
                return answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            raise Failure(f"{sql[:200]}: {error.read().decode(errors='replace').strip()}") from error

    def number(self, sql: str) -> int:
        return int(self.query(sql) or 0)

    def rows_visible(self) -> int:
        """Rows of all tables that hold some; from the list of parts, so that asking often costs little."""
        return self.number(
            f"SELECT sum(total_rows) FROM system.tables WHERE database = '{DATABASE}' AND engine LIKE '%MergeTree'"
        )

    def config(self, tables: Path, names: list[str], group: str) -> Config:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            telemetry = f"127.0.0.1:{probe.getsockname()[1]}"
        text = (ROOT / "dev" / "demo.yaml").read_text()
        for written, meant in (
            ("http://127.0.0.1:8123", self.clickhouse),
            ("127.0.0.1:9092", self.kafka),
            ("127.0.0.1:9598", telemetry),
            ("database: demo", f"database: {DATABASE}"),
            ("path: schemas", f"path: {tables}"),
            ("only: [flights]", f"only: [{', '.join(names)}]"),
            ("group: penstock-demo", f"group: {group}"),
        ):
            if written not in text:
                raise Failure(f"dev/demo.yaml has no {written!r} to replace")
            text = text.replace(written, meant)
        path = self.folder / f"{group}.yaml"
        path.write_text(text)
        return Config(path, telemetry)


def binary() -> Path:
    found = target() / PROFILE / "penstock"
    if not found.is_file():
        raise Failure(f"{found} is missing\nhint: run it by make, which builds it first")
    return found


def penstock(config: Config, *arguments: object) -> list[str]:
    return [str(binary()), "--config", str(config.path), *map(str, arguments)]


def must(command: list[str]) -> str:
    """Runs a command that has to succeed, and gives what it printed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"this ended with code {done.returncode}: {' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout
