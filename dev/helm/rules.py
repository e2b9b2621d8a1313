"""The rules: what promtool says, that every alert is tried, and which metrics and labels they and the dashboards need.

Knows PromQL only as far as to find names in it. Whether what the rules name exists is asked of a running process by
`live`; dashboards also show what hardly ever happens, so that theirs are looked up in the catalogue.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import catalogue
import chart
import dashboards
import yaml
from chart import ADMIN_RULES, CI, RULES, Failure

METRIC = re.compile(r"(?<![:\w])penstock_[a-z0-9_]+")
SELECTOR = re.compile(r"(?<![:\w])(penstock_[a-z0-9_]+)\{([^}]*)\}")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
TEMPLATE_LABEL = re.compile(r"\$labels\.(\w+)")
# Labels that Prometheus gives to a target.
OF_TARGET = {"job", "pod", "namespace"}
SEVERITIES = {"critical", "warning"}
TESTS = (CI / "rules_test.yaml", CI / "admin_rules_test.yaml", CI / "retention_rules_test.yaml")
# Of which part of a release a metric is, by how its name begins.
JOBS = (("penstock_admin_", "penstock-admin"), ("penstock_", "penstock"))


def groups(*files: Path) -> list[dict]:
    """Of these files; of all without any."""
    return [
        group
        for file in files or (RULES, ADMIN_RULES)
        for group in yaml.load(file.read_text(), Loader=chart.LOADER)["groups"]
    ]


def alerts() -> dict[str, dict]:
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def dashboard_expressions() -> Iterator[str]:
    for path in dashboards.files():
        yield from dashboards.expressions(json.loads(path.read_text()))


def of_rules(*files: Path) -> list[str]:
    return [rule["expr"] for group in groups(*files) for rule in group["rules"]]


def expressions() -> list[str]:
    """About the line: of its rules, the autoscaler and the notes."""
    found = of_rules(RULES)
    found += [trigger["metadata"]["query"] for trigger in _keda_triggers() if "query" in trigger["metadata"]]
    return found + [(chart.CHART / "templates" / "NOTES.txt").read_text()]


def _keda_triggers() -> list[dict]:
    return chart.render(base="keda").of("ScaledObject")["spec"]["triggers"]


def metrics(named_by: Iterable[str] | None = None) -> dict[str, set[str]]:
    """Every metric that is named, with the labels that selectors name beside it."""
    found: dict[str, set[str]] = {}
    for expression in expressions() if named_by is None else named_by:
        for name in METRIC.findall(expression):
            found.setdefault(name, set())
        for name, inside in SELECTOR.findall(expression):
            found[name] |= set(LABEL.findall(inside))
    return found


def states() -> Iterator[tuple[str, str, str]]:
    """Values that selectors name in sets of states and limits, which are exported whole."""
    for expression in expressions():
        for name, inside in SELECTOR.findall(expression):
            for label, value in re.findall(r'(state|limit|reason)\s*=\s*"(\w+)"', inside):
                yield name, label, value


def promtool_takes_the_rules() -> None:
    told = chart.must(chart.tools() / "bin" / "promtool", "check", "rules", "--lint-fatal", RULES, ADMIN_RULES)
    if "SUCCESS" not in told:
        raise Failure(told)


def the_rules_fire_when_they_should_and_only_then() -> None:
    told = chart.must(chart.tools() / "bin" / "promtool", "test", "rules", *TESTS)
    if "SUCCESS" not in told:
        raise Failure(told)


def every_alert_fires_in_a_test() -> None:
    tests = [test for file in TESTS for test in yaml.load(file.read_text(), Loader=chart.LOADER)["tests"]]
    samples = [s["labels"] for t in tests for e in t.get("promql_expr_test", []) for s in e["exp_samples"]]
    fired = set(re.findall(r'alertname="(\w+)"', " ".join(samples)))
    never = sorted(set(alerts()) - fired)
    if never:
        raise Failure(f"never fired: {', '.join(never)}")


def every_alert_says_what_is_wrong_how_badly_and_about_whom() -> None:
    for name, rule in alerts().items():
        if rule["labels"].get("severity") not in SEVERITIES:
            raise Failure(f"{name} has no severity of {SEVERITIES}")
        if set(rule["annotations"]) != {"summary", "description", "runbook_url"}:
            raise Failure(f"{name} needs a summary, a description and a runbook")
        named = set(TEMPLATE_LABEL.findall(json.dumps(rule["annotations"])))
        grouped = {label.strip() for inside in GROUPING.findall(rule["expr"]) for label in inside.split(",")}
        recorded = {"topic"} if "penstock:dead_letters" in rule["expr"] else set()
        bare = {"pod"} if not grouped and not recorded else set()
        if not named <= grouped | recorded | bare:
            raise Failure(f"{name} speaks of {sorted(named - grouped)}, which its expression drops")


def every_selector_names_the_job() -> None:
    for expression in of_rules():
        for name in METRIC.findall(expression):
            selectors = [inside for found, inside in SELECTOR.findall(expression) if found == name]
            if len(selectors) != METRIC.findall(expression).count(name):
                raise Failure(f"{name} is used without a selector in {expression}")
            job = next(job for begin, job in JOBS if name.startswith(begin))
            if not all(f'job="{job}"' in inside for inside in selectors):
                raise Failure(f"{name} does not name the job {job} in {expression}")


def every_alert_carries_the_job_that_it_is_about() -> None:
    """By it releases are told apart, and alerts wait for those that explain them."""
    for file, job in ((RULES, "penstock"), (ADMIN_RULES, "penstock-admin")):
        wrong = [r["alert"] for g in groups(file) for r in g["rules"] if "alert" in r and r["labels"].get("job") != job]
        if wrong:
            raise Failure(f"not of the job {job}: {', '.join(wrong)}")


def the_chart_takes_in_those_of_the_admin_process_where_there_is_one() -> None:
    def rendered(base: str, **more: object) -> dict[str, dict]:
        values = {"metrics": {"prometheusRule": {"enabled": True, **more}}}
        made = chart.render(values, base=base).of("PrometheusRule")["spec"]["groups"]
        return {rule["alert"]: rule for group in made for rule in group["rules"] if "alert" in rule}

    own = {rule["alert"] for group in groups(ADMIN_RULES) for rule in group["rules"]}
    without, there = rendered("minimal"), rendered("admin")
    if own & set(without) or own - set(there):
        raise Failure(f"without an admin process {own & set(without)} are there, with one {own - set(there)} are not")
    absent = there["PenstockAdminAbsent"]
    if (absent["expr"], absent["labels"]["job"]) != (
        'absent(up{job="ingest/penstock-admin"} == 1)',
        "ingest/penstock-admin",
    ):
        raise Failure(f"it is about another job: {absent}")
    if 'ALERTS{job="ingest/penstock"' not in there["PenstockHealthFailing"]["expr"]:
        raise Failure("it does not look at the alerts of its own line")
    if "PenstockBackupUnplanned" in rendered("admin", alerts={"PenstockBackupUnplanned": {"enabled": False}}):
        raise Failure("an alert that was switched off is there")


def every_alert_is_in_the_documentation() -> None:
    text = (chart.ROOT / "docs" / "kubernetes.md").read_text()
    told = set(re.findall(r"`(Penstock\w+)`", text))
    if told != set(alerts()):
        raise Failure(f"docs/kubernetes.md and the rules differ in {sorted(told ^ set(alerts()))}")


def are_declared(where: str, named_by: Iterable[str]) -> None:
    """The metrics and labels that these expressions name."""
    for name, labels in metrics(named_by).items():
        known = catalogue.series().get(name)
        if known is None:
            raise Failure(f"{where}: penstock declares no series {name}")
        if not labels <= known | OF_TARGET:
            raise Failure(f"{where}: {name} has no label {sorted(labels - known - OF_TARGET)}")


def every_metric_and_label_is_declared() -> None:
    are_declared("rules", [*expressions(), *of_rules(ADMIN_RULES)])
    are_declared("dashboards", dashboard_expressions())
    for expression in dashboard_expressions():
        named = {label for name in METRIC.findall(expression) for label in catalogue.series()[name]}
        grouped = {label.strip() for inside in GROUPING.findall(expression) for label in inside.split(",")}
        if not grouped <= named | OF_TARGET:
            raise Failure(f"no metric has {sorted(grouped - named)} of {expression}")


def _samples(expression: str) -> Iterator[dict]:
    """Two of everything that the expression names, under the labels that it asks for."""
    for name in sorted(set(METRIC.findall(expression))):
        labels = catalogue.series()[name]
        selectors = " ".join(inside for found, inside in SELECTOR.findall(expression) if found == name)
        asked = re.findall(r'(\w+)="(\w+)"', selectors)
        values = {label: {"x", "y", *(value for of, value in asked if of == label)} for label in labels}
        values |= {"le": {"1", "+Inf"}} if "le" in labels else {}
        jobs = set(re.findall(r'\bjob="([^"]+)"', selectors)) or {"x"}
        # A backlog gets smaller; what is one of several is 1; everything else grows.
        one = labels & {"state", "level", "hash", "version"}
        course = "1x60" if one else "9000-9x60" if name == "penstock_lag_records" else "1+1x60"
        for job, *combination in itertools.product(sorted(jobs), *(sorted(values[label]) for label in sorted(labels))):
            pairs = {"job": job, "namespace": "x", "pod": "x", **dict(zip(sorted(labels), combination, strict=True))}
            inside = ",".join(f'{label}="{value}"' for label, value in pairs.items())
            yield {"series": f"{name}{{{inside}}}", "values": course}
    for name in set(re.findall(r"penstock:\w+:\w+", expression)):
        yield {"series": f'{name}{{job="x"}}', "values": "1x60"}


def every_panel_shows_something_where_there_is_something() -> None:
    tests = [
        {
            "name": expression,
            "interval": "1m",
            "input_series": list(_samples(expression)),
            "promql_expr_test": [
                {
                    "expr": f"count({expression}) > bool 0",
                    "eval_time": "1h",
                    "exp_samples": [{"labels": "{}", "value": 1}],
                }
            ],
        }
        for path in dashboards.files()
        for expression in dashboards.queries(json.loads(path.read_text()))
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"rule_files": [], "tests": tests}, file)
        file.flush()
        chart.must(chart.tools() / "bin" / "promtool", "test", "rules", file.name)


def the_binary_was_built_with_the_catalogue(penstock: Path) -> None:
    """The texts stand in the binary: the catalogue is that of this build, not of a later or an earlier one."""
    content = penstock.read_bytes()
    missing = [metric.name for metric in catalogue.families().values() if metric.help.encode() not in content]
    if missing:
        raise Failure(f"{penstock} does not know {', '.join(missing)}")


def checks(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "the binary was built with the catalogue", lambda: the_binary_was_built_with_the_catalogue(options.penstock)
    for check in (
        promtool_takes_the_rules,
        the_rules_fire_when_they_should_and_only_then,
        every_alert_fires_in_a_test,
        every_alert_says_what_is_wrong_how_badly_and_about_whom,
        every_selector_names_the_job,
        every_alert_carries_the_job_that_it_is_about,
        the_chart_takes_in_those_of_the_admin_process_where_there_is_one,
        every_alert_is_in_the_documentation,
        every_metric_and_label_is_declared,
        every_panel_shows_something_where_there_is_something,
        dashboards.every_one_is_sound,
        dashboards.an_unsound_one_is_found,
    ):
        yield check.__name__.replace("_", " "), check
