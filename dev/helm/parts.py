"""What panels are made of: their kinds, and the expressions that recur.

Knows nothing of what any dashboard shows.
"""

from __future__ import annotations

from grafana import Panel

RATE = "[$__rate_interval]"


def tile(title: str, *queries: tuple[str, str], width: int = 3, **more: object) -> Panel:
    return Panel("stat", title, queries, width=width, height=4, **more)


def lines(title: str, *queries: tuple[str, str], **more: object) -> Panel:
    return Panel("timeseries", title, queries, **more)


def quantile(part: float, metric: str, by: str = "", more: str = "") -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({part}, sum by ({grouped}) (rate(<{metric}_bucket{more}>{RATE})))"


def quantiles(metric: str, more: str = "") -> tuple[tuple[str, str], ...]:
    return tuple((quantile(part, metric, more=more), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99))


def mean(metric: str) -> str:
    return f"sum by (table) (rate(<{metric}_sum>{RATE})) / sum by (table) (rate(<{metric}_count>{RATE}))"


def rate(metric: str, by: str, word: str = "") -> tuple[str, str]:
    legend = " ".join([word, *(f"{{{{{label}}}}}" for label in by.split(", "))]).strip()
    return f"sum by ({by}) (rate(<{metric}>{RATE}))", legend
