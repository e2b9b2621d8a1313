"""The results as files: `results.json`, the plots, and the generated section of `docs/benchmarks.md`.

Refuses to judge. Only what stands between the two markers of the document is replaced.
"""

from __future__ import annotations

import json
from pathlib import Path

from . import plot
from .compare import best_rate, least_cpu
from .engine import SETTINGS
from .goals import HOSTED_MB_PER_S, spread
from .growth import KINDS
from .servers import ROOT, Failure, target

DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured by make bench: begin -->", "<!-- measured by make bench: end -->"
SYSTEMS = {
    "penstock": "penstock, exactly_once",
    "engine": "Kafka engine, 2 consumers",
    "engine, 1 consumer": "Kafka engine, 1 consumer",
}
GROWTH = {
    "partitions": "partitions", "tables": "tables, 100 partitions in all", "members": "members of one process",
    "event": "size of an event", "compression": "compression of the topic",
}


def results_path() -> Path:
    return target() / "bench" / "results.json"


def write(results: dict, goals: list[dict]) -> Path:
    """Everything; into the documentation only what a whole run has measured."""
    path = results_path()
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"goals": goals, **results}, indent=1) + "\n")
    text = section(results, goals)
    (folder / "section.md").write_text(text)
    plots(folder, results)
    if results["whole"]:
        plots(ROOT / "docs" / "bench", results)
        document(text)
    return path


def document(text: str) -> None:
    written = DOCUMENT.read_text()
    head, begin, rest = written.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise Failure(f"{DOCUMENT} has lost its markers\nhint: put back {BEGIN} and {END}")
    DOCUMENT.write_text(f"{head}{BEGIN}\n{text}{END}{tail}")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def section(results: dict, goals: list[dict]) -> str:
    machine = results["machine"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, {machine['kernel']}; Rust {machine['rust']}, ClickHouse "
        f"{machine['clickhouse']}, Kafka {machine['kafka']}. Taken on {results['date']}, in {results['seconds'] / 60:.0f} minutes; others "
        f"used {results['cores_others']} cores at the same time (median).\n\n"
        + goals_table(goals)
        + compared(results["compare"])
        + fresh(results["freshness"])
        + grown(results["growth"], results["memory"])
    )


def goals_table(goals: list[dict]) -> str:
    verdict = {True: "met", False: "**missed**", None: "not measured"}
    rows = [
        [goal["name"], "" if goal["value"] is None else f"{goal['value']:,.4g}", goal["bar"], verdict[goal["met"]]] for goal in goals
    ]
    return "### Goals\n\n" + table(["", "measured", "goal", ""], rows)


def compared(found: dict) -> str:
    rows = []
    for name, title in SYSTEMS.items():
        if name not in found:
            continue
        results = found[name]
        best = max(results, key=lambda one: one["rows_per_s"])
        rows.append([
            title, f"{best['rows_per_s']:,}", f"{best_rate(results):,}", f"{best_rate(results) * best['event_bytes'] / 1e6:.1f}",
            "" if name.startswith("engine") else spread(results, "penstock"), *(spread(results, kind) for kind in ("clickhouse", "kafka")),
            ", ".join(str(one["rss_peak_mib"]) for one in results if "rss_peak_mib" in one), ", ".join(str(one["parts_made"]) for one in results),
        ])
    bare = least_cpu(found["consume"])
    count, size = found["penstock"][0]["rows"], found["penstock"][0]["event_bytes"]
    settings = ", ".join(f"`{name} = {value}`" for name, value in SETTINGS.items())
    return (
        f"### Against ClickHouse's own Kafka engine\n\n{count:,} events of {size} bytes in 16 partitions, {len(found['penstock'])} "
        "rounds in swapped order, the best of each. Rows are counted as a reader sees them, and timed from the start, or from when the first "
        "message is read (\"once joined\"), to the last row; CPU of the servers is up to the end of the last merge.\n\n"
        + table(
            ["", "rows/s", "once joined", "MB/s", "penstock, ns per event", "ClickHouse", "Kafka", "peak RSS, MiB", "parts made"],
            rows,
        )
        + f"The bare consume loop (`benches/consume.rs`) takes {bare:,} ns per message. The engine has {settings}; it does not validate "
        "and delivers at least once.\n\n![CPU per event](bench/cpu.svg)\n\n![rows visible over time](bench/rows.svg)\n\n"
    )


def fresh(found: dict) -> str:
    rows = [
        [name, f"{one['rate_reached']:,}", *(f"{one[key]:,}" for key in ("p50_ms", "p99_ms", "p99.9_ms", "max_ms")), f"{one['events']:,}"]
        for name, one in found.items()
    ]
    rate, polls = found["default"]["rate"], max(one["ms_between_polls"] for one in found.values())
    late = [name for name, one in found.items() if one["rate_reached"] < 0.97 * rate]
    short = (
        f"In the row {' and in '.join(late)} the producer did not keep that rate: the cores of this machine, which all of them "
        "share, were used up, and what is shown is what an overload costs.\n\n"
    )
    return (
        f"### Freshness\n\nFrom Kafka's timestamp of a message to the first answer that has its row, at {rate:,} events a second, "
        f"half of what became visible a second while a producer filled the topic as fast as it could and a reader asked all the time, into {found['default']['partitions']} partitions. The table was asked every {polls} ms, which "
        "is in the figures.\n\n"
        + table(["batch age", "events/s", "p50, ms", "p99, ms", "p99.9, ms", "most, ms", "events"], rows)
        + (short if late else "")
        + "![freshness](bench/freshness.svg)\n\n"
    )


def grown(found: dict, memory: dict) -> str:
    rows = []
    for kind in KINDS:
        for step in found[kind]:
            rows.append([
                f"{GROWTH[kind]}: {step['label']}", f"{step['rows']:,}", f"{step['event_bytes']:,.0f}", f"{step['cpu_ns_per_event']:,}",
                "" if kind == "event" else f"{step['ratio']:.2f}", f"{step['json_mb_per_s_and_core']:,.0f}",
                f"{step['rows_per_s']:,}", f"{step['rss_peak_mib']:.0f}",
            ])
    times = len(found["partitions"][0]["cpu_ns_all_rounds"])
    return (
        f"### Growth\n\nPenstock's CPU per event, the least of {times} round{'s' if times > 1 else ''}, and its ratio to the first of each "
        "kind.\n\n"
        + table(["", "events", "bytes", "ns per event", "ratio", "JSON MB/s per core", "rows/s", "peak RSS, MiB"], rows)
        + f"With `memory.budget: {memory['budget_mib']}MiB`, `kafka.prefetch: 64MiB` and `batch.bytes_max: 16MiB` the peak over a backlog "
        f"of {memory['rows']:,} events in {memory['partitions']} partitions was {memory['rss_peak_mib']} MiB; the limit is {memory['limit_mib']} MiB. "
        "That it stays so for an hour is not measured here.\n\n![growth](bench/growth.svg)\n\n"
        "![JSON per second and core](bench/bytes.svg)\n\n"
    )


def plots(folder: Path, results: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = results["compare"]
    stacks = [("bare consume loop", {"penstock": least_cpu(found["consume"])})]
    timelines = {}
    for name, title in SYSTEMS.items():
        if name in found:
            best = min(found[name], key=lambda one: sum(one["cpu_ns_per_event"].values()))
            stacks.append((title, best["cpu_ns_per_event"]))
            timelines[title] = [(at, rows / 1000) for at, rows in best["samples"]]
    plot.bars(folder / "cpu.svg", "CPU per event by process", "ns", stacks)
    plot.lines(folder / "rows.svg", "Rows that a reader sees", ("seconds", "thousands of rows"), timelines)
    plot.lines(
        folder / "freshness.svg", "From produced to visible", ("percent of events", "ms"),
        {f"batch age: {name}": one["curve"] for name, one in results["freshness"].items()},
        {1: "1", 25: "25", 50: "50", 75: "75", 100: "100"},
    )
    plot.panels(
        folder / "growth.svg", "Penstock's CPU per event; above each bar its ratio to the first", "ns",
        [
            (GROWTH[kind], [(s["label"], s["cpu_ns_per_event"], f"{s['ratio']:.2f}") for s in results["growth"][kind]])
            for kind in KINDS if kind != "event"
        ],
    )
    steps = [(s["label"], {"JSON": s["json_mb_per_s_and_core"]}) for s in results["growth"]["event"]]
    peer = ("ClickPipes, as published", {"JSON": HOSTED_MB_PER_S})
    plot.bars(folder / "bytes.svg", "JSON per second and core of penstock", "MB/s", [*steps, peer])
