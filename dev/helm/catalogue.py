"""The metrics that penstock declares: name, kind, labels and meaning, as its document has them.

Knows no Rust: docs/metrics.md is made from the declarations, and a unit test keeps the two the same. A process exports a
series when it has something to count; the catalogue has those as well that hardly ever appear. `rules` asks whether the
binary was built with it, `live` whether a process says the same.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from chart import ROOT, Failure

DOCUMENT = ROOT / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*) \| [^|]* \| ([^|]*) \|$")
PARTS_OF_HISTOGRAM = {"_bucket": {"le"}, "_sum": set(), "_count": set()}


@dataclass(frozen=True)
class Metric:
    """One family; `name` as it is exported."""

    name: str
    kind: str
    help: str
    labels: frozenset[str]


@functools.cache
def families() -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for line in DOCUMENT.read_text().splitlines():
        if row := ROW.match(line):
            name, kind, labels, meaning = row.groups()
            found[name] = Metric(name, kind, meaning, frozenset(re.findall(r"`(\w+)`", labels)))
        elif line.startswith("| `"):
            raise Failure(f"{DOCUMENT.name}: no metric can be read from {line}")
    if not found:
        raise Failure(f"{DOCUMENT} has no metrics")
    return found


@functools.cache
def series() -> dict[str, frozenset[str]]:
    """Labels by the name of the series, with the three of each histogram."""
    found = {}
    for metric in families().values():
        if metric.kind != "histogram":
            found[metric.name] = metric.labels
            continue
        for end, more in PARTS_OF_HISTOGRAM.items():
            found[metric.name + end] = metric.labels | more
    return found


def family_of(name: str) -> Metric:
    """The family to which a series belongs."""
    stem = re.sub(r"_(?:bucket|sum|count)$", "", name)
    found = families().get(name) or families().get(stem)
    if found is None:
        raise Failure(f"penstock declares no metric {name}")
    return found
