"""What the chart decides: arithmetic, what is left out when, what is made only with what.

Knows values and rendered objects, nothing of files. Each function is one check; its name is what it proves.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import chart
from chart import MONITORING, Failure, refusal, render

REPLICAS_OF_SCALERS = {"hpa": "HorizontalPodAutoscaler", "keda": "ScaledObject"}


def pod(values: dict | None = None, **options: object) -> dict:
    return render(values, **options).of("Deployment")["spec"]["template"]


def environment(values: dict, **options: object) -> dict:
    variables = pod(values, **options)["spec"]["containers"][0]["env"]
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


def same(found: object, wanted: object) -> None:
    if found != wanted:
        raise Failure(f"found {found!r}, not {wanted!r}")


def differ(one: object, other: object) -> None:
    if one == other:
        raise Failure(f"both are {one!r}")


def refuses(values: dict, *wanted: str, base: str = "minimal") -> None:
    message = refusal(values, base)
    for words in wanted:
        if words not in message:
            raise Failure(f"the message does not say {words!r}:\n{message.strip()}")


def the_grace_period_is_the_sum_of_its_parts() -> None:
    for sleep, drain, wanted in ((5, 45, 65), (0, 45, 60), (30, 10, 55), (0, 1, 16)):
        found = pod({"shutdown": {"preStopSleepSeconds": sleep, "drainSeconds": drain}})["spec"]
        same(found["terminationGracePeriodSeconds"], wanted)
        same("lifecycle" in found["containers"][0], sleep > 0)


def a_grace_period_below_the_sum_is_refused_and_one_above_is_taken() -> None:
    refuses({"shutdown": {"terminationGracePeriodSeconds": 64}}, "64 is less than the 65 s")
    for seconds in (65, 300):
        found = pod({"shutdown": {"terminationGracePeriodSeconds": seconds}})["spec"]
        same(found["terminationGracePeriodSeconds"], seconds)


def the_process_drains_as_long_as_the_values_say() -> None:
    same(environment({"shutdown": {"drainSeconds": 30}})["PENSTOCK__SHUTDOWN__DRAIN"], "30s")
    config = {"kafka": {"session_timeout": "2m"}}
    same(environment({"shutdown": {"drainSeconds": 90}, "config": config})["PENSTOCK__SHUTDOWN__DRAIN"], "90s")


def replicas_are_left_out_when_an_autoscaler_decides() -> None:
    same(render({"replicaCount": 5}).of("Deployment")["spec"]["replicas"], 5)
    same(render({"replicaCount": 0}).of("Deployment")["spec"]["replicas"], 0)
    for base, kind in REPLICAS_OF_SCALERS.items():
        objects = render(base=base)
        same("replicas" in objects.of("Deployment")["spec"], False)
        same(objects.of(kind)["spec"]["scaleTargetRef"]["name"], "penstock")
        for other in set(REPLICAS_OF_SCALERS.values()) - {kind}:
            same(objects.has(other), False)


def keda_scales_by_the_lag_of_this_release_and_takes_silence_for_an_error() -> None:
    trigger = render(base="keda").of("ScaledObject")["spec"]["triggers"][0]
    same(trigger["metadata"]["query"], 'max(penstock_lag_seconds{job="ingest/penstock"})')
    same((trigger["metricType"], trigger["metadata"]["threshold"]), ("Value", "30"))
    same(trigger["metadata"]["ignoreNullValues"], "false")


def nothing_scales_on_memory() -> None:
    for base in REPLICAS_OF_SCALERS:
        text = json.dumps([o for o in render(base=base) if o["kind"] in REPLICAS_OF_SCALERS.values()])
        same('"memory"' in text, False)


def a_disruption_budget_is_there_for_more_than_one_pod() -> None:
    kind = "PodDisruptionBudget"
    for values, wanted in (
        ({"replicaCount": 1}, False),
        ({"replicaCount": 2}, True),
        ({"podDisruptionBudget": {"enabled": False}}, False),
    ):
        same(render(values).has(kind), wanted)
    same(render({"autoscaling": {"minReplicas": 1}, "replicaCount": 9}, base="hpa").has(kind), False)
    same(render().of(kind)["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow")


def the_memory_budget_is_a_part_of_the_limit() -> None:
    name = "PENSTOCK__MEMORY__BUDGET"
    for limit, percent, wanted in (
        ("1Gi", 60, "614MiB"),
        ("2G", 50, "953MiB"),
        ("1.5Gi", 60, "921MiB"),
        ("4096Mi", 85, "3481MiB"),
    ):
        values = {"resources": {"limits": {"memory": limit}}, "memory": {"budgetPercent": percent}}
        same(environment(values)[name], wanted)
    same(environment({"memory": {"budget": "700MiB"}})[name], "700MiB")


def a_budget_that_batches_and_prefetch_do_not_fit_is_refused() -> None:
    # 2 * 32 MiB * 4 + 64 MiB = 320 MiB of 60 %: 533.3 MiB are just too little.
    refuses({"resources": {"limits": {"memory": "533Mi"}}}, "resources.limits.memory", "320 MiB")
    render({"resources": {"limits": {"memory": "534Mi"}}})
    refuses({"config": {"kafka": {"consumers": 6}}}, "640 MiB")
    refuses({"config": {"batch": {"in_flight_max": 16}}}, "1088 MiB")


def pods_fit_the_restricted_profile() -> None:
    specs = [pod(base=base)["spec"] for base in ("minimal", "full")]
    beside = [o for o in render(base="admin") if o["kind"] == "Job" or o["metadata"]["name"] == "penstock-admin"]
    specs += [o["spec"]["template"]["spec"] for o in beside if o["kind"] in ("Job", "Deployment")]
    same(len(specs), 4)
    for spec in specs:
        same(spec["securityContext"]["runAsNonRoot"], True)
        same(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        same(spec["automountServiceAccountToken"], False)
        for container in spec["containers"]:
            context = container["securityContext"]
            same(context["allowPrivilegeEscalation"], False)
            same(context["readOnlyRootFilesystem"], True)
            same(context["capabilities"], {"drop": ["ALL"]})


def a_change_of_configuration_or_tables_rolls_the_pods() -> None:
    def sums(values: dict, base: str = "minimal") -> dict:
        found = pod(values, base=base)["metadata"]["annotations"]
        return {key: value for key, value in found.items() if key.startswith("checksum/")}

    plain = sums({})
    same(plain, sums({"replicaCount": 7, "podLabels": {"a": "b"}}))
    differ(plain["checksum/config"], sums({"config": {"kafka": {"group": "x"}}})["checksum/config"])
    differ(plain["checksum/tables"], sums({"tables": {"files": {"clicks": {"table.yaml": "x"}}}})["checksum/tables"])
    differ(plain["checksum/tables"], sums({"tables": {"checksum": "2"}})["checksum/tables"])
    same(sums({"rollOnChange": False}), {})
    same(sums({}, "existing")["checksum/config"], "12")
    same(sums({}, "full")["checksum/kafka-secret"], "3")


def nothing_is_mounted_as_a_single_file() -> None:
    for base in ("minimal", "full", "existing"):
        text = json.dumps(pod(base=base))
        same("subPath" in text, False)


def secrets_are_mounted_and_never_rendered() -> None:
    objects = render(base="full")
    same(objects.has("Secret"), False)
    found = environment({}, base="full")
    same(found["PENSTOCK__KAFKA__SECURITY__PASSWORD_FILE"], "/etc/penstock/secrets/kafka/secret")
    same(found["PENSTOCK__CLICKHOUSE__PASSWORD_FILE"], "/etc/penstock/secrets/clickhouse/password")
    same(found["PENSTOCK__KAFKA__SECURITY__KEY_FILE"], "/etc/penstock/secrets/kafka-tls/tls.key")
    same(found["PENSTOCK__KAFKA__SECURITY__KEY_PASSWORD"], {"secretKeyRef": {"name": "kafka-tls", "key": "passphrase"}})
    volumes = {v["name"]: v["secret"]["secretName"] for v in pod(base="full")["spec"]["volumes"] if "secret" in v}
    wanted = {
        "kafka": "kafka-user",
        "kafka-tls": "kafka-tls",
        "clickhouse": "clickhouse-user",
        "clickhouse-tls": "clickhouse-tls",
    }
    same(volumes, {f"{name}-secret": secret for name, secret in wanted.items()})


def existing_objects_are_used_in_place_of_own_ones() -> None:
    objects = render(base="existing")
    same([o["kind"] for o in objects if o["kind"] in ("ConfigMap", "ServiceAccount", "PodDisruptionBudget")], [])
    spec = pod(base="existing")["spec"]
    same(spec["serviceAccountName"], "shared")
    same({v["name"]: v for v in spec["volumes"]}["config"]["secret"]["secretName"], "penstock-config")
    same(environment({}, base="existing")["PENSTOCK_CONFIG"], "/etc/penstock/config/config.yaml")
    same({o["metadata"]["namespace"] for o in objects}, {"elsewhere"})


def monitoring_is_made_where_the_cluster_has_it_or_when_it_is_demanded() -> None:
    for apis, enabled, wanted in (
        ((), "auto", False),
        ((MONITORING,), "auto", True),
        ((), True, True),
        ((MONITORING,), False, False),
    ):
        objects = render(
            {"metrics": {"podMonitor": {"enabled": enabled}, "prometheusRule": {"enabled": enabled}}}, apis=apis
        )
        same((objects.has("PodMonitor"), objects.has("PrometheusRule")), (wanted, wanted))


def monitors_and_rules_name_the_same_job() -> None:
    for base, kind in (("full", "PodMonitor"), ("servicemonitor", "ServiceMonitor")):
        objects = render({"metrics": {"prometheusRule": {"enabled": True}}}, base=base)
        spec = objects.of(kind)["spec"]
        endpoint = (spec.get("podMetricsEndpoints") or spec["endpoints"])[0]
        same(endpoint["relabelings"][0], {"targetLabel": "job", "replacement": "ingest/penstock"})
        text = json.dumps(objects.of("PrometheusRule"))
        same('job=\\"penstock\\"' in text or '"job": "penstock"' in text, False)
        same('job=\\"ingest/penstock\\"' in text, True)
    same(render(base="servicemonitor").of("Service")["spec"]["clusterIP"], "None")


def alerts_change_as_the_values_say() -> None:
    def alerts(base: str, values: dict | None = None) -> dict:
        groups = render(values, base=base, apis=(MONITORING,)).of("PrometheusRule")["spec"]["groups"]
        return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}

    plain, changed = alerts("minimal"), alerts("full")
    same(set(plain) - set(changed), {"PenstockTinyBatches"})
    same((changed["PenstockThrottled"]["for"], changed["PenstockThrottled"]["labels"]["severity"]), ("1h", "info"))
    of_line = {"job": "ingest/penstock"}
    same(plain["PenstockThrottled"]["labels"], {"severity": "warning", **of_line})
    same(changed["PenstockAbsent"]["labels"], {"severity": "critical", "team": "data", **of_line})
    same(changed["PenstockAbsent"]["annotations"]["runbook_url"], "https://runbooks.example/penstock/PenstockAbsent.md")
    same(plain["PenstockAbsent"]["annotations"]["runbook_url"], "docs/runbooks/PenstockAbsent.md")
    named = alerts("minimal", {"metrics": {"prometheusRule": {"runbookUrl": "https://a.example/?of={name}"}}})
    same(named["PenstockAbsent"]["annotations"]["runbook_url"], "https://a.example/?of=PenstockAbsent")
    own = {"metrics": {"prometheusRule": {"alerts": {"PenstockAbsent": {"expr": "vector(1)"}}}}}
    same(alerts("minimal", own)["PenstockAbsent"]["expr"], "vector(1)")


def the_limit_of_freshness_is_that_of_the_values() -> None:
    def limit(values: dict) -> str:
        groups = render({"metrics": {"prometheusRule": values}}, apis=(MONITORING,)).of("PrometheusRule")["spec"][
            "groups"
        ]
        return groups[0]["rules"][0]["expr"]

    same((limit({}), limit({"freshnessSeconds": 90})), ("vector(60)", "vector(90)"))


def a_dashboard_becomes_a_config_map() -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "penstock"
        shutil.copytree(chart.CHART, copy)
        (copy / "files" / "dashboards").mkdir(exist_ok=True)
        (copy / "files" / "dashboards" / "probe.json").write_text('{"title": "{{ legend }}"}\n')
        done = chart.template(chart.CI / "full-values.yaml", chart=copy)
        if done.returncode != 0:
            raise Failure(done.stderr)
        found = chart.parse(done.stdout).of("ConfigMap", "penstock-dashboard-probe")
        link = {"type": "link", "title": "Runbooks", "targetBlank": True}
        link["url"] = "https://runbooks.example/penstock/README.md"
        same(json.loads(found["data"]["probe.json"]), {"title": "{{ legend }}", "links": [link]})
        same(found["metadata"]["labels"]["grafana_dashboard"], "1")
    plain = render({"metrics": {"dashboards": {"enabled": True}}}).of("ConfigMap", "penstock-dashboard-fleet")
    same(plain["data"]["fleet.json"], (chart.CHART / "files" / "dashboards" / "fleet.json").read_text())


def the_network_policy_lets_out_to_the_configured_ports() -> None:
    def ports(endpoints: list[str]) -> list:
        values = {"networkPolicy": {"enabled": True}, "config": {"clickhouse": {"endpoints": endpoints}}}
        rules = render(values).of("NetworkPolicy")["spec"]["egress"]
        return [[port["port"] for port in rule["ports"]] for rule in rules]

    same(ports(["http://a:8123", "http://b:8123/"]), [[53, 53], [9092], [8123]])
    same(ports(["http://a", "https://b", "http://[::1]:8123"]), [[53, 53], [9092], [443, 80, 8123]])
    same(render().has("NetworkPolicy"), False)


def everything_selects_the_pods_of_this_release_alone() -> None:
    objects = render(base="full")
    labels = objects.of("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        objects.of("Deployment")["spec"]["selector"]["matchLabels"],
        objects.of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        objects.of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        objects.of("PodMonitor")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        same(selector, {"app.kubernetes.io/name": "penstock", "app.kubernetes.io/instance": "penstock"})
        same(selector.items() <= labels.items(), True)
    test = objects.of("Pod")["metadata"]["labels"]
    same(selectors[0].items() <= test.items(), False)


def nothing_of_the_line_selects_pods_of_admin_or_migrations() -> None:
    objects = render(base="admin")
    line = objects.of("Deployment", "penstock")["spec"]["selector"]["matchLabels"]
    admin = objects.of("Deployment", "penstock-admin")
    job = next(o for o in objects if o["kind"] == "Job")
    for pods in (admin["spec"]["template"], job["spec"]["template"]):
        same(line.items() <= pods["metadata"]["labels"].items(), False)
    own = admin["spec"]["selector"]["matchLabels"]
    same(own.items() <= admin["spec"]["template"]["metadata"]["labels"].items(), True)
    for kind in ("PodMonitor", "NetworkPolicy"):
        found = objects.of(kind, "penstock-admin")["spec"]
        same(found.get("selector", found.get("podSelector"))["matchLabels"], own)
    same(objects.of("Service", "penstock-admin")["spec"]["selector"], own)
    relabeling = objects.of("PodMonitor", "penstock-admin")["spec"]["podMetricsEndpoints"][0]["relabelings"][0]
    same(relabeling["replacement"], "ingest/penstock-admin")


def the_admin_process_has_its_keys_and_a_trail_that_stays() -> None:
    objects = render(base="admin")
    spec = objects.of("Deployment", "penstock-admin")["spec"]
    same((spec["strategy"], spec["replicas"]), ({"type": "Recreate"}, 1))
    container = spec["template"]["spec"]["containers"][0]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    same(container["args"], ["admin"])
    for name, wanted in (
        ("PENSTOCK__ADMIN__LISTEN", "0.0.0.0:9480"),
        ("PENSTOCK__ADMIN__ACCESS__KEY_FILE", "/etc/penstock/secrets/admin/token-key"),
        ("PENSTOCK__ADMIN__AUDIT__FILE", "/var/lib/penstock/audit/trail.jsonl"),
        ("PENSTOCK__ADMIN__TLS__CERT_FILE", "/etc/penstock/secrets/admin-tls/tls.crt"),
        ("PENSTOCK__MIGRATIONS__PATH", "/etc/penstock/migrations"),
    ):
        same((name, variables.get(name)), (name, wanted))
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    same([name for name, read_only in mounts.items() if not read_only], ["audit"])
    same(set(mounts) <= {volume["name"] for volume in spec["template"]["spec"]["volumes"]}, True)
    claim = objects.of("PersistentVolumeClaim")
    same(claim["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
    same(claim["spec"]["resources"]["requests"]["storage"], "2Gi")
    own = render({"admin": {"audit": {"existingClaim": "trail"}}}, base="admin")
    same(own.has("PersistentVolumeClaim"), False)


def a_job_of_migrations_is_another_one_when_what_it_would_run_changes() -> None:
    def name(values: dict) -> str:
        return next(o for o in render(values, base="admin") if o["kind"] == "Job")["metadata"]["name"]

    plain = name({})
    same(plain, name({"replicaCount": 9}))
    differ(plain, name({"migrations": {"files": {"V2__more.sql": "SELECT 1;"}}}))
    differ(plain, name({"image": {"tag": "9"}}))
    differ(plain, name({"config": {"clickhouse": {"database": "other"}}}))
    same(any(o["kind"] == "Job" for o in render({"migrations": {"mode": "manual"}}, base="admin")), False)


def a_hook_of_migrations_has_all_that_it_needs_before_the_release_is_there() -> None:
    def is_hook(o: dict) -> bool:
        return "install" in o["metadata"].get("annotations", {}).get("helm.sh/hook", "")

    objects = render(base="hook")
    hooks = {(o["kind"], o["metadata"]["name"]): o for o in objects if is_hook(o)}
    job = hooks.pop(("Job", "penstock-migrate"))
    rest = {(o["kind"], o["metadata"]["name"]) for o in objects if not is_hook(o)}
    same(
        {hook["metadata"]["annotations"]["helm.sh/hook"] for hook in (job, *hooks.values())},
        {"pre-install,pre-upgrade"},
    )
    same(job["metadata"]["annotations"]["helm.sh/hook-delete-policy"], "before-hook-creation")
    weight = int(job["metadata"]["annotations"]["helm.sh/hook-weight"])
    for hook in hooks.values():
        annotations = hook["metadata"]["annotations"]
        same(int(annotations["helm.sh/hook-weight"]) < weight, True)
        same(annotations["helm.sh/hook-delete-policy"], "before-hook-creation,hook-succeeded")
    spec = job["spec"]["template"]["spec"]
    needed = {("ServiceAccount", spec["serviceAccountName"])}
    for volume in spec["volumes"]:
        sources = volume.get("projected", {}).get("sources", [volume])
        needed |= {("ConfigMap", source["configMap"]["name"]) for source in sources if "configMap" in source}
    # What is there before is made by a hook; nothing of the release is, and no hook takes the name of one.
    same((needed - set(hooks), set(hooks) & rest), (set(), set()))
    for kind, name in needed - {("ServiceAccount", spec["serviceAccountName"])}:
        same(hooks[(kind, name)]["data"], objects.of(kind, name.replace("penstock-migrate", "penstock", 1))["data"])
    same(hooks[("ServiceAccount", "penstock-migrate")]["metadata"]["annotations"]["example.com/role"], "ingest")
    given = render({"serviceAccount": {"create": False, "name": "mine"}}, base="hook")
    same(given.of("Job")["spec"]["template"]["spec"]["serviceAccountName"], "mine")
    same(given.has("ServiceAccount"), False)


def a_label_of_the_user_cannot_break_the_selector() -> None:
    values = {"podLabels": {"app.kubernetes.io/name": "other"}, "commonLabels": {"app.kubernetes.io/instance": "other"}}
    labels = pod(values)["metadata"]["labels"]
    same((labels["app.kubernetes.io/name"], labels["app.kubernetes.io/instance"]), ("penstock", "penstock"))


def a_digest_goes_before_the_tag() -> None:
    def image(values: dict) -> str:
        return pod({"image": values})["spec"]["containers"][0]["image"]

    digest = "sha256:" + "0" * 64
    same(image({}), "penstock:0.1.0")
    same(image({"tag": "9"}), "penstock:9")
    same(image({"tag": "9", "digest": digest}), f"penstock@{digest}")


def pods_are_spread_unless_told_otherwise() -> None:
    def keys(values: dict) -> list:
        return [c["topologyKey"] for c in pod(values)["spec"].get("topologySpreadConstraints", [])]

    same(keys({}), ["topology.kubernetes.io/zone", "kubernetes.io/hostname"])
    same(keys({"topologySpread": {"enabled": False}}), [])
    own = {"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    same(keys({"topologySpreadConstraints": [own]}), ["rack"])


def the_notes_say_what_is_not_safe_and_how_long_a_pod_has() -> None:
    def notes(base: str) -> str:
        text = '{{ include "penstock/templates/NOTES.txt" . | toJson }}'
        manifest = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: notes}}\ndata: {{text: {text}}}\n"
        return render({"extraManifests": [manifest]}, base=base).of("ConfigMap", "notes")["data"]["text"]

    minimal, full = notes("minimal"), notes("full")
    for words in (
        "has 65 s",
        "NOT MONITORED",
        "NOT ENCRYPTED: Kafka",
        "NOT ENCRYPTED: ClickHouse",
        "NO PASSWORD",
        "NO NETWORK",
    ):
        same((words, words in minimal), (words, True))
    same("has 180 s" in full, True)
    same([line for line in full.splitlines() if line.startswith(("NOT ", "NO "))], [])


def every_fault_is_told_at_once() -> None:
    refuses({}, "config.kafka.brokers", "config.clickhouse.endpoints", "tables.files", base="")


def two_renderings_are_the_same() -> None:
    values = chart.CI / "full-values.yaml"
    same(chart.template(values).stdout, chart.template(values).stdout)


def checks(_options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], None]]]:
    for name, check in list(globals().items()):
        if callable(check) and getattr(check, "__module__", "") == __name__ and "_" in name and name not in HELPERS:
            yield name.replace("_", " "), check


HELPERS = {"checks"}
