"""Checks that need no knowledge of what the chart means: schemas, linters, refusals, golden renderings.

Every function gives pairs of a name and something to call, which raises on a fault.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import chart
import generate
import panels
import yaml
from chart import CHART, CI, MONITORING, NEWEST, OLDEST, Failure

Check = tuple[str, Callable[[], None]]
REFUSED_MIN = 20
# Pods are spread by topologySpreadConstraints; the image is named by its version; a network policy is a choice.
# Nothing is written to the node's disk.
SCORE_IGNORED = (
    "container-image-pull-policy",
    "deployment-has-host-podantiaffinity",
    "pod-networkpolicy",
    "container-ephemeral-storage-request-and-limit",
)


def compare(name: str, found: str, wanted: str) -> None:
    if found == wanted:
        return
    lines = list(
        difflib.unified_diff(found.splitlines(), wanted.splitlines(), "committed", "rendered", lineterm="", n=1)
    )
    raise Failure(
        f"{name} is not up to date\n" + "\n".join(lines[:60]) + "\nhint: dev/test-helm --update, and look at the diff"
    )


def settle(path: Path, wanted: str, update: bool) -> None:
    """A file that is generated: compared, or written."""
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted)
    compare(path.name, path.read_text() if path.is_file() else "", wanted)


def generated(options: argparse.Namespace) -> Iterator[Check]:
    for path, wanted in {**generate.generate(options.penstock), **panels.generate()}.items():
        yield path.name, lambda path=path, wanted=wanted: settle(path, wanted, options.update)


def lint(_options: argparse.Namespace) -> Iterator[Check]:
    for values in chart.scenarios():
        for kube in (OLDEST, NEWEST):
            command = (chart.tools() / "bin" / "helm", "lint", "--strict", CHART, "-f", values, "--kube-version", kube)
            yield f"{values.name} on {kube}", lambda command=command: chart.must(*command)

    yield "packaged", packaged


def packaged() -> None:
    """The package holds what it needs, and not the tests."""
    with tempfile.TemporaryDirectory() as folder:
        chart.must(chart.tools() / "bin" / "helm", "package", CHART, "-d", folder)
        package = next(Path(folder).glob("*.tgz"))
        with tarfile.open(package) as archive:
            stray = [name for name in archive.getnames() if "/ci/" in name]
        if stray:
            raise Failure(f"in the package there is {stray[:3]}")
        values = CI / "full-values.yaml"
        compare("package", chart.template(values, chart=package).stdout, chart.template(values).stdout)


def kinds(_options: argparse.Namespace) -> Iterator[Check]:
    """Every rendering against the schemas of Kubernetes and of the kinds that operators bring; nothing unknown."""
    for kube in (OLDEST, NEWEST):
        yield kube, lambda kube=kube: conform(kube)


def conform(kube: str) -> None:
    """All at once, since reading the schemas takes most of the time."""
    with tempfile.TemporaryDirectory() as folder:
        for values in chart.scenarios():
            for apis in ((), (MONITORING,)):
                done = chart.template(values, kube=kube, apis=apis)
                if done.returncode != 0:
                    raise Failure(f"{values.name}: {done.stderr.strip()}")
                names = [
                    (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in chart.parse(done.stdout)
                ]
                if len(names) != len(set(names)):
                    raise Failure(f"{values.name}: an object is rendered twice: {sorted(map(str, names))}")
                (Path(folder) / f"{values.stem}{'-monitoring' if apis else ''}.yaml").write_text(done.stdout)
        schemas = chart.tools() / "schemas"
        chart.must(
            chart.tools() / "bin" / "kubeconform", "-strict", "-kubernetes-version", kube,
            "-schema-location", f"{schemas}/v{kube}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json",
            "-schema-location", f"{schemas}/crds/{{{{ .ResourceKind }}}}_{{{{ .ResourceAPIVersion }}}}.json",
            folder,
        )  # fmt: skip


def golden(options: argparse.Namespace) -> Iterator[Check]:
    """What reviewers see of a change: each rendering as it was committed."""

    def check(values: Path) -> None:
        done = chart.template(values)
        if done.returncode != 0:
            raise Failure(done.stderr.strip())
        settle(CI / "golden" / values.name.replace("-values", ""), done.stdout, options.update)

    for values in chart.scenarios():
        yield values.name, lambda values=values: check(values)
    known = {values.name.replace("-values", "") for values in chart.scenarios()}
    stray = [path.name for path in (CI / "golden").iterdir() if path.name not in known]
    yield "no stray file", lambda: compare("golden", "\n".join(stray), "")


def refused(_options: argparse.Namespace) -> Iterator[Check]:
    """Values that are wrong, each refused with a message that names the key."""

    def check(path: Path) -> None:
        first, _, _ = path.read_text().partition("\n")
        if not first.startswith("# refused: "):
            raise Failure("its first line is not `# refused: …`")
        wanted = first.removeprefix("# refused: ")
        done = chart.template(CI / "minimal-values.yaml", path)
        if done.returncode == 0:
            raise Failure("it was taken")
        if wanted not in done.stderr:
            raise Failure(f"the message does not name {wanted}:\n{done.stderr.strip()}")

    found = sorted((CI / "bad").glob("*.yaml"))
    if len(found) < REFUSED_MIN:
        raise Failure(f"only {len(found)} files in ci/bad")
    for path in found:
        yield path.name, lambda path=path: check(path)


def score(_options: argparse.Namespace) -> Iterator[Check]:
    for values in chart.scenarios():
        yield values.name, lambda values=values: chart.must(
            chart.tools() / "bin" / "kube-score", "score", "--ignore-test", ",".join(SCORE_IGNORED),
            # A limit of CPU would only slow an ingestor down.
            "--ignore-container-cpu-limit", "--kubernetes-version", "v1.30", "-", text=chart.template(values).stdout,
        )  # fmt: skip


def config(options: argparse.Namespace) -> Iterator[Check]:
    """The configuration that is rendered is one that the binary takes, as the pod's variables change it."""
    for values in chart.scenarios():
        objects = chart.render(base=values.name.removesuffix("-values.yaml"))
        if any(o["kind"] == "ConfigMap" and "penstock.yaml" in o["data"] for o in objects):
            for deployment in [o for o in objects if o["kind"] == "Deployment"]:
                name = f"{values.name}, {deployment['metadata']['name']}"
                yield name, lambda objects=objects, one=deployment: check_config(options.penstock, objects, one)
    yield "the example of docs", lambda: check_example()


def check_config(penstock: Path, objects: chart.Objects, deployment: dict) -> None:
    maps = [o for o in objects if o["kind"] == "ConfigMap" and "penstock.yaml" in o["data"]]
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_text("hunter2 " * 8)
        file = Path(folder) / "penstock.yaml"
        file.write_text(maps[0]["data"]["penstock.yaml"])
        environment = {"PENSTOCK_CONFIG": str(file)}
        for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]:
            if variable["name"].startswith("PENSTOCK__"):
                value = variable.get("value", "hunter2")
                environment[variable["name"]] = str(secret) if value.startswith("/etc/penstock/secrets") else value
        done = subprocess.run(
            [penstock, "config", "check"], env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise Failure(done.stdout + done.stderr)


def check_example() -> None:
    """docs/penstock.example.yaml is taken as `config`, but for what the chart sets itself."""
    example = yaml.safe_load((chart.ROOT / "docs" / "penstock.example.yaml").read_text())
    values = copy.deepcopy(example)
    set_by_the_chart = ("telemetry.listen", "tables.path", "shutdown.drain", "memory.budget", "admin.listen", "migrations.path")
    for section, key in (setting.split(".") for setting in set_by_the_chart):
        values[section].pop(key)
    chart.render({"config": values})
