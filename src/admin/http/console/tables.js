// The tables of the state: partitions, tables of ClickHouse, pods, and the timeline. Draws what it is given.

import { tableActions } from "./care.js";
import { attribute, el, keyed, show, text } from "./dom.js";
import { clock, count, rate, share, span, whole } from "./format.js";
import { table } from "./ui.js";

const quoted = (value) => JSON.stringify(value);

export function partitions() {
  const filter = el("input", {
    type: "search",
    id: "partition-filter",
    "aria-label": "Filter by topic or pod",
    placeholder: "topic or pod",
    autocomplete: "off",
    spellcheck: "false",
  });
  const shown = el("span", { class: "soft" });
  const grid = table({
    caption: "Partitions, the oldest lag first",
    style: "fixed",
    reuses: true,
    keyOf: (p) => `${p.topic}/${p.partition}`,
    jq: (p) => `.partitions[] | select(.topic == ${quoted(p.topic)} and .partition == ${p.partition})`,
    empty: () => (filter.value ? "No partition fits the filter." : "No partition is owned by a pod."),
    sort: { by: 2, down: true },
    rowClass: (p) => (p.paused ? "paused" : null),
    columns: [
      { title: "Topic", head: true, of: (p) => p.topic, sort: (p) => p.topic },
      { title: "Part.", num: true, of: (p) => String(p.partition), sort: (p) => p.partition },
      { title: "Behind", num: true, of: (p) => span(p.lag_s), sort: (p) => p.lag_s },
      { title: "Records", num: true, of: (p) => whole(p.lag_records), sort: (p) => p.lag_records },
      {
        title: "Caught up in",
        num: true,
        of: (p) => (p.lag_records === 0 ? "now" : typeof p.catch_up_s === "number" ? span(p.catch_up_s) : "–"),
        sort: (p) => p.catch_up_s,
      },
      { title: "Pod", of: (p) => p.pod ?? "nobody", sort: (p) => p.pod, state: (p) => (p.pod ? null : "bad") },
      {
        title: "Paused",
        of: (p) => (p.paused === true ? "paused" : p.paused || ""),
        state: (p) => (p.paused ? "warn" : null),
      },
    ],
  });
  const node = el("div", {}, el("p", { class: "filter" }, filter, shown), grid);
  let last = null;
  filter.addEventListener("input", () => last && node.follow(last));
  node.follow = (s) => {
    last = s;
    const all = s.partitions ?? [];
    const wanted = filter.value.trim().toLowerCase();
    const fitting = wanted
      ? all.filter((p) => `${p.topic}/${p.partition} ${p.pod ?? ""}`.toLowerCase().includes(wanted))
      : all;
    grid.follow(fitting);
    const total = s.partitions_total ?? all.length;
    text(
      shown,
      total > all.length
        ? `the ${all.length} with the oldest lag, of ${whole(total)}`
        : `${whole(fitting.length)} of ${whole(total)}`,
    );
  };
  return node;
}

export function tablesOfClickHouse() {
  const grid = table({
    caption: "Tables of ClickHouse",
    keyOf: (t) => t.table,
    jq: (t) => `.tables[] | select(.table == ${quoted(t.table)})`,
    empty: "No table has been written to yet.",
    sort: { by: 0 },
    columns: [
      { title: "Table", head: true, of: (t) => t.table, sort: (t) => t.table },
      { title: "Rows", num: true, of: (t) => rate(t.rows_per_s), sort: (t) => t.rows_per_s },
      { title: "Batch", num: true, of: (t) => count(t.batch_rows), sort: (t) => t.batch_rows },
      { title: "Insert p99", num: true, of: (t) => span(t.insert_p99_s), sort: (t) => t.insert_p99_s },
      {
        title: "Parts of limit",
        num: true,
        of: parts,
        sort: (t) => t.parts / t.parts_limit,
        state: (t) => ({ 1: "warn", 2: "bad" })[pressure(t)],
      },
      { title: "Delivery", of: (t) => t.delivery ?? "–" },
      { title: "Do", draw: tableActions },
    ],
  });
  const node = el("div", {}, grid);
  node.follow = (s) => grid.follow(s.tables ?? []);
  return node;
}

const pressure = (t) => (t.parts / t.parts_limit > 0.85 ? 2 : t.parts / t.parts_limit > 0.5 ? 1 : 0);
function parts(t) {
  const ratio = t.parts_limit ? ` (${share(t.parts / t.parts_limit)}${["", " !", " !!"][pressure(t)]})` : "";
  return `${whole(t.parts)} / ${whole(t.parts_limit)}${ratio}`;
}

export function pods() {
  const grid = table({
    caption: "Pods of the line",
    keyOf: (p) => p.address,
    jq: (p) => `.pods[] | select(.address == ${quoted(p.address)})`,
    empty: "No pod is known: see admin.console in the configuration.",
    sort: { by: 0 },
    rowClass: (p) => (p.reachable ? null : "gone"),
    columns: [
      { title: "Pod", head: true, of: (p) => p.address, sort: (p) => p.address },
      {
        title: "State",
        of: (p) => (p.reachable ? p.state : `gone, last seen ${span(p.age_s)} ago`),
        state: (p) => (p.reachable ? (p.state === "running" ? "good" : "warn") : "bad"),
      },
      { title: "Says", of: (p) => p.sentence ?? "" },
      { title: "Version", of: (p) => p.version ?? "–" },
      { title: "In", num: true, of: (p) => rate(p.in_records_per_s), sort: (p) => p.in_records_per_s },
      { title: "Out", num: true, of: (p) => rate(p.out_rows_per_s), sort: (p) => p.out_rows_per_s },
      { title: "Behind", num: true, of: (p) => span(p.lag_s), sort: (p) => p.lag_s },
      { title: "Partitions", num: true, of: (p) => whole(p.partitions), sort: (p) => p.partitions },
    ],
  });
  const node = el("div", {}, grid);
  node.follow = (s) => grid.follow(s.pods ?? []);
  return node;
}

export function timeline() {
  const list = el("ol", { class: "timeline" });
  const nothing = el("p", { class: "nothing soft", text: "Nothing has happened since this process began." });
  const node = el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Timeline" }, list, nothing);
  const make = (entry) => {
    const at = el("time", { datetime: entry.at });
    const row = el(
      "li",
      { "data-kind": entry.kind },
      at,
      el("span", { class: "kind", text: entry.kind }),
      el("span", { text: entry.sentence }),
    );
    row.follow = (now) => text(at, clock(now.at, list.now));
    return row;
  };
  node.follow = (s, now) => {
    list.now = now;
    const seen = new Map();
    // Two entries of one moment are two entries.
    const keyOf = (entry) => {
      const key = `${entry.at}|${entry.kind}|${entry.sentence}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
      return `${key}|${seen.get(key)}`;
    };
    const all = (s.timeline ?? []).slice(0, 100);
    keyed(list, all, keyOf, make);
    show(nothing, all.length === 0);
    attribute(list, "hidden", all.length === 0);
  };
  return node;
}
