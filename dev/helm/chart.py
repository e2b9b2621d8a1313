"""Renders the chart and finds the tools for it.

Knows nothing of what a rendering should be. The same values give the same objects, and are rendered once.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "helm"
CI = CHART / "ci"
RULES = CHART / "files" / "rules" / "penstock.rules.yaml"
# Of the admin process, which is another job.
ADMIN_RULES = CHART / "files" / "rules" / "admin.rules.yaml"
OLDEST, NEWEST = "1.30.0", "1.37.0"
MONITORING = "monitoring.coreos.com/v1"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Failure(Exception):
    """What a check found, or what keeps it from looking."""


@functools.cache
def tools() -> Path:
    """The folder that dev/setup-helm makes."""
    told = subprocess.run([ROOT / "dev" / "setup-helm", "--path"], stdout=subprocess.PIPE, text=True, check=True)
    folder = Path(told.stdout.strip())
    for tool in ("helm", "kubeconform", "kube-score", "promtool", "prometheus"):
        if not os.access(folder / "bin" / tool, os.X_OK):
            raise Failure(f"{tool} is missing\nhint: run dev/setup-helm")
    return folder


def run(*command: object, text: str | None = None) -> subprocess.CompletedProcess:
    """Never raises: what the command says is for the caller to judge."""
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, input=text, capture_output=True, text=True, check=False, cwd=ROOT)


def bound(*command: object) -> list[str]:
    """The command, killed by the kernel when the thread that begins it ends, however that comes to its end."""
    return ["setpriv", "--pdeathsig", "KILL", *(str(part) for part in command)]


def must(*command: object, text: str | None = None) -> str:
    done = run(*command, text=text)
    if done.returncode != 0:
        raise Failure(f"{Path(str(command[0])).name}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


def parse_promql(expressions: list[str]) -> None:
    """Fails unless promtool can read all of them."""
    made = [{"record": f"parsed:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(yaml.safe_dump({"groups": [{"name": "parsed", "rules": made}]}))
        file.flush()
        must(tools() / "bin" / "promtool", "check", "rules", file.name)


def template(
    *files: Path, kube: str = NEWEST, apis: tuple[str, ...] = (), chart: Path = CHART
) -> subprocess.CompletedProcess:
    """`helm template` as release `penstock` in the namespace `ingest`."""
    options = [part for file in files for part in ("-f", file)]
    options += [part for api in apis for part in ("--api-versions", api)]
    helm = tools() / "bin" / "helm"
    return run(helm, "template", "penstock", chart, "-n", "ingest", "--kube-version", kube, *options)


@functools.cache
def _rendered(text: str, base: str, kube: str, apis: tuple[str, ...]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        values = Path(folder) / "values.yaml"
        values.write_text(text)
        files = (CI / f"{base}-values.yaml", values) if base else (values,)
        return template(*files, kube=kube, apis=apis)


class Objects(list):
    """What was rendered."""

    def of(self, kind: str, name: str | None = None) -> dict:
        found = [o for o in self if o["kind"] == kind and name in (None, o["metadata"]["name"])]
        if len(found) != 1:
            raise Failure(f"{len(found)} objects of kind {kind}, not one")
        return found[0]

    def has(self, kind: str) -> bool:
        return any(o["kind"] == kind for o in self)


def render(
    values: dict | None = None, base: str = "minimal", kube: str = NEWEST, apis: tuple[str, ...] = ()
) -> Objects:
    """The objects for these values on top of ci/<base>-values.yaml."""
    done = _rendered(json.dumps(values or {}), base, kube, apis)
    if done.returncode != 0:
        raise Failure(done.stderr.strip())
    return parse(done.stdout)


def refusal(values: dict, base: str = "minimal") -> str:
    """What helm says about values that it must not take."""
    done = _rendered(json.dumps(values), base, NEWEST, ())
    if done.returncode == 0:
        raise Failure("it was taken")
    return done.stderr


def parse(text: str) -> Objects:
    return Objects(o for o in yaml.load_all(text, Loader=LOADER) if o)


def scenarios() -> list[Path]:
    """Every ci/*-values.yaml."""
    found = sorted(CI.glob("*-values.yaml"))
    if not found:
        raise Failure("helm/ci holds no values")
    return found
