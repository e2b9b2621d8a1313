"""What can be said without any server: that nothing of a rule is lost by the faster clock, and nothing left running.

Each function is one check; its name is what it proves.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import scale
import yaml
from chart import ADMIN_RULES, RULES, Failure, bound
from pod import wait_for

FILES = (RULES, ADMIN_RULES)


def _rules(text: str) -> list[dict]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def by_the_factor_1_the_rules_are_those_that_are_shipped() -> None:
    for file in FILES:
        text = file.read_text()
        if scale.scaled(text, 1) != text:
            raise Failure(f"{file.name} changes")
        if scale.of_release(scale.scaled(text, 1), "penstock") != scale.of_release(text, "penstock"):
            raise Failure(f"{file.name} changes for a release")


def every_duration_of_a_rule_is_divided_and_nothing_else_changes() -> None:
    factor = 20
    for file in FILES:
        text = file.read_text()
        for before, after in zip(_rules(text), _rules(scale.scaled(text, factor)), strict=True):
            _is_divided(before.get("for", "0s"), after.get("for", "0s"), factor)
            old, new = scale.DURATION.findall(before["expr"]), scale.DURATION.findall(after["expr"])
            if len(old) != len(new):
                raise Failure(f"{len(old)} durations become {len(new)} in {before['expr']}")
            for one, other in zip(old, new, strict=True):
                _is_divided(one, other, factor)
            rest = [scale.DURATION.sub("", rule["expr"]) for rule in (before, after)]
            kept = [{key: rule[key] for key in rule if key not in ("expr", "for")} for rule in (before, after)]
            if rest[0] != rest[1] or kept[0] != kept[1]:
                raise Failure(f"more than durations change: {before} {after}")


def _is_divided(old: str, new: str, factor: float) -> None:
    if scale.milliseconds(old) != round(scale.milliseconds(new) * factor):
        raise Failure(f"{old} becomes {new}, which is not a {factor}th")


def each_job_becomes_that_of_the_release() -> None:
    text = "".join(scale.made([file], "one", 1) for file in FILES)
    left = re.findall(r"job: penstock\b|job=.?\"penstock", text)
    if left or 'job="one"' not in text or 'job="one-admin"' not in text:
        raise Failure(f"still another job: {left}")


def a_duration_that_is_not_divided_is_found() -> None:
    """That the check checks: a rule that writes one where the transformation does not look."""
    text = "groups:\n  - name: a\n    rules:\n      - alert: A\n        expr: x > 5m\n        for: 2m\n"
    (before,), (after,) = _rules(text), _rules(scale.scaled(text, 20))
    try:
        for one, other in zip(
            scale.DURATION.findall(before["expr"]), scale.DURATION.findall(after["expr"]), strict=True
        ):
            _is_divided(one, other, 20)
    except Failure:
        return
    raise Failure("it was taken")


def what_was_begun_ends_with_whoever_began_it() -> None:
    """Even if that is killed and can end nothing."""
    inner = bound("sh", "-c", "echo begun; exec sleep 60")
    begin = f"one = subprocess.Popen({inner!r}, stdout=subprocess.PIPE); one.stdout.readline()"
    outer = ["-c", f"import subprocess; {begin}; print(one.pid, flush=True); one.wait()"]
    with subprocess.Popen([sys.executable, *outer], stdout=subprocess.PIPE, text=True) as process:
        begun = Path("/proc") / process.stdout.readline().strip() / "stat"
        process.kill()
        wait_for("the end of what it began", lambda: _is_dead(begun), 10)


def _is_dead(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


ALL = (
    what_was_begun_ends_with_whoever_began_it,
    by_the_factor_1_the_rules_are_those_that_are_shipped,
    every_duration_of_a_rule_is_divided_and_nothing_else_changes,
    each_job_becomes_that_of_the_release,
    a_duration_that_is_not_divided_is_found,
)
