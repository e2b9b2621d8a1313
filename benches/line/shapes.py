"""The events that are measured with: a click of about 340 bytes, and others from 100 bytes to 16 kB.

Refuses to publish them. A shape says both what an event looks like and the table that it is validated by, column by
column, so that the two cannot drift apart; the click is the one that ships.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .servers import ROOT

# What `exactly_once` needs of a table that is not replicated, with a thousand partitions too: it remembers the tokens of
# this many inserts.
TABLE_SETTINGS = "settings: {non_replicated_deduplication_window: 1000000}\n"
PLACE = (
    "  - {name: _partition, type: Int32, from: $partition}\n"
    "  - {name: _offset, type: Int64, from: $offset}\n"
)
ORDER = "[time, user_id]"
TIME = "toDateTime64(now() - 60 + number / 20000, 3, 'UTC')"
WORDS = "['basket', 'offer', 'river', 'stone', 'window', 'garden', 'silver', 'paper', 'north', 'winter', 'music', 'table']"


def hashed(salt: str, below: int) -> str:
    return f"cityHash64(number, '{salt}') % {below}"


def text(salt: str, words: int) -> str:
    """SQL of a text of so many words, about seven bytes each."""
    word = f"{WORDS}[cityHash64(number, word, '{salt}') % 12 + 1]"
    return f"arrayStringConcat(arrayMap(word -> {word}, range({words})), ' ')"


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    rules: str
    sql: str


@dataclass(frozen=True)
class Shape:
    """Without columns it is the click, which `penstock generate` makes by itself."""

    name: str
    bytes: int
    columns: tuple[Column, ...] = ()

    def table(self, name: str, extra: str = "", order: str = ORDER) -> str:
        """The table file of a table and topic of this name; `extra` columns are lines of YAML."""
        if not self.columns:
            shipped = (ROOT / "schemas" / "clicks" / "table.yaml").read_text()
            renamed = re.sub(r"(?m)^table: clicks\ntopics: \[clicks\]$", f"table: {name}\ntopics: [{name}]", shipped)
            whole = renamed.replace("\nunknown_fields:", f"{extra}\nunknown_fields:").replace(f"order_by: {ORDER}", f"order_by: {order}")
            return whole + TABLE_SETTINGS
        columns = "".join(
            f"  - {{name: {c.name}, type: {json.dumps(c.type)}{c.rules and ', ' + c.rules}}}\n" for c in self.columns
        )
        return (
            f"table: {name}\ntopics: [{name}]\ncolumns:\n{columns}{PLACE}{extra}"
            f"engine: MergeTree\norder_by: {order}\npartition_by: toYYYYMM(time)\n{TABLE_SETTINGS}"
        )

    def select(self, count: int) -> str:
        chosen = ", ".join(f"{c.sql} AS {c.name}" for c in self.columns)
        return f"SELECT {chosen} FROM numbers({count})"


CORE = (
    Column("id", "UInt64", "min: 1", "number + 1"),
    Column("time", "DateTime64(3)", "past_max: 3650d, future_max: 1h", TIME),
    Column("kind", "LowCardinality(String)", "length: {min: 2, max: 16}", f"['view', 'click', 'buy'][{hashed('kind', 3)} + 1]"),
    Column("user_id", "UInt64", "min: 1", f"{hashed('user', 5_000_000)} + 1"),
    Column("value", "Float64", "min: 0", f"toFloat64({hashed('value', 10_000)}) / 100"),
)
WIDE = (
    *CORE,
    Column("event_id", "UUID", "", "generateUUIDv4()"),
    Column(
        "url", "String", "length: {min: 8, max: 2048}, pattern: '^https?://'",
        f"concat('https://shop.example/product/', toString({hashed('url', 200_000)}), '?from=', {text('url', 12)})",
    ),
    Column("referrer", "Nullable(String)", "length: {max: 2048}", f"if({hashed('r', 3)} = 0, NULL, 'https://search.example/')"),
    Column("agent", "String", "length: {max: 512}", f"concat('Browser/5.0 (device; system) ', {text('agent', 11)})"),
    Column("title", "String", "length: {max: 512}", text("title", 9)),
    Column("ip", "IPv4", "", f"concat('10.1.2.', toString({hashed('ip', 250) } + 1))"),
    Column("device", "Enum8('desktop' = 1, 'mobile' = 2)", "", f"['desktop', 'mobile'][{hashed('d', 2)} + 1]"),
    *(Column(f"number_{n}", "UInt32", "max: 2000000000", hashed(f"n{n}", 1_000_000_000)) for n in range(12)),
    *(Column(f"ratio_{n}", "Nullable(Float64)", "", f"toFloat64({hashed(f'f{n}', 100_000)}) / 1000") for n in range(4)),
    *(Column(f"label_{n}", "String", "length: {max: 256}", text(f"l{n}", 10)) for n in range(10)),
)

SMALL = Shape("100 B", 100, CORE)
CLICK = Shape("340 B", 340)
BROAD = Shape("1.6 kB", 1_600, WIDE)
LARGE = Shape("16 kB", 16_000, (*WIDE, Column("body", "String", "length: {max: 65536}", text("body", 2_240))))
