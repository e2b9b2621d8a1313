"""The runbooks: one for each alert, of one shape, with commands and expressions that exist.

Knows nothing of whether the advice is good; `dev/faults` carries out the steps. Commands are looked up in the binary's
own help, expressions are parsed by promtool and their metrics looked up in the catalogue.
"""

from __future__ import annotations

import argparse
import functools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import chart
import rarer_acts
import rarer_replicas
import rules
import stories
from chart import Failure

FOLDER = chart.ROOT / "docs" / "runbooks"
INDEX = FOLDER / "README.md"
SECTIONS = ["What it means for the data", "Find the cause", "What to do", "It is over when", "Do not"]
LINES_MAX = 50
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(penstock [^`]*)`")
METRIC_INLINE = re.compile(r"`(penstock_[^`]*)`")
ROW = re.compile(r"^\| \[(\w+)\]\(\1\.md\) \| \w+ \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
NOT_TRIED = "not tried: "
# What `live` says of an alert, by its name in that file.
LIVE, LIVE_FILE = "pod", Path(__file__).resolve().parent / "live.py"
RECORDED = re.compile(r"penstock:\w+:\w+")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def pages() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.md")) if path != INDEX}


def blocks(language: str, path: Path) -> list[str]:
    found = [body for word, body in BLOCK.findall(path.read_text()) if word == language]
    return [line.strip() for body in found for line in body.splitlines() if line.strip()]


def every_alert_has_one_and_each_has_an_alert() -> None:
    alerts = rules.alerts()
    if set(pages()) != set(alerts):
        raise Failure(f"the rules and docs/runbooks differ in {sorted(set(pages()) ^ set(alerts))}")
    for name, rule in alerts.items():
        if rule["annotations"]["runbook_url"] != f"docs/runbooks/{name}.md":
            raise Failure(f"{name} names another runbook: {rule['annotations']['runbook_url']}")


def each_has_the_same_shape() -> None:
    for name, path in pages().items():
        text = path.read_text()
        if not text.startswith(f"# {name}\n") or re.findall(r"^## (.*)$", text, re.MULTILINE) != SECTIONS:
            raise Failure(f"{path.name} has not the sections {SECTIONS}")
        cause = text.partition(f"## {SECTIONS[1]}\n")[2].partition("\n## ")[0]
        if re.findall(r"^(\d)\. ", cause, re.MULTILINE) != ["1", "2", "3"]:
            raise Failure(f"{path.name} has not three steps to the cause")
        if len(text.splitlines()) > LINES_MAX:
            raise Failure(f"{path.name} is longer than a screen")


def the_index_lists_each() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", INDEX.read_text(), re.MULTILINE)
    wanted = [(name, rule["labels"]["severity"]) for name, rule in rules.alerts().items()]
    if listed != wanted:
        raise Failure(f"the index differs from the rules in {sorted(set(listed) ^ set(wanted)) or 'the order'}")


def told_by() -> dict[str, set[str]]:
    """Alerts by what demands that they fire: a story of dev/faults, or the pod of `live`."""
    found = {LIVE: {name for name in rules.alerts() if f'"{name}"' in LIVE_FILE.read_text()}}
    for act in stories.ACTS + rarer_acts.ACTS + rarer_replicas.ACTS:
        for story in act:
            found[story.__name__.lower()] = set(getattr(story, "alerts", ()) or (story.alert,))
    return found


def the_index_says_how_each_is_tried() -> None:
    """By every story that demands it and by no other, or why it is not."""
    wanted: dict[str, set[str]] = {}
    for story, alerts in told_by().items():
        for alert in alerts:
            wanted.setdefault(alert, set()).add(story)
    said = dict(ROW.findall(INDEX.read_text()))
    for alert in rules.alerts():
        text = said.get(alert, "")
        demanding = wanted.get(alert, set())
        names = set() if text.startswith(NOT_TRIED) else set(re.findall(r"`(\w+)`", text))
        if names != demanding:
            raise Failure(f"the index says of {alert} {text or 'nothing'}, its stories are {sorted(demanding)}")
        if not names and len(text) <= len(NOT_TRIED):
            raise Failure(f"{alert} is not tried, and the index does not say why")


def no_link_leads_nowhere() -> None:
    for path in [INDEX, *pages().values()]:
        for target in LINK.findall(path.read_text()):
            if not (FOLDER / target).exists():
                raise Failure(f"{path.name} leads to {target}")


def every_expression_parses_and_names_what_exists() -> None:
    found = [(path, expression) for path in pages().values() for expression in blocks("promql", path)]
    for path in pages().values():
        found += [(path, text) for text in METRIC_INLINE.findall(path.read_text())]
    chart.parse_promql([expression for _, expression in found])
    for path, expression in found:
        rules.are_declared(path.name, [expression])


def every_recorded_series_is_one() -> None:
    recorded = {rule["record"] for group in rules.groups() for rule in group["rules"] if "record" in rule}
    for path in pages().values():
        unknown = set(RECORDED.findall(path.read_text())) - recorded
        if unknown:
            raise Failure(f"{path.name} asks for {sorted(unknown)}, which no rule records")


@functools.cache
def _help(penstock: Path, words: tuple[str, ...]) -> str:
    return chart.must(penstock, *words, "--help")


def every_command_exists(penstock: Path) -> None:
    count = 0
    for path in [INDEX, *pages().values()]:
        told = [line for line in blocks("sh", path) if line.startswith("penstock ")]
        told += [re.sub(r"\s+", " ", text) for text in INLINE.findall(path.read_text())]
        for line in told:
            exists(penstock, path.name, shlex.split(line)[1:])
            count += 1
    if count == 0:
        raise Failure("no runbook has a command")


def exists(penstock: Path, page: str, words: list[str]) -> None:
    """The subcommand is one, and has each option."""
    known: tuple[str, ...] = ()
    for word in words:
        listed = re.findall(r"^  ([a-z-]+) ", _help(penstock, known).partition("Commands:")[2], re.MULTILINE)
        if not listed:
            break
        if word not in listed:
            raise Failure(f"{page}: penstock {' '.join(known)} has no command {word}")
        known = (*known, word)
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        if not re.search(rf"{re.escape(option)}\b", _help(penstock, known)):
            raise Failure(f"{page}: penstock {' '.join(known)} has no option {option}")


def a_wrong_command_is_found(penstock: Path) -> None:
    for words in (["dlq", "group"], ["ledgers"], ["dlq", "groups", "--sinse", "2h"]):
        try:
            exists(penstock, "a page", words)
        except Failure:
            continue
        raise Failure(f"this was taken: {words}")


def checks(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], None]]]:
    for check in (
        every_alert_has_one_and_each_has_an_alert,
        each_has_the_same_shape,
        the_index_lists_each,
        the_index_says_how_each_is_tried,
        no_link_leads_nowhere,
        every_expression_parses_and_names_what_exists,
        every_recorded_series_is_one,
    ):
        yield check.__name__.replace("_", " "), check
    for check in (every_command_exists, a_wrong_command_is_found):
        yield check.__name__.replace("_", " "), lambda check=check: check(options.penstock)
