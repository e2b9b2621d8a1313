"""One span of a measurement: rows that become visible, and what each process uses meanwhile.

Refuses to know who inserts: penstock and ClickHouse's own engine are watched by the same instrument, the number of rows
that a reader of the tables sees.
"""

from __future__ import annotations

import time

from . import host
from .servers import DATABASE, Bench

SAMPLE_SECONDS = 0.1
NEW_PARTS = f"SELECT count() FROM system.part_log WHERE event_type = 'NewPart' AND database = '{DATABASE}'"
MERGING = f"SELECT count() FROM system.merges WHERE database = '{DATABASE}'"
# Merges are over when none was seen for this long; they go on for ever at most this long.
MERGED_SECONDS, MERGING_SECONDS_MAX = 1.0, 20.0


class Watch:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.parts_before = self._parts()
        self.cpu_before = {kind: host.cpu_seconds(pid) for kind, pid in bench.pids.items()}
        self.busy_before = host.busy_seconds()
        self.began = time.monotonic()
        self.samples: list[tuple[float, int]] = [(0.0, 0)]
        # Since when messages are read: the last look at which none had been.
        self.reading_since = 0.0

    def _parts(self) -> int:
        self.bench.query("SYSTEM FLUSH LOGS")
        return self.bench.number(NEW_PARTS)

    def look(self, taken: float) -> int:
        """Notes how many rows are visible, now that `taken` messages are read, and waits for the time of the next look."""
        rows, at = self.bench.rows_visible(), time.monotonic() - self.began
        self.samples.append((at, rows))
        if not taken:
            self.reading_since = at
        time.sleep(max(0.0, self.began + at + SAMPLE_SECONDS - time.monotonic()))
        return rows

    def seconds_until(self, count: int) -> float | None:
        return next((at for at, rows in self.samples if rows >= count), None)

    def await_merges(self) -> None:
        last = start = time.monotonic()
        while (now := time.monotonic()) < min(last + MERGED_SECONDS, start + MERGING_SECONDS_MAX):
            if self.bench.number(MERGING):
                last = now
            time.sleep(0.05)

    def figures(self, count: int, event_bytes: float, penstock_cpu: float = 0.0) -> dict:
        """What was used since the beginning, as of now."""
        used = {kind: host.cpu_seconds(pid) - self.cpu_before[kind] for kind, pid in self.bench.pids.items()}
        used = {"penstock": penstock_cpu, **used}
        lasted = time.monotonic() - self.began
        others = max(0.0, host.busy_seconds() - self.busy_before - sum(used.values())) / lasted
        seconds = self.seconds_until(count) or lasted
        return {
            "rows": count,
            "seconds": round(seconds, 3),
            "rows_per_s": round(count / seconds),
            "rows_per_s_joined": round(count / (seconds - self.reading_since)),
            "event_bytes": round(event_bytes, 1),
            "mb_per_s": round(event_bytes * count / seconds / 1e6, 1),
            "cpu_s": {kind: round(value, 2) for kind, value in used.items()},
            "cpu_ns_per_event": {kind: round(value / count * 1e9) for kind, value in used.items()},
            "cores_others": round(others, 2),
            "parts_made": self._parts() - self.parts_before,
            "samples": [(round(at, 2), rows) for at, rows in self.samples],
        }
