"""Topics filled with events, and the table files that go with them.

Refuses to measure. What was published is known to the message: the counts are those that the brokers acknowledged.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .servers import DATABASE, Bench, Failure, must, penstock
from .shapes import CLICK, Shape


# Small blocks and groups of rows, so that 16 kB of each fit into the memory of the server.
PARQUET = (
    "engine_file_truncate_on_insert = 1, max_block_size = 1000, min_insert_block_size_rows = 5000, "
    "min_insert_block_size_bytes = 0, output_format_parquet_row_group_size = 5000"
)


@dataclass(frozen=True)
class Load:
    """Messages that wait in Kafka for tables of the same names."""

    name: str
    tables: tuple[str, ...]
    folder: Path
    partitions: int
    count: int
    bytes: int

    @property
    def event_bytes(self) -> float:
        return self.bytes / self.count


def define(bench: Bench, name: str, shape: Shape, tables: int = 1, **different: str) -> Load:
    """The table files of topics that do not exist yet; what is `different` in them, as `Shape.table` takes it."""
    folder = bench.folder / name
    names = (name,) if tables == 1 else tuple(f"{name}_{number}" for number in range(tables))
    for table in names:
        (folder / table).mkdir(parents=True)
        (folder / table / "table.yaml").write_text(shape.table(table, **different))
    return Load(name, names, folder, 0, 0, 0)


def publish(
    bench: Bench, name: str, count: int, shape: Shape = CLICK, partitions: int = 16, tables: int = 1, compression: str = "lz4"
) -> Load:
    """`count` messages over all partitions of all topics, each topic with its share of both."""
    load = define(bench, name, shape, tables)
    config = bench.config(load.folder, list(load.tables), "nobody")
    parquet = f"{name}.parquet"
    if shape.columns:
        bench.query(
            f"INSERT INTO FUNCTION file('{parquet}', Parquet) {shape.select(count // tables)} SETTINGS {PARQUET}"
        )

    def one(topic: str) -> dict:
        what = ("flights", "--parquet", parquet) if shape.columns else ("clicks", "--count", count // tables, "--seed", 1)
        options = ("--topic", topic, "--partitions", max(1, partitions // tables), "--compression", compression)
        return json.loads(must(penstock(config, "--output", "json", "generate", *what, *options)))

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(one, load.tables))
    messages, size = (sum(topic[key] for topic in made) for key in ("messages", "bytes"))
    if messages != count // tables * tables:
        raise Failure(f"{messages} messages were published of {count}")
    return Load(name, load.tables, load.folder, partitions, messages, size)


def create_tables(bench: Bench, load: Load) -> None:
    """New and empty, so that they remember no tokens of the last measurement."""
    drop_tables(bench)
    must(penstock(bench.config(load.folder, list(load.tables), "nobody"), "schema", "create", *load.tables))


def drop_tables(bench: Bench) -> None:
    kinds = "multiIf(engine = 'MaterializedView', 0, engine = 'Kafka', 1, 2)"
    names = bench.query(f"SELECT name FROM system.tables WHERE database = '{DATABASE}' ORDER BY {kinds}").split()
    for name in names:
        bench.query(f"DROP TABLE {DATABASE}.`{name}` SYNC")


def expect_once(bench: Bench, load: Load) -> None:
    """Fails unless every message is a row, and none twice."""
    rows = places = 0
    for table in load.tables:
        found = bench.query(f"SELECT count(), uniqExact(_partition, _offset) FROM {DATABASE}.{table}").split()
        rows, places = rows + int(found[0]), places + int(found[1])
    if (rows, places) != (load.count, load.count):
        raise Failure(f"{load.name}: {rows} rows of {places} messages arrived, of {load.count}")
