"""Makes helm/values.schema.json and helm/README.md out of helm/values.yaml and penstock's own schema.

Knows nothing of templates. Every key of values.yaml has a description, every object refuses keys that it does not know
unless it says `open`, and what lies below `config` is what the binary accepts. `dev/test-helm --update generated` writes them.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml
from chart import CHART, Failure

KEY = re.compile(r"^( *)([A-Za-z0-9_.-]+):(?: |$)")

TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}

INTRODUCTION = """\
# Helm chart of penstock

<!-- Made by dev/helm/generate.py from values.yaml; change that. -->

Version {version}, for Kubernetes {kube} and Helm 3.18 or newer. How to install it, how large pods should be and what
each alert means: [docs/kubernetes.md](../docs/kubernetes.md). What to do from one version of the chart to the next:
[UPGRADING.md](UPGRADING.md). A key that is not in this table is refused, and so is a value that would fail later.

| Key | Default | Meaning |
|---|---|---|
"""


@dataclass
class Entry:
    """One key of values.yaml."""

    path: tuple[str, ...]
    description: str
    schema: dict
    line: int


def read_entries(text: str) -> list[Entry]:
    """Keys with the comments right above them. A comment block ends at its key or at an empty line."""
    found, open_keys, comments = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("#"):
            comments.append(stripped.lstrip("#").strip())
            continue
        key = KEY.match(line)
        if key:
            depth = len(key[1]) // 2
            open_keys = [*open_keys[:depth], key[2]]
            found.append(entry(tuple(open_keys), comments, number))
        comments = []
    return found


def entry(path: tuple[str, ...], comments: list[str], line: int) -> Entry:
    words, schema, begun = [], {}, False
    for comment in comments:
        if comment.startswith("@schema"):
            schema = json.loads(comment.removeprefix("@schema"))
        elif comment.startswith("--"):
            words, begun = [comment.removeprefix("--").strip()], True
        elif begun:
            words.append(comment)
    return Entry(path, " ".join(words), schema, line)


def tidy_config(node: dict) -> dict:
    """The binary's schema without the defaults of whole sections, which repeat those of the settings in them."""
    kept = {key: value for key, value in node.items() if key not in ("$schema", "title", "format")}
    if "properties" in kept:
        kept.pop("default", None)
        kept["properties"] = {key: tidy_config(below) for key, below in kept["properties"].items()}
    for key in ("oneOf", "anyOf"):
        if key in kept:
            kept[key] = [tidy_config(below) for below in kept[key]]
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = tidy_config(kept[key])
    if "description" in kept:
        kept["description"] = " ".join(kept["description"].split())
    return kept


def config_schema(penstock: Path) -> dict:
    done = subprocess.run([penstock, "config", "schema"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"`{penstock} config schema` ended with code {done.returncode}")
    schema = tidy_config(json.loads(done.stdout))
    # For tests of the process alone; there is no place for them in a cluster.
    schema["properties"].pop("faults", None)
    return schema


def schema_of(path: tuple[str, ...], value: object, entries: dict, config: dict) -> dict:
    about = entries.get(path)
    if about is None:
        raise Failure(f"values.yaml: {'.'.join(path)} is not at the beginning of a line of its own")
    schema = copy.deepcopy(about.schema)
    if schema.pop("config", False):
        return {**config, "description": about.description}
    is_open = schema.pop("open", False)
    if about.description:
        schema["description"] = about.description
    is_section = isinstance(value, dict) and value and not is_open and "additionalProperties" not in schema
    if not is_section:
        if not about.description:
            raise Failure(f"values.yaml:{about.line}: {'.'.join(path)} has no description (`# -- …`)")
        if "type" not in schema and "enum" not in schema:
            schema["type"] = TYPES[type(value)]
        if isinstance(value, list) and "items" not in schema:
            raise Failure(f"values.yaml:{about.line}: {'.'.join(path)} does not say what its items are")
        if isinstance(value, dict) and not is_open and "additionalProperties" not in schema:
            raise Failure(f"values.yaml:{about.line}: {'.'.join(path)} does not say which keys it takes")
        return {**schema, "default": value}
    below = {key: schema_of((*path, key), item, entries, config) for key, item in value.items()}
    return {**schema, "type": "object", "additionalProperties": False, "properties": below}


def make_schema(values: dict, entries: dict, config: dict) -> str:
    below = {key: schema_of((key,), value, entries, config) for key, value in values.items()}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the penstock chart",
        "description": "Made by dev/helm/generate.py; change values.yaml.",
        "type": "object",
        "additionalProperties": False,
        "properties": below,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def make_readme(values: dict, entries: list[Entry], chart: dict) -> str:
    rows = []
    for about in entries:
        if not about.description:
            continue
        value = values
        for key in about.path:
            value = value[key]
        cell = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
        words = about.description.replace("|", "\\|")
        rows.append(f"| `{'.'.join(about.path)}` | `{cell}` | {words} |\n")
    head = INTRODUCTION.format(version=chart["version"], kube=chart["kubeVersion"].strip(">=").split("-")[0])
    return head + "".join(rows)


def generate(penstock: Path) -> dict[Path, str]:
    """What the files should hold, by path."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    entries = read_entries(text)
    described = {about.path: about for about in entries}
    return {
        CHART / "values.schema.json": make_schema(values, described, config_schema(penstock)),
        CHART / "README.md": make_readme(values, entries, yaml.safe_load((CHART / "Chart.yaml").read_text())),
    }
