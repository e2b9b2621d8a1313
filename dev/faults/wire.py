"""Requests to one Kafka broker that penstock has no command for: topics made, narrowed and deleted, and records with
times and places of their own.

Written by hand in the oldest versions that a broker takes. Knows nothing of alerts; an error code of the broker is a
`Failure`.
"""

from __future__ import annotations

import socket
import struct
import time

from chart import Failure

CREATE_TOPICS, DELETE_TOPICS, ALTER_CONFIGS, PRODUCE = (19, 2), (20, 1), (44, 0), (0, 3)
TIMEOUT_MS = 20_000


def text(value: str | None) -> bytes:
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value)) + value.encode()


def many(parts: list[bytes]) -> bytes:
    return struct.pack(">i", len(parts)) + b"".join(parts)


class Answer:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return value

    def text(self) -> str | None:
        size = self.take("h")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size : self.at].decode()


class Broker:
    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address = (host, int(port))

    def ask(self, request: tuple[int, int], body: bytes) -> Answer:
        sent = struct.pack(">hhi", *request, 1) + text("faults") + body
        with socket.create_connection(self.address, timeout=30) as connection:
            connection.sendall(struct.pack(">i", len(sent)) + sent)
            with connection.makefile("rb") as incoming:
                (size,) = struct.unpack(">i", incoming.read(4))
                answer = Answer(incoming.read(size))
        answer.take("i")
        return answer

    def create(self, topic: str, partitions: int = 1, **settings: str) -> None:
        configs = many([text(name.replace("_", ".")) + text(value) for name, value in settings.items()])
        made = text(topic) + struct.pack(">ih", partitions, 1) + many([]) + configs
        answer = self.ask(CREATE_TOPICS, many([made]) + struct.pack(">i?", TIMEOUT_MS, False))
        answer.take("i"), answer.take("i"), answer.text()
        _good(f"creating {topic}", answer.take("h"))

    def delete(self, topic: str) -> None:
        answer = self.ask(DELETE_TOPICS, many([text(topic)]) + struct.pack(">i", TIMEOUT_MS))
        answer.take("i"), answer.take("i"), answer.text()
        _good(f"deleting {topic}", answer.take("h"))

    def alter(self, topic: str, name: str, value: str) -> None:
        """Sets one setting of the topic."""
        one = struct.pack(">b", 2) + text(topic) + many([text(name) + struct.pack(">b", 0) + text(value)])
        answer = self.ask(ALTER_CONFIGS, many([one]) + struct.pack(">?", False))
        answer.take("i"), answer.take("i")
        _good(f"{name} of {topic}", answer.take("h"))

    def publish(self, topic: str, partition: int, values: list[bytes], age_seconds: float = 0) -> None:
        """Records that say that they are so old."""
        records = batch(values, round((time.time() - age_seconds) * 1000))
        of = struct.pack(">i", partition) + struct.pack(">i", len(records)) + records
        body = text(None) + struct.pack(">hi", -1, TIMEOUT_MS) + many([text(topic) + many([of])])
        answer = self.ask(PRODUCE, body)
        answer.take("i"), answer.text(), answer.take("i"), answer.take("i")
        _good(f"publishing to {topic}", answer.take("h"))


def _good(what: str, code: int) -> None:
    if code != 0:
        raise Failure(f"{what}: the broker answers with error {code}")


def batch(values: list[bytes], time_ms: int) -> bytes:
    """All of the same time, of no producer that the broker knows."""
    records = b"".join(_record(number, value) for number, value in enumerate(values))
    head = struct.pack(">hiqqqhi", 0, len(values) - 1, time_ms, time_ms, -1, -1, -1)
    body = head + struct.pack(">i", len(values)) + records
    return struct.pack(">qiibI", 0, len(body) + 9, -1, 2, crc32c(body)) + body


def _record(number: int, value: bytes) -> bytes:
    body = b"\0" + varint(0) + varint(number) + varint(-1) + varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


def varint(number: int) -> bytes:
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _table() -> list[int]:
    made = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        made.append(value)
    return made


CRC = _table()


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF
