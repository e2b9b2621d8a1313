"""Requests to one Kafka broker that penstock has no command for: topics made, narrowed and deleted, records with times and
places of their own, and a transaction that nobody ends.

Written by hand in the oldest versions that a broker takes. Knows nothing of alerts; an error code of the broker is a
`Failure`.
"""

from __future__ import annotations

import socket
import struct
import time

from chart import Failure

CREATE_TOPICS, DELETE_TOPICS, ALTER_CONFIGS = (19, 2), (20, 1), (44, 0)
PRODUCE, FIND_COORDINATOR, INIT_PRODUCER = (0, 3), (10, 1), (22, 0)
ADD_PARTITIONS, END_TRANSACTION = (24, 0), (26, 0)
TIMEOUT_MS = 20_000
# Longer than any act lasts, and what a broker allows at most.
TRANSACTION_MS = 900_000
TRANSACTIONAL = 0x10
COORDINATOR_SECONDS = 30
# Coordinator is loading, not available, not known yet; a transaction of before is being ended.
PASSING = {14, 15, 16, 51}


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
        self._send(topic, partition, batch(values, round((time.time() - age_seconds) * 1000)), None)

    def begin(self, name: str, topic: str, partition: int, values: list[bytes]) -> tuple[int, int]:
        """Publishes in a transaction and leaves it open."""
        producer = self._producer(name)
        of = text(name) + struct.pack(">qh", *producer)
        answer = self.ask(ADD_PARTITIONS, of + many([text(topic) + many([struct.pack(">i", partition)])]))
        answer.take("i"), answer.take("i"), answer.text(), answer.take("i"), answer.take("i")
        _good("adding to the transaction", answer.take("h"))
        self._send(topic, partition, batch(values, round(time.time() * 1000), producer), name)
        return producer

    def abort(self, name: str, producer: tuple[int, int]) -> None:
        answer = self.ask(END_TRANSACTION, text(name) + struct.pack(">qh?", *producer, False))
        answer.take("i")
        _good("ending the transaction", answer.take("h"))

    def _producer(self, name: str) -> tuple[int, int]:
        """Asks until there is a coordinator: its topic is made when it is asked for first."""
        until = time.monotonic() + COORDINATOR_SECONDS
        while True:
            self.ask(FIND_COORDINATOR, text(name) + struct.pack(">b", 1))
            answer = self.ask(INIT_PRODUCER, text(name) + struct.pack(">i", TRANSACTION_MS))
            answer.take("i")
            code = answer.take("h")
            if code not in PASSING or time.monotonic() > until:
                _good("a transactional producer", code)
                return answer.take("q"), answer.take("h")
            time.sleep(0.1)

    def _send(self, topic: str, partition: int, records: bytes, transaction: str | None) -> None:
        of = struct.pack(">i", partition) + struct.pack(">i", len(records)) + records
        body = text(transaction) + struct.pack(">hi", -1, TIMEOUT_MS) + many([text(topic) + many([of])])
        answer = self.ask(PRODUCE, body)
        answer.take("i"), answer.text(), answer.take("i"), answer.take("i")
        _good(f"publishing to {topic}", answer.take("h"))


def _good(what: str, code: int) -> None:
    if code != 0:
        raise Failure(f"{what}: the broker answers with error {code}")


def batch(values: list[bytes], time_ms: int, producer: tuple[int, int] | None = None) -> bytes:
    records = b"".join(_record(number, value) for number, value in enumerate(values))
    attributes = TRANSACTIONAL if producer else 0
    head = struct.pack(">hiqq", attributes, len(values) - 1, time_ms, time_ms)
    head += struct.pack(">qhi", *(producer or (-1, -1)), 0 if producer else -1)
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
