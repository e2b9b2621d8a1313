"""The shipped rules, for one release and for a clock that runs faster.

Every duration, in ranges, offsets, `for` and `interval`, is divided by one factor; with the factor 1 the text is the
one that is shipped, byte for byte. Numbers without a unit are values, not durations, and stay: a lag of 120 s is 120 s.
Knows nothing of what any rule means.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
TOKEN = r"\d+(?:ms|[smhdw])"
DURATION = re.compile(rf"(?<![\w.]){TOKEN}(?!\w)")
# Where a duration is one: a range with or without a resolution, an offset, and two keys of a rule.
PLACES = (
    re.compile(rf"(?<=\[){TOKEN}(?::(?:{TOKEN})?)?(?=\])"),
    re.compile(rf"(?<=\boffset ){TOKEN}"),
    re.compile(rf"(?<=^        for: ){TOKEN}$", re.MULTILINE),
    re.compile(rf"(?<=^    interval: ){TOKEN}$", re.MULTILINE),
)


def milliseconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(ms|[smhdw])", duration).groups()
    return int(number) * MILLISECONDS[unit]


def shorter(duration: str, factor: float) -> str:
    """As it is written where nothing changes; otherwise in milliseconds, of which one is left at least."""
    if factor == 1:
        return duration
    return f"{max(1, round(milliseconds(duration) / factor))}ms"


def scaled(text: str, factor: float) -> str:
    for place in PLACES:
        text = place.sub(lambda found: DURATION.sub(lambda one: shorter(one[0], factor), found[0]), text)
    return text


def of_release(text: str, job: str) -> str:
    """As the chart does it: the jobs of this release in place of `penstock` and `penstock-admin`."""
    for part, own in (("penstock-admin", f"{job}-admin"), ("penstock", job)):
        text = text.replace(f'job="{part}"', f'job="{own}"')
        text = text.replace(f"{{job: {part}}}", f'{{job: "{own}"}}').replace(f"{{job: {part},", f'{{job: "{own}",')
    return text


def made(files: list[Path], job: str, factor: float) -> str:
    """What Prometheus reads for one release."""
    groups = []
    for file in files:
        groups += yaml.safe_load(scaled(of_release(file.read_text(), job), factor))["groups"]
    for group in groups:
        group["name"] = f"{job}/{group['name']}"
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=200)
