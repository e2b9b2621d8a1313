#!/usr/bin/env python3
"""Turns CustomResourceDefinitions of a Go module into JSON Schemas for kubeconform.

Reads what `go mod download -json` says from the standard input; arguments: the folder to write to, the sum that the
module must have, and the files in it. Knows nothing of the kinds. Keys that a schema does not name are refused, as the
API server would drop them silently.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml


def strict(node: object) -> object:
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: strict(value) for key, value in node.items() if key != "description"}
    if isinstance(kept.get("properties"), dict):
        # A property may be called `description`.
        kept["properties"] = {key: strict(value) for key, value in node["properties"].items()}
        if not kept.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    if kept.pop("x-kubernetes-int-or-string", False):
        kept.pop("anyOf", None)
        kept["type"] = ["integer", "string"]
    return kept


def main() -> int:
    target, wanted, files = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    module = json.load(sys.stdin)
    if module.get("Sum") != wanted:
        print(f"crds: the sum is {module.get('Sum')}, not {wanted}", file=sys.stderr)
        return 1
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        definition = yaml.safe_load((Path(module["Dir"]) / file).read_text())
        kind = definition["spec"]["names"]["kind"].lower()
        for version in definition["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            (target / f"{kind}_{version['name']}.json").write_text(json.dumps(schema))
    return 0


if __name__ == "__main__":
    sys.exit(main())
