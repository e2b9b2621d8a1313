"""The floor: the same topic taken out of librdkafka, by `benches/consume.rs`, and nothing done with it."""

from __future__ import annotations

import json
import subprocess
from functools import cache

from .servers import PROFILE, ROOT, Bench, Failure, must
from .topics import Load


@cache
def program() -> str:
    """Builds it, if need be, and gives where it lies."""
    command = ["cargo", "build", "--profile", PROFILE, "--locked", "--bench", "consume", "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failure("benches/consume.rs was not built")
    for message in map(json.loads, done.stdout.splitlines()):
        if message.get("executable") and message["target"]["name"] == "consume":
            return message["executable"]
    raise Failure("cargo told no program of benches/consume.rs")


def run(bench: Bench, load: Load) -> dict:
    """Its CPU per message of a topic that is read whole."""
    (topic,) = load.tables
    figures = json.loads(must([program(), bench.kafka, topic]))
    if (figures["messages"], figures["bytes"]) != (load.count, load.bytes):
        raise Failure(f"{topic}: {figures['messages']} messages were consumed of {load.count}")
    return {
        "rows": load.count,
        "cpu_ns_per_event": round(figures["cpu_seconds"] / load.count * 1e9),
        "messages_per_s": round(load.count / figures["seconds"]),
    }
