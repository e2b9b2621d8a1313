"""Dashboards, as far as a file can be judged: an id of its own, panels that say what they show, expressions that parse.

Whether their metrics exist is asked by `rules`. Knows nothing of what they should show, nor of how they are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import chart
from chart import Failure

# What Grafana puts in before it asks Prometheus.
VARIABLE = re.compile(r"\$(?:\{\w+(?::\w+)?\}|\w+)")
DURATIONS = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}
SOURCE = "${datasource}"
VARIABLES = {"datasource", "namespace", "job"}
WITHOUT_UNIT = {"row", "text", "dashlist", "logs", "news", "alertlist"}


def files() -> list[Path]:
    return sorted((chart.CHART / "files" / "dashboards").glob("*.json"))


def panels(node: dict) -> Iterator[dict]:
    for panel in node.get("panels", []):
        yield panel
        yield from panels(panel)


def queries(dashboard: dict) -> list[str]:
    """Of the panels."""
    found = [target["expr"] for panel in panels(dashboard) for target in panel.get("targets", []) if "expr" in target]
    return [plain(expression) for expression in found]


def expressions(dashboard: dict) -> list[str]:
    """Of panels and annotations, ready for Prometheus; those of variables are in another language."""
    annotations = dashboard.get("annotations", {}).get("list", [])
    return queries(dashboard) + [plain(annotation["expr"]) for annotation in annotations if annotation.get("expr")]


def plain(expression: str) -> str:
    for name, duration in DURATIONS.items():
        expression = expression.replace(name, duration)
    return VARIABLE.sub("x", expression)


def judge(dashboard: dict) -> None:
    title = dashboard.get("title")
    if not title or not dashboard.get("uid"):
        raise Failure("it has no title or no uid")
    for panel in panels(dashboard):
        name = f"{title}: {panel.get('title') or panel.get('id')}"
        if panel["type"] in WITHOUT_UNIT:
            continue
        if not panel.get("title") or not panel.get("description"):
            raise Failure(f"{name} has no title or no description")
        if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
            raise Failure(f"{name} has no unit")
        if not panel.get("targets"):
            raise Failure(f"{name} asks for nothing")
        if panel["type"] == "timeseries" and not all(target.get("legendFormat") for target in panel["targets"]):
            raise Failure(f"{name} has a line without a name")
    others = set(re.findall(r'"uid": "([^"]*)"', json.dumps({**dashboard, "uid": SOURCE}))) - {SOURCE}
    if others:
        raise Failure(f"{title} names data sources that only some Grafana has: {others}")
    chart.parse_promql(expressions(dashboard))


def every_one_is_sound() -> None:
    uids = []
    if not files():
        raise Failure("there is none")
    for path in files():
        dashboard = json.loads(path.read_text())
        judge(dashboard)
        absent = VARIABLES - {variable["name"] for variable in dashboard["templating"]["list"]}
        if absent:
            raise Failure(f"{path.name} has no variable {', '.join(sorted(absent))}")
        uids.append(dashboard["uid"])
    if len(set(uids)) != len(uids):
        raise Failure(f"uids are there twice: {uids}")


def an_unsound_one_is_found() -> None:
    """That the judgement judges."""
    panel = {
        "type": "stat",
        "title": "Lag",
        "description": "Age of the oldest record",
        "fieldConfig": {"defaults": {"unit": "s"}},
        "targets": [{"expr": 'max(rate(penstock_lag_seconds{job="$job"}[$__rate_interval]))'}],
    }
    judge({"title": "a", "uid": "b", "panels": [{"type": "row", "panels": [panel]}]})
    wrong = [
        {**panel, "description": ""},
        {**panel, "fieldConfig": {}},
        {**panel, "targets": []},
        {**panel, "datasource": {"type": "prometheus", "uid": "P1809F7CD0C75ACF3"}},
        {**panel, "type": "timeseries"},
        {**panel, "targets": [{"expr": "max(penstock_lag_seconds"}]},
    ]
    for panel in wrong:
        try:
            judge({"title": "a", "uid": "b", "panels": [panel]})
        except Failure:
            continue
        raise Failure(f"this was taken: {panel}")
