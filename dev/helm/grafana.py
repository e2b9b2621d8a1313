"""Makes Grafana's JSON out of the short descriptions in `panels`.

Knows nothing of what is worth showing. In an expression `<lag_seconds>` or `<dlq_records_total outcome="ok">` stands
for a metric of the catalogue with the dashboard's own filters, as far as it has their labels; help, unit and labels
come from the catalogue, the bounds from the alerts. A name, label or bound that is not there is a Failure.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field

import catalogue
import chart
import yaml
from chart import ADMIN_RULES, RULES, Failure

SHORT = re.compile(r"<([:a-z0-9_]+)((?: [^<>]*)?)>")
LEGEND = re.compile(r"\{\{(\w+)\}\}")
GROUPING = re.compile(r"\b(?:by|on|without) \(([^)]*)\)")
# Labels that Prometheus gives to a target or a bucket.
OF_TARGET = {"job", "pod", "namespace", "le"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
DRILL = (
    "/d/penstock-table?${datasource:queryparam}&${namespace:queryparam}&${job:queryparam}"
    "&${__url_time_range}&var-%s=${__field.labels.%s}"
)
COLOURS = {"warning": "orange", "critical": "red"}


@dataclass(frozen=True)
class Panel:
    """`queries` are pairs of an expression and a legend. `alerts` are pairs of an alert and a bound that it has."""

    kind: str
    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = ""
    note: str = ""
    width: int = 12
    height: int = 8
    alerts: tuple[tuple[str, float], ...] = ()
    stack: str = "none"
    # The table to which a click leads: the label whose value it takes along.
    drill: str = ""


@dataclass(frozen=True)
class Board:
    uid: str
    title: str
    description: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    # Variables by the label that they filter, and the metric whose values they offer.
    filters: dict[str, str] = field(default_factory=dict)
    # Whether all of it is about the admin process.
    is_admin: bool = False


@functools.cache
def _alerts() -> dict[str, dict]:
    groups = [g for file in (RULES, ADMIN_RULES) for g in yaml.load(file.read_text(), Loader=chart.LOADER)["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def _selector(board: Board, name: str, more: str) -> str:
    if name.startswith(":"):
        return f'penstock{name}{{job="$job"}}'
    labels = catalogue.series().get(f"penstock_{name}")
    if labels is None:
        raise Failure(f"{board.uid}: there is no series penstock_{name}")
    unknown = set(re.findall(r"(\w+)(?:=|!)", more)) - labels
    if unknown:
        raise Failure(f"{board.uid}: penstock_{name} has no label {sorted(unknown)}")
    # The release is chosen by the job of its line, which is the same on every dashboard.
    job = "$job-admin" if board.is_admin or name.startswith("admin_") else "$job"
    parts = ['namespace=~"$namespace"', f'job="{job}"']
    parts += [f'{label}=~"${label}"' for label in board.filters if label in labels]
    parts += more.split()
    return f"penstock_{name}{{{', '.join(parts)}}}"


def _expression(board: Board, text: str) -> str:
    return SHORT.sub(lambda found: _selector(board, found[1], found[2]), text)


def _names(panel: Panel) -> list[str]:
    return [found[0] for text, _ in panel.queries for found in SHORT.findall(text)]


def _check_labels(board: Board, panel: Panel) -> None:
    """What is grouped by and shown in a legend is a label of a metric in that expression."""
    for text, legend in panel.queries:
        names = [found[0] for found in SHORT.findall(text)]
        own = {label for name in names if name[0] != ":" for label in catalogue.series()[f"penstock_{name}"]}
        grouped = {label.strip() for inside in GROUPING.findall(text) for label in inside.split(",")} - {""}
        unknown = (grouped | set(LEGEND.findall(legend))) - own - OF_TARGET
        if unknown:
            raise Failure(f"{board.uid}, {panel.title}: no label {sorted(unknown)}")


def _description(panel: Panel) -> str:
    """The note, then what the catalogue says of each metric."""
    helps = {}
    for name in _names(panel):
        if name[0] != ":":
            metric = catalogue.family_of(f"penstock_{name}")
            helps[metric.name] = metric.help
    told = [f"`{name}`: {text.rstrip('.')}." for name, text in helps.items()]
    told += [f"Alert {alert} above {bound:g}." for alert, bound in panel.alerts]
    return "\n\n".join([panel.note, *told] if panel.note else told)


def _unit(panel: Panel) -> str:
    """By the name of the first metric, and whether it is shown as a rate."""
    if panel.unit:
        return panel.unit
    text = panel.queries[0][0]
    family = catalogue.family_of(f"penstock_{_names(panel)[0]}")
    is_rate = family.kind == "counter" and "rate(" in text
    if "bytes" in family.name:
        return "Bps" if is_rate else "bytes"
    if family.name.endswith("_seconds"):
        return "s"
    return "cps" if is_rate else "short"


def _thresholds(panel: Panel) -> dict:
    steps: list[dict] = [{"color": "green", "value": None}]
    for name, bound in sorted(panel.alerts, key=lambda pair: pair[1]):
        rule = _alerts().get(name)
        if rule is None or not re.search(rf"> {re.escape(f'{bound:g}')}(?![\d.])", rule["expr"]):
            raise Failure(f"{panel.title}: {name} has no bound {bound:g}")
        # Grafana colours from the bound on, the alert fires above it.
        steps.append({"color": COLOURS[rule["labels"]["severity"]], "value": bound or 0.000001})
    return {"mode": "absolute", "steps": steps}


def _custom(panel: Panel) -> dict:
    if panel.kind == "table":
        return {"cellOptions": {"type": "color-text"}}
    if panel.kind != "timeseries":
        return {}
    return {
        "drawStyle": "line",
        "fillOpacity": 10 if panel.stack == "none" else 50,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": {"mode": panel.stack, "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.alerts else "off"},
    }


def _options(panel: Panel) -> dict:
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if panel.alerts else "value",
            "graphMode": "area",
            "textMode": "auto",
        }
    if panel.kind == "heatmap":
        return {"calculate": False, "yAxis": {"unit": _unit(panel)}, "color": {"mode": "scheme", "scheme": "Oranges"}}
    if panel.kind == "table":
        return {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]}
    legend = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _targets(board: Board, panel: Panel) -> list[dict]:
    shape = {"heatmap": {"format": "heatmap"}, "table": {"format": "table", "instant": True, "range": False}}
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": _expression(board, text),
            "legendFormat": legend,
            **shape.get(panel.kind, {}),
        }
        for number, (text, legend) in enumerate(panel.queries)
    ]


def _panel(board: Board, panel: Panel) -> dict:
    _check_labels(board, panel)
    defaults: dict = {"unit": _unit(panel), "thresholds": _thresholds(panel), "custom": _custom(panel)}
    if panel.kind == "timeseries":
        defaults["min"] = 0
    if panel.drill:
        defaults["links"] = [{"title": "Open the table's dashboard", "url": DRILL % (panel.drill, panel.drill)}]
    made = {
        "type": panel.kind,
        "title": panel.title,
        "description": _description(panel),
        "datasource": SOURCE,
        "targets": _targets(board, panel),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
    }
    if panel.kind == "table":
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return made


def _laid_out(board: Board) -> list[dict]:
    """Rows below each other, panels from left to right."""
    made, y = [], 0
    for title, panels in board.rows:
        made.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, y, WIDTH, 1)})
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            made.append({**_panel(board, panel), "gridPos": _at(x, y, panel.width, panel.height)})
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return [{"id": number, **panel} for number, panel in enumerate(made, 1)]


def _at(x: int, y: int, w: int, h: int) -> dict:
    return {"x": x, "y": y, "w": w, "h": h}


def _variable(name: str, query: str, label: str, is_multi: bool) -> dict:
    made = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": is_multi,
        "includeAll": is_multi,
    }
    # `.*` also takes in series without the label.
    return {**made, "allValue": ".*", "current": {"text": "All", "value": "$__all"}} if is_multi else made


def _variables(board: Board) -> list[dict]:
    of = 'penstock_build_info{namespace=~"$namespace"}'
    made = [
        {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"},
        _variable("namespace", "label_values(penstock_build_info, namespace)", "Namespace", True),
        {**_variable("job", f"label_values({of}, job)", "Release", False), "regex": "/^(?!.*-admin$).*/"},
    ]
    known: list[str] = []
    for label, metric in board.filters.items():
        if label not in catalogue.series()[f"penstock_{metric}"]:
            raise Failure(f"penstock_{metric} has no label {label}")
        before = "".join(f', {name}=~"${name}"' for name in known if name in catalogue.series()[f"penstock_{metric}"])
        query = f'label_values(penstock_{metric}{{namespace=~"$namespace", job="$job"{before}}}, {label})'
        made.append(_variable(label, query, label.capitalize(), True))
        known.append(label)
    return made


def _annotation(name: str, colour: str, expression: str, label: str) -> dict:
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "iconColor": colour,
        "expr": expression,
        "titleFormat": name,
        "textFormat": f"{{{{{label}}}}}",
        "step": "60s",
    }


def _annotations(board: Board) -> list[dict]:
    def came(metric: str, label: str) -> str:
        now = _expression(board, f"count by ({label}) (<{metric}>)")
        return f"{now} unless {now.removesuffix(')')} offset 5m)"

    backup = _expression(board, "max by (policy) (changes(<admin_backup_last_success_timestamp_seconds>[5m])) > 0")
    return [
        _annotation("A backup was made", "green", backup, "policy"),
        _annotation("Another configuration", "purple", came("config_info", "hash"), "hash"),
        _annotation("Another version", "blue", came("build_info", "version"), "version"),
    ]


def make(board: Board) -> str:
    links = [
        {
            "type": "dashboards",
            "title": "penstock",
            "tags": ["penstock"],
            "asDropdown": False,
            "includeVars": True,
            "keepTime": True,
        }
    ]
    made = {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["penstock"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": links,
        "templating": {"list": _variables(board)},
        "annotations": {"list": _annotations(board)},
        "panels": _laid_out(board),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"
