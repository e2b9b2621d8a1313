"""The steps of a runbook, taken from the page itself and carried out against a release, so that they cannot drift.

What the index says of the steps holds here too: `penstock` has the configuration of the release, the forwarded port is
that of the process, and names in capitals stand for those of the release. Of `kubectl` only `logs` does anything: it
tells the log of the process. Knows nothing of how the fault came about.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import chart
import scale
from release import Release
from watcher import Watcher

FOLDER = chart.ROOT / "docs" / "runbooks"
BLOCK = re.compile(r"^ *```(sh|promql)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SERIES = re.compile(r"(?<![\w:])(penstock_\w+|penstock:\w+:\w+|ALERTS|up)(?![\w:(])(\{)?")
SECONDS = 120
# Done, and something was found: what a step looks for.
GOOD_CODES = (0, 3)
FUNCTIONS = """
set -o pipefail
penstock() { "$PENSTOCK" --config "$CONFIG" "$@"; }
kubectl() {
  case "$*" in
    *" logs "*penstock-admin*) cat "$LOGS"/admin*.log ;;
    *" logs "*) cat "$LOGS"/line*.log ;;
  esac
}
"""


def steps(alert: str) -> list[tuple[str, str]]:
    """Language and text of each line under "Find the cause"."""
    text = (FOLDER / f"{alert}.md").read_text()
    cause = text.partition("## Find the cause\n")[2].partition("\n## ")[0]
    return [(word, line.strip()) for word, body in BLOCK.findall(cause) for line in body.splitlines() if line.strip()]


def of_release(expression: str, name: str, factor: float) -> str:
    """For this release alone, and by the clock of the watcher."""
    expression = expression.replace("NAMESPACE/penstock", name)
    jobs = f'{{job=~"{name}|{name}-admin"'
    return scale.scaled(SERIES.sub(lambda found: found[1] + jobs + ("," if found[2] else "}"), expression), factor)


class Walk:
    def __init__(self, release: Release, watcher: Watcher, said: dict[str, str], nothing: tuple[str, ...]) -> None:
        self.release, self.watcher, self.said = release, watcher, said
        # Expressions, and searches in logs, that rightly find nothing after this fault.
        self.nothing = nothing

    def through(self, alert: str) -> list[str]:
        """What was wrong with any step."""
        is_of_admin = "penstock_admin" in (FOLDER / f"{alert}.md").read_text() and self.release.has_admin
        part = "admin" if is_of_admin else "line"
        wrong = []
        for language, step in steps(alert):
            found = self.asked(step) if language == "promql" else self.run(step, part)
            if found and not any(part in step for part in self.nothing):
                wrong.append(f"{alert}.md: {step}: {found}")
        return wrong

    def asked(self, step: str) -> str:
        expression = of_release(step, self.release.name, self.watcher.factor)
        try:
            return "" if self.watcher.ask(expression) else "gives nothing"
        except chart.Failure as failure:
            return str(failure)

    def run(self, step: str, part: str) -> str:
        text = step.replace(":9464", f":{self.release.ports[part]}")
        # The longest first, since one may be a part of another.
        for name in sorted(self.said, key=len, reverse=True):
            text = text.replace(name, self.said[name])
        environment = {
            **os.environ,
            "PENSTOCK": str(self.release.penstock),
            "CONFIG": str(self.release.folder / "penstock.yaml"),
            "LOGS": str(self.release.folder),
            "NO_PROXY": "127.0.0.1",
        }
        try:
            done = subprocess.run(
                ["bash", "-c", FUNCTIONS + text],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"takes longer than {SECONDS} s"
        if done.returncode not in GOOD_CODES:
            return f"ends with code {done.returncode}: {(done.stdout + done.stderr).strip()[-600:]}"
        return ""

