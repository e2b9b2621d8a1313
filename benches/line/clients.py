"""`dev/bench-clients`: what clients of the admin interface cost the line.

Refuses to let the clients be as fast as they can, which measures the cores that all share: each asks at a pace, as people
and dashboards do. The admin process runs in all rounds; only its clients come and go.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time

from . import host, line
from .compare import order
from .servers import OPENER, ROOT, Bench, Failure, must, penstock, say, with_servers
from .topics import Load, publish

CLIENTS, PER_SECOND, ROUNDS, COUNT = 100, 1.0, 4, 3_000_000
# The line may be this much slower with them.
LOSS_MAX = 0.05
# What a client asks for, in turn: of the process alone, of its files, and of ClickHouse.
PATHS = ("/v1/self", "/v1/jobs", "/v1/migrations", "/v1/tables?database=bench", "/v1/roles", "/v1/lifecycle/holds", "/v1/summary")


class Admin:
    """A running `penstock admin`, and a token for it."""

    def __init__(self, bench: Bench, load: Load, lines: list[str] | None = None) -> None:
        config = bench.config(load.folder, list(load.tables), "bench-admin")
        for name in ("token-key", "audit-key"):
            (bench.folder / name).write_text(secrets.token_urlsafe(48))
        (bench.folder / "migrations").mkdir(exist_ok=True)
        self.port = free_port()
        text = config.path.read_text()
        if "\nadmin:" in text or "\nmigrations:" in text:
            raise Failure("dev/demo.yaml has a section that is added here")
        config.path.write_text(
            f"{text}\nmigrations: {{path: {bench.folder}/migrations}}\n"
            f"admin:\n  listen: 127.0.0.1:{self.port}\n  access: {{key_file: {bench.folder}/token-key}}\n"
            f"  audit: {{file: {bench.folder}/trail, key_file: {bench.folder}/audit-key}}\n"
            f"  console: {{lines: {json.dumps(lines or [])}}}\n"
        )
        roles = [argument for role in ("viewer", "operator") for argument in ("--role", role)]
        self.token = must(penstock(config, "--log", "off", "token", "issue", "--subject", "bench", *roles)).strip()
        with open(bench.folder / "admin.log", "w") as log:
            command = penstock(config, "--log", "warn", "admin")
            self.child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        await_answer(f"http://{config.telemetry}/ready", self.child)

    def cpu_seconds(self) -> float:
        return host.cpu_seconds(self.child.pid)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


class Clients:
    """So many clients on connections of their own, on a thread of their own, until they are stopped."""

    def __init__(self, admin: Admin, count: int, per_second: float) -> None:
        self.admin, self.count, self.per_second = admin, count, per_second
        self.seconds: list[float] = []
        self.failures: dict[str, int] = {}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.all()), daemon=True)

    def __enter__(self) -> Clients:
        self.thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stopped.set()
        self.thread.join()

    async def all(self) -> None:
        await asyncio.gather(*(self.one(number) for number in range(self.count)))

    async def one(self, number: int) -> None:
        pause = 1 / self.per_second
        # Spread over the pause, so that they do not all ask at once.
        await asyncio.sleep(pause * number / self.count)
        reader = writer = None
        for path in cycle(number):
            if self.stopped.is_set():
                break
            began = time.monotonic()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.admin.port)
                status = await self.ask(reader, writer, path)
                self.seconds.append(time.monotonic() - began)
                if status != 200:
                    self.count_failure(f"{path}: {status}")
            except (OSError, EOFError) as error:
                self.count_failure(f"{path}: {type(error).__name__}")
                writer = None
            await asyncio.sleep(max(0.0, began + pause - time.monotonic()))
        if writer is not None:
            writer.close()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
        head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.admin.token}\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(text.partition(b":")[2]) for text in answer.split(b"\r\n") if text.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        return int(answer.split(b" ", 2)[1])

    def count_failure(self, what: str) -> None:
        self.failures[what] = self.failures.get(what, 0) + 1


def cycle(first: int):
    number = first
    while True:
        yield PATHS[number % len(PATHS)]
        number += 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_answer(url: str, child: subprocess.Popen) -> None:
    for _ in range(150):
        try:
            with OPENER.open(url, timeout=2):
                return
        except OSError:
            if child.poll() is not None:
                raise Failure(f"penstock admin ended with code {child.returncode}") from None
            time.sleep(0.2)
    raise Failure(f"{url} does not answer")


def measure(bench: Bench, load: Load, admin: Admin, count: int, per_second: float) -> dict:
    """One run of the line, with so many clients beside it."""
    before, began = admin.cpu_seconds(), time.monotonic()
    if count == 0:
        figures, clients = line.run(bench, load), None
    else:
        with Clients(admin, count, per_second) as clients:
            figures = line.run(bench, load)
    took = time.monotonic() - began
    figures["cpu_cores_admin"] = round((admin.cpu_seconds() - before) / took, 3)
    if clients is not None:
        if clients.failures:
            raise Failure(f"clients were not answered: {clients.failures}")
        if not clients.seconds:
            raise Failure("no client asked for anything")
        figures["requests_per_s"] = round(len(clients.seconds) / took, 1)
        figures["answer_ms_p99"] = round(1000 * sorted(clients.seconds)[len(clients.seconds) * 99 // 100], 1)
    return figures


def bench(servers: Bench, args: argparse.Namespace) -> int:
    load = publish(servers, "clicks", args.count)
    admin = Admin(servers, load)
    found: dict[int, list[dict]] = {0: [], args.clients: []}
    try:
        for clients in order([0, args.clients], args.rounds):
            figures = measure(servers, load, admin, clients, args.per_second)
            found[clients].append(figures)
            asked = f", {figures['requests_per_s']} requests/s, p99 {figures['answer_ms_p99']} ms" if clients else ""
            say(f"{clients} clients: {figures['rows_per_s_joined']:,} rows/s, admin {figures['cpu_cores_admin']} cores{asked}")
    finally:
        admin.kill()
    rate = {clients: statistics.median(one["rows_per_s_joined"] for one in all_) for clients, all_ in found.items()}
    ratio = rate[args.clients] / rate[0]
    if args.json:
        print(json.dumps({"cores": host.cores(), "ratio": round(ratio, 4), "runs": found}, indent=2))
    verdict = "ok  " if ratio >= 1 - LOSS_MAX else "FAIL"
    print(
        f"{verdict}  rows/s with {args.clients} clients to those without: {ratio:.3f}, at least {1 - LOSS_MAX:.2f} "
        f"({rate[args.clients]:,.0f} to {rate[0]:,.0f}, median of {args.rounds}; {host.cores()} cores for everything)",
        file=sys.stderr,
    )
    return 0 if ratio >= 1 - LOSS_MAX else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench-clients", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help="events in the topic")
    parser.add_argument("--clients", type=int, default=CLIENTS, metavar="C")
    parser.add_argument("--per-second", type=float, default=PER_SECOND, metavar="R", help="requests of each client")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="R", help="with and without, in swapped order")
    parser.add_argument("--json", action="store_true", help="print all figures as one JSON document")
    args = parser.parse_args()
    return with_servers(lambda servers: bench(servers, args))
