"""The pod without Kubernetes: what the chart renders is mounted, and started in the image's root file system against a
real Kafka and a real ClickHouse, watched by a real Prometheus with the rules of the release.

Faults are induced; each fires its alert and no other, until it is mended. The checks build on each other and run in the
order of `ORDER`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import catalogue
import chart
import image
import prometheus
import rules
import sandbox
import yaml
from chart import Failure
from pod import PATIENCE_SECONDS, Pod, Scrapes, free_port, wait_for

SERVERS = chart.ROOT / "dev" / "servers"
TABLE = "clicks"
DRAIN_SECONDS = 5
SECRETS = {"clickhouse-user": {"password": "penstock"}}
QUICK = ("PenstockAbsent", "PenstockClickHouseDown", "PenstockTopicPaused")


def table_file() -> str:
    """The table of schemas/clicks, but stricter: a part of the generated events is refused."""
    table = yaml.safe_load((chart.ROOT / "schemas" / TABLE / "table.yaml").read_text())
    column = next(column for column in table["columns"] if column["name"] == "status")
    column["min"] = 300
    return yaml.safe_dump(table, sort_keys=False)


def values_for(address: dict[str, str], port: int) -> dict:
    return {
        "config": {
            "kafka": {"brokers": [address["kafka"]], "group": "pod"},
            "clickhouse": {
                "endpoints": [address["clickhouse"]],
                "user": "penstock",
                "retry": {"deadline": "2s"},
                "insert_timeout": "2s",
            },
            "audit": {"interval": "5s"},
            "reload": {"interval": "1s"},
            # Many of the events are refused on purpose.
            "dead_letter": {"ceiling": {"percent_max": 100}},
        },
        "tables": {"files": {TABLE: {"table.yaml": table_file()}}},
        "clickhouse": {"existingSecret": {"name": "clickhouse-user"}},
        "shutdown": {"drainSeconds": DRAIN_SECONDS},
        "metrics": {
            "podMonitor": {"enabled": True},
            "port": port,
            "bindAddress": "127.0.0.1",
            # What is tried here must not be waited for as long as at night.
            "prometheusRule": {"enabled": True, "alerts": {name: {"for": "1s"} for name in QUICK}},
        },
    }


class Story:
    """The checks, in their order."""

    def __init__(self, name: str, folder: Path, penstock: Path, address: dict[str, str]) -> None:
        self.name, self.penstock = name, penstock
        self.values = values_for(address, free_port())
        self.pod = Pod(folder, self.values, image.rootfs(penstock), SECRETS)
        self.scrapes = Scrapes(self.pod)
        self.prometheus = prometheus.Prometheus(folder / "prometheus", self.pod)
        # Alerts that fire until the pod starts anew, since they tell of something that has happened.
        self.lasting: set[str] = set()

    def stop(self) -> None:
        self.pod.stop()
        self.prometheus.stop()

    def server(self, *arguments: object) -> None:
        chart.must(SERVERS, *arguments, "--name", self.name)

    def outside(self, *arguments: object) -> None:
        """A command that is not the pod's."""
        config = self.values["config"]
        settings = {
            "kafka.brokers": config["kafka"]["brokers"][0],
            "clickhouse.endpoints": config["clickhouse"]["endpoints"][0],
            "clickhouse.user": "penstock",
            "clickhouse.password": "penstock",
        }
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        chart.must(self.penstock, *options, *arguments)

    def publish(self, seed: int) -> None:
        """5000 events, of which a part is refused."""
        self.outside("generate", TABLE, "--count", 5000, "--seed", seed)

    def fires(self, *alerts: str, seconds: float = PATIENCE_SECONDS) -> None:
        """These, those that last, and no other."""
        wanted = self.lasting | set(alerts)
        try:
            wait_for("", lambda: self.prometheus.firing() == wanted, seconds)
        except Failure as failure:
            raise Failure(f"{sorted(self.prometheus.firing())} fire, not {sorted(wanted)}") from failure

    def written(self) -> float:
        return self.scrapes.value("penstock_inserted_rows_total") or 0.0

    def without_a_pod_it_is_absent(self) -> None:
        self.prometheus.start()
        self.fires("PenstockAbsent")

    def helm_test_passes(self) -> None:
        containers = self.pod.objects.of("Pod")["spec"]["containers"]
        for container in containers:
            self.pod.once(container["args"])

    def the_pod_becomes_ready_by_its_own_probes(self) -> None:
        self.publish(1)
        self.pod.once(["schema", "create"])
        self.pod.start()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            wait_for(probe, lambda probe=probe: self.pod.probe(probe))
        wait_for("rows", self.written)
        user = os.stat(f"/proc/{self.pod.process.pid}").st_uid
        if os.geteuid() == 0 and user != sandbox.USER_ID:
            raise Failure(f"it runs as user {user}")
        self.fires()

    def the_memory_budget_is_the_one_rendered(self) -> None:
        budget = self.scrapes.value("penstock_memory_budget_bytes ")
        prefetch = 64 << 20
        if budget != (614 << 20) - prefetch:
            raise Failure(f"the budget is {budget}")

    def a_changed_table_is_taken_over_while_it_runs(self) -> None:
        changed = json.loads(json.dumps(self.values))
        changed["tables"]["files"][TABLE]["table.yaml"] += "\n# changed\n"
        changed["config"]["limits"] = {"topics": {TABLE: {"records_per_second": 1_000_000}}}
        self.pod.change(changed)
        series = 'penstock_config_reloads_total{outcome="ok"}'
        wait_for("a reload", lambda: self.scrapes.value(series))
        self.pod.change(self.values)
        wait_for("a reload back", lambda: (self.scrapes.value(series) or 0) > 1)
        self.fires()

    def a_flood_of_bad_records_pauses_the_topic(self) -> None:
        changed = json.loads(json.dumps(self.values))
        changed["config"]["dead_letter"]["ceiling"] = {"percent_max": 1, "records_min": 100}
        reloads = 'penstock_config_reloads_total{outcome="ok"}'
        before = self.scrapes.value(reloads)
        self.pod.change(changed)
        wait_for("a reload", lambda: self.scrapes.value(reloads) > before)
        self.publish(5)
        self.fires("PenstockTopicPaused")
        self.pod.change(self.values)
        # The alert looks a minute back, since probes of records let go of the partitions for a moment.
        self.fires(seconds=2 * PATIENCE_SECONDS)

    def a_refused_configuration_is_told(self) -> None:
        changed = json.loads(json.dumps(self.values))
        changed["tables"]["files"][TABLE]["table.yaml"] = "table: [no\n"
        self.pod.change(changed)
        self.fires("PenstockReloadRefused")
        self.pod.change(self.values)
        self.fires()

    def with_clickhouse_gone_it_lives_and_stays_ready(self) -> None:
        before = self.written()
        self.server("kill", "clickhouse-1")
        try:
            self.publish(2)
            wait_for("ClickHouse seen as gone", lambda: self.scrapes.value("penstock_ch_up") == 0)
            for probe in ("readinessProbe", "livenessProbe"):
                if not self.pod.probe(probe):
                    raise Failure(f"{probe} fails: {self.pod.get('/health')[1]}")
            self.fires("PenstockClickHouseDown")
        finally:
            self.server("restart", "clickhouse-1")
        wait_for("rows again", lambda: self.written() > before)
        self.fires()

    def rows_that_somebody_deletes_are_told(self) -> None:
        """The audit may have seen them before they are deleted, so it is tried until one comes too late."""

        def missing() -> float | None:
            return self.scrapes.value("penstock_audit_missing_rows")

        def audited() -> float:
            return self.scrapes.value("penstock_audit_offsets_total") or 0.0

        def told() -> float | None:
            before, compared = self.written(), audited()
            self.publish(3)
            wait_for("rows", lambda: self.written() > before)
            self.outside("query", f"TRUNCATE TABLE {TABLE}")
            wait_for("an audit", lambda: missing() or audited() > compared)
            return missing()

        wait_for("missing rows", told)
        self.lasting.add("PenstockRowsMissing")
        self.fires()

    def every_metric_that_the_rules_name_is_there(self) -> None:
        self.scrapes.take()
        missing = {name for name in rules.metrics() if name not in self.scrapes.labels}
        if missing:
            raise Failure(f"not exported: {', '.join(sorted(missing))}")

    def every_label_that_they_name_is_there(self) -> None:
        for name, labels in rules.metrics().items():
            unknown = labels - self.scrapes.labels[name] - rules.OF_TARGET
            if unknown:
                raise Failure(f"{name} has no label {', '.join(sorted(unknown))}")
        for expression in rules.expressions():
            named = {label for name in rules.METRIC.findall(expression) for label in self.scrapes.labels.get(name, ())}
            grouped = {label.strip() for inside in rules.GROUPING.findall(expression) for label in inside.split(",")}
            if rules.METRIC.search(expression) and not grouped <= named | rules.OF_TARGET:
                raise Failure(f"no metric has {sorted(grouped - named)} of {expression}")

    def every_state_that_they_name_is_there(self) -> None:
        """Sets of states export all of their values at all times, so a misspelt one is found."""
        for name, label, value in rules.states():
            if value not in self.scrapes.values[(name, label)]:
                raise Failure(f'{name} has no {label}="{value}", only {sorted(self.scrapes.values[(name, label)])}')

    def the_process_exports_what_the_catalogue_says(self) -> None:
        """Only what was counted yet; there is nothing beside it."""
        self.scrapes.take()
        for word, name, text in re.findall(r"^# (HELP|TYPE) (\w+) (.*)$", self.scrapes.text, re.MULTILINE):
            metric = catalogue.family_of(name)
            declared = metric.help if word == "HELP" else metric.kind
            if text != declared:
                raise Failure(f"{name} says {text}, the catalogue {declared}")
        for name, labels in self.scrapes.labels.items():
            if catalogue.series().get(name) != labels:
                raise Failure(f"{name} has the labels {sorted(labels)}, or is in no catalogue")

    def promtool_takes_the_metrics(self) -> None:
        self.scrapes.take()
        chart.must(chart.tools() / "bin" / "promtool", "check", "metrics", text=self.scrapes.text)

    def it_ends_within_its_grace_period_while_clickhouse_hangs(self) -> None:
        self.server("kill", "clickhouse-1", "--signal", "STOP")
        try:
            before = self.scrapes.value("penstock_consumed_records_total")
            self.publish(4)
            wait_for("records in hand", lambda: self.scrapes.value("penstock_consumed_records_total") > before)
            began = time.monotonic()
            self.pod.process.send_signal(signal.SIGTERM)
            grace = self.pod.spec["terminationGracePeriodSeconds"] - chart_sleep(self.pod)
            try:
                code = self.pod.process.wait(timeout=grace)
            except subprocess.TimeoutExpired as error:
                raise Failure(f"it still runs after {grace} s") from error
            if code != 5:
                raise Failure(f"it ended with code {code}: {self.pod.log.read_text()[-2000:]}")
            print(f"    ended {time.monotonic() - began:.1f} s after SIGTERM, of {grace} s", flush=True)
        finally:
            self.server("kill", "clickhouse-1", "--signal", "CONT")

    def the_next_pod_begins_without_alerts(self) -> None:
        self.lasting.clear()
        self.fires("PenstockAbsent")
        self.pod.start()
        wait_for("ready", lambda: self.pod.probe("readinessProbe"))
        self.fires()

    def the_next_pod_writes_the_rest_and_ends_at_once(self) -> None:
        wait_for("no lag", lambda: self.scrapes.value("penstock_lag_records") == 0)
        self.pod.process.send_signal(signal.SIGTERM)
        code = self.pod.process.wait(timeout=PATIENCE_SECONDS)
        if code != 0:
            raise Failure(f"it ended with code {code}: {self.pod.log.read_text()[-2000:]}")


def chart_sleep(pod: Pod) -> int:
    """Seconds of the grace period that pass before SIGTERM."""
    return pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]


ORDER = (
    Story.without_a_pod_it_is_absent,
    Story.helm_test_passes,
    Story.the_pod_becomes_ready_by_its_own_probes,
    Story.the_memory_budget_is_the_one_rendered,
    Story.a_changed_table_is_taken_over_while_it_runs,
    Story.a_flood_of_bad_records_pauses_the_topic,
    Story.with_clickhouse_gone_it_lives_and_stays_ready,
    Story.a_refused_configuration_is_told,
    Story.rows_that_somebody_deletes_are_told,
    Story.every_metric_that_the_rules_name_is_there,
    Story.every_label_that_they_name_is_there,
    Story.every_state_that_they_name_is_there,
    Story.the_process_exports_what_the_catalogue_says,
    Story.promtool_takes_the_metrics,
    Story.it_ends_within_its_grace_period_while_clickhouse_hangs,
    Story.the_next_pod_begins_without_alerts,
    Story.the_next_pod_writes_the_rest_and_ends_at_once,
)


def checks(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], None]]]:
    name = f"helm-{os.getpid()}"
    started = json.loads(
        chart.must(SERVERS, "start", "--clickhouse", 1, "--kafka", 1, "--name", name, "--owner", os.getpid(), "--json")
    )
    address = {server["kind"]: server["address"] for server in started["servers"]}
    with tempfile.TemporaryDirectory() as folder:
        # The program is another user there, as in a pod.
        Path(folder).chmod(0o755)
        story = None
        try:
            story = Story(name, Path(folder), options.penstock, address)
            for check in ORDER:
                yield check.__name__.replace("_", " "), lambda check=check: check(story)
        finally:
            if story is not None:
                story.stop()
            chart.run(SERVERS, "stop", "--name", name, "--purge")
