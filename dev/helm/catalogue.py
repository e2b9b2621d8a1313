"""The metrics that penstock declares: name, kind, labels and meaning, read where they are declared.

Knows Rust only as far as these declarations are written. A process exports a series when it has something to count; the
catalogue has those as well that hardly ever appear. `rules` asks whether the binary was built with it, `live` whether a
process says the same.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from chart import ROOT, Failure

SOURCES = ("metrics.rs", "pressure.rs", "backup.rs", "fleet.rs")
TEXT = r'"((?:[^"\\]|\\.)*)"'
HEAD = rf"\(\s*{TEXT},\s*{TEXT}"
DECLARATIONS = (
    (re.compile(rf"b\.(counter|gauge|histogram){HEAD},\s*&\[([^\]]*)\]"), None),
    (re.compile(rf"(GaugeVec)::new\(\s*opts{HEAD},?\s*\),\s*&\[([^\]]*)\]"), "gauge"),
    (re.compile(rf"(Gauge)::with_opts\(opts{HEAD}()"), "gauge"),
    (re.compile(rf"(Counter)::with_opts\(opts{HEAD}()"), "counter"),
    (re.compile(rf"(Histogram)Opts::from\(opts{HEAD}()"), "histogram"),
)
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
    for source in SOURCES:
        text = (ROOT / "src" / "telemetry" / source).read_text()
        before = len(found)
        for declaration, kind in DECLARATIONS:
            for word, name, meaning, labels in declaration.findall(text):
                name = f"penstock_{name}"
                found[name] = Metric(name, kind or word, meaning, frozenset(re.findall(r'"(\w+)"', labels)))
        declared = len(re.findall(r"\bb\s*\.(?:counter|gauge|histogram)\(|\bopts\(\s*\"", text))
        if declared != len(found) - before:
            raise Failure(f"{source} declares {declared} metrics, of which {len(found) - before} can be read")
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
