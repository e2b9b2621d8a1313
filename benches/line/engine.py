"""The same topic into the same table by ClickHouse's own Kafka engine and a materialized view.

Refuses to be unfair: as many consumers as is best, large blocks, flushed as often as penstock's batches are. It neither
validates nor delivers exactly once.
"""

from __future__ import annotations

import time

from .line import new_group
from .servers import DATABASE, Bench, Failure
from .topics import Load, create_tables, drop_tables, expect_once
from .watch import Watch

# Beside broker, topic, group and format. The flush is penstock's default age of a batch; a block is larger than what
# one consumer takes in until then. Times are parsed as the table's own format needs it.
SETTINGS = {
    "kafka_num_consumers": 2,
    "kafka_thread_per_consumer": 1,
    "kafka_max_block_size": 500_000,
    "kafka_poll_max_batch_size": 65_536,
    "kafka_flush_interval_ms": 1_000,
    "input_format_skip_unknown_fields": 1,
    "date_time_input_format": "best_effort",
}
SILENCE_SECONDS_MAX = 60
TAKEN = f"SELECT sum(num_messages_read) FROM system.kafka_consumers WHERE database = '{DATABASE}'"
PLACE = ("_partition", "_offset")


def run(bench: Bench, load: Load, consumers: int) -> dict:
    create_tables(bench, load)
    (table,) = load.tables
    columns = bench.query(
        f"SELECT name, type FROM system.columns WHERE database = '{DATABASE}' AND table = '{table}' ORDER BY position FORMAT TSVRaw"
    )
    columns = [line.split("\t") for line in columns.splitlines()]
    read = ", ".join(f"{name} {kind}" for name, kind in columns if name not in PLACE)
    taken = ", ".join(f"CAST({name} AS {kind}) AS {name}" if name in PLACE else name for name, kind in columns)
    own = {
        "kafka_broker_list": bench.kafka, "kafka_topic_list": load.name, "kafka_group_name": new_group(), "kafka_format": "JSONEachRow",
    }
    chosen = {**own, **SETTINGS, "kafka_num_consumers": consumers}
    written = ", ".join(f"{name} = {value!r}" for name, value in chosen.items())
    bench.query(f"CREATE TABLE {DATABASE}.queue ({read}) ENGINE = Kafka SETTINGS {written}")
    watch = Watch(bench)
    bench.query(f"CREATE MATERIALIZED VIEW {DATABASE}.reader TO {DATABASE}.{table} AS SELECT {taken} FROM {DATABASE}.queue")
    rows, moved = 0, time.monotonic()
    while rows < load.count:
        if (found := watch.look(bench.number(TAKEN))) != rows:
            rows, moved = found, time.monotonic()
        if moved + SILENCE_SECONDS_MAX < time.monotonic():
            raise Failure(f"the Kafka engine stopped at {rows} rows of {load.count}")
    watch.await_merges()
    figures = watch.figures(load.count, load.event_bytes)
    expect_once(bench, load)
    drop_tables(bench)
    return {**figures, "consumers": consumers}
