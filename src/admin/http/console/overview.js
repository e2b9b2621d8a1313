// What is looked at first: the verdict, the problems, the totals and the flow. Draws the state that it is given; asks for
// nothing itself.

import { ask } from "./api.js";
import { attribute, el, isHeld, keyed, roving, say, show, svg, text, width } from "./dom.js";
import { ago, bytes, clock, count, millis, rate, share, span, whole } from "./format.js";
import { copies, spark } from "./ui.js";

const LEVELS = {
  healthy: ["Healthy", "M5 12.5l4.5 4.5L19 7.5"],
  attention: ["Attention", "M12 5v9M12 18v1"],
  paused: ["Paused", "M9 6v12M15 6v12"],
  failing: ["Failing", "M7 7l10 10M17 7L7 17"],
  unknown: ["Unknown", "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18v1"],
};
const SEVERITIES = { critical: "failing", warning: "attention", info: "unknown" };

const icon = () =>
  svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" },
    svg("path", { "stroke-width": "2.6", fill: "none" }),
  );
const draw = (node, level) => attribute(node.firstElementChild, "d", (LEVELS[level] ?? LEVELS.unknown)[1]);

/** Only addresses of the web, and places of this page: a link never runs anything. */
export function safe(address) {
  return typeof address === "string" && /^https?:\/\//i.test(address) ? address : null;
}

function runbook(node, name, base) {
  const address = name && safe(base) ? `${base.replace(/\/+$/, "")}/${encodeURIComponent(name)}.md` : null;
  const key = `${name}|${address}`;
  if (node.__key === key) return;
  node.__key = key;
  node.replaceChildren();
  if (!name) return;
  if (address)
    node.append(el("a", { href: address, target: "_blank", rel: "noopener noreferrer", text: `Runbook ${name}` }));
  else node.append("Runbook ", el("code", { text: `docs/runbooks/${name}.md` }));
}

/** The sentence that answers whether anything is to be done. */
export function verdict() {
  const mark = icon();
  const level = el("span", { class: "level" });
  const sentence = el("h1", { id: "verdict-sentence" });
  const stale = el("p", { class: "asof", hidden: true });
  const since = el("p", { class: "since soft" });
  const todo = el("p", { class: "todo" });
  const book = el("p", { class: "book" });
  const node = el(
    "section",
    { id: "verdict", class: "verdict", "aria-labelledby": "verdict-sentence", tabindex: "-1" },
    mark,
    el("div", {}, stale, level, sentence, since, todo, book),
  );
  let said = { level: null, at: 0 };
  node.follow = (s, now) => {
    const v = s.verdict ?? { level: "unknown", sentence: "Unknown: the admin process tells no verdict" };
    attribute(node, "data-level", LEVELS[v.level] ? v.level : "unknown");
    draw(mark, v.level);
    const word = (LEVELS[v.level] ?? LEVELS.unknown)[0];
    // The sentence begins with the same word as a rule, and it is not said twice.
    const repeats = v.sentence?.split(":")[0].toLowerCase().includes(word.toLowerCase());
    text(level, word);
    attribute(level, "class", repeats ? "level unseen" : "level");
    text(sentence, v.sentence);
    text(since, v.since ? `since ${clock(v.since, now)}, ${span((now - millis(v.since)) / 1000)}` : "");
    text(todo, v.what_to_do ? `What to do: ${v.what_to_do}` : "");
    show(todo, Boolean(v.what_to_do));
    runbook(book, v.runbook, s.runbook_url);
    document.title = `${v.level === "healthy" ? "" : `${word}: `}${s.name ?? ""} penstock`.trim();
    // Numbers in it change each second; who listens is told of another level at once, of another sentence sparingly.
    if (v.level !== said.level || (v.sentence !== said.sentence && Date.now() - said.at > 60_000)) {
      said = { level: v.level, sentence: v.sentence, at: Date.now() };
      say(repeats ? v.sentence : `${word}. ${v.sentence}`);
    }
  };
  node.age = (seconds, at) => {
    show(stale, seconds !== null);
    if (seconds !== null) text(stale, `As it was at ${clock(at)}, ${span(Math.floor(seconds))} ago`);
  };
  return node;
}

/** Problems as sentences. `open(link)` follows a link to a place of this page. */
export function problems(open) {
  const list = el("ul", { class: "problems" });
  const nothing = el("p", { class: "nothing soft", text: "No problem is known." });
  const body = el("div", {}, list, nothing);
  const make = (problem) => {
    const mark = icon();
    const word = el("span", { class: "word" });
    const sentence = el("span", { class: "sentence" });
    const since = el("span", { class: "soft" });
    const todo = el("p", { class: "todo" });
    const book = el("span");
    const go = el("a", { hidden: true });
    go.addEventListener("click", (event) => {
      const target = go.getAttribute("href");
      if (!target?.startsWith("#")) return;
      event.preventDefault();
      open(target);
    });
    const row = el(
      "li",
      { tabindex: "0" },
      mark,
      el("div", {}, el("p", {}, word, " ", sentence, " ", since), todo, el("p", { class: "links" }, go, " ", book)),
    );
    copies(row, `.problems[] | select(.id == ${JSON.stringify(problem.id)})`);
    row.follow = (p, now = row.now) => {
      attribute(row, "data-level", SEVERITIES[p.severity] ?? "unknown");
      draw(mark, SEVERITIES[p.severity]);
      text(word, p.severity);
      text(sentence, p.sentence);
      text(since, p.since ? `since ${clock(p.since)} (${ago(p.since, list.now)})` : "");
      text(todo, p.what_to_do ?? "");
      show(todo, Boolean(p.what_to_do));
      runbook(book, p.runbook, list.base);
      const outside = safe(p.link);
      const inside =
        typeof p.link === "string" && /^#?[a-z-]+(\?[^#]*)?$/.test(p.link) ? `#${p.link.replace(/^#/, "")}` : null;
      attribute(go, "href", outside ?? inside);
      text(go, outside ? "More" : `Open ${(inside ?? "").slice(1).split("?")[0].replaceAll("-", " ")}`);
      show(go, Boolean(outside ?? inside));
    };
    return row;
  };
  body.follow = (s, now) => {
    const all = s.problems ?? [];
    list.now = now;
    list.base = s.runbook_url;
    keyed(list, all, (problem) => problem.id, make, isHeld(list));
    show(list, all.length > 0);
    show(nothing, all.length === 0);
  };
  return body;
}

const TILES = [
  ["In", "in_records_per_s", rate, "in", (s) => `${bytes(s.totals.in_bytes_per_s)}/s`],
  ["Out", "out_rows_per_s", rate, "out", () => "rows"],
  ["End to end, p99", "e2e_p99_s", span, "p99_s", () => "publish to queryable"],
  ["Worst lag", "lag_s", span, "lag_s", (s) => `${whole(s.totals.lag_records)} records`],
  [
    "Dead letters",
    "dead_letters_per_min",
    (value) => (typeof value === "number" ? `${count(value)}/min` : "–"),
    null,
    (s) => `${whole(s.totals.dead_letters_total)} in all`,
  ],
  ["Fresh", "freshness_good_ratio", (value) => share(value, 1), null, () => "of the last 15 minutes"],
  ["Lost", "lost_records", whole, null, () => "records"],
];

/** The few numbers of the whole, each with its last quarter of an hour where that is kept. */
export function totals() {
  const node = el("div", { class: "tiles" });
  const parts = TILES.map(([title, key, format, series, beside], index) => {
    const number = copies(
      el("button", { type: "button", class: "figure", "data-row": "", tabindex: index === 0 ? "0" : "-1" }),
      `.totals.${key}`,
    );
    const value = el("span", { class: "value" });
    number.append(el("span", { class: "label", text: title }), value);
    const line = series && spark(title);
    const side = el("span", { class: "beside soft" });
    const tile = el("div", { class: "tile", "data-key": key }, number, side, line);
    node.append(tile);
    return (s) => {
      const known = s.totals?.[key];
      text(value, format(known));
      text(side, s.totals ? beside(s) : "");
      attribute(tile, "data-bad", (key === "lost_records" && known > 0) || null);
      line?.follow(
        (s.history ?? []).map((point) => point[series]),
        format,
      );
    };
  });
  roving(node);
  node.addEventListener("keydown", (event) => {
    const next = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    event.target.closest?.(".tile")?.[next]?.querySelector("button").focus();
  });
  node.follow = (s) => parts.forEach((part) => part(s));
  return node;
}

const STAGES = {
  fetch: "takes from Kafka",
  decode: "checks and reads",
  batch: "collects",
  insert: "writes to ClickHouse",
  commit: "commits offsets",
};

/** Where the time goes, and what is full. */
export function flow() {
  const stages = el("ol", { class: "stages" });
  const memory = gauge("Memory");
  const gates = el("ul", { class: "gates" });
  const flushes = el("ul", { class: "flushes" });
  const beside = el(
    "div",
    { class: "beside-flow" },
    memory,
    el("div", {}, el("h3", { text: "Endpoints" }), gates),
    el("div", {}, el("h3", { text: "What closes batches" }), flushes),
  );
  const node = el("div", {}, stages, beside);
  const stage = (item) => {
    const [name, does, busy, mark] = ["name", "soft does", "busy", "mark"].map((kind) => el("span", { class: kind }));
    const bar = el("span", { class: "fill" });
    const row = el(
      "li",
      {},
      el("span", { class: "top" }, name, busy),
      el("span", { class: "track", "aria-hidden": "true" }, bar),
      el("span", { class: "bottom" }, does, mark),
    );
    copies(busy, `.flow.stages[] | select(.name == ${JSON.stringify(item.name)})`).classList.add("copy");
    row.follow = (now) => {
      text(name, now.name);
      text(does, STAGES[now.name] ?? "");
      text(busy, typeof now.busy_ratio === "number" ? `${share(now.busy_ratio)} busy` : "not known");
      text(mark, stages.bottleneck === now.name ? "bottleneck" : "");
      attribute(row, "data-bottleneck", stages.bottleneck === now.name || null);
      width(bar, now.busy_ratio);
    };
    return row;
  };
  const gate = () => {
    const [name, state] = [el("code"), el("span", { class: "state" })];
    const row = el("li", {}, state, " ", name);
    row.follow = (now) => {
      text(name, now.endpoint);
      text(state, now.state);
      attribute(state, "data-state", { open: "good", limited: "warn", shut: "bad" }[now.state]);
    };
    return row;
  };
  const flush = () => {
    const row = el("li");
    row.follow = (now) => text(row, `${now.trigger} ${share(now.ratio)}`);
    return row;
  };
  node.follow = (s) => {
    const f = s.flow ?? {};
    stages.bottleneck = f.bottleneck;
    keyed(stages, f.stages ?? [], (item) => item.name, stage);
    memory.follow(f.memory?.used_bytes, f.memory?.budget_bytes);
    keyed(gates, f.gates ?? [], (item) => item.endpoint, gate);
    keyed(flushes, f.flushes ?? [], (item) => item.trigger, flush);
  };
  return node;
}

function gauge(title) {
  const value = copies(el("span", { class: "copy" }), ".flow.memory");
  const bar = el("span", { class: "fill" });
  const node = el(
    "div",
    { class: "gauge" },
    el("h3", { text: title }),
    el("span", { class: "track", "aria-hidden": "true" }, bar),
    value,
  );
  node.follow = (used, budget) => {
    const ratio = used / budget;
    text(
      value,
      `${bytes(used)} of ${bytes(budget)}${Number.isFinite(ratio) ? `, ${share(ratio)}` : ""}${ratio > 0.9 ? ": nearly full" : ""}`,
    );
    attribute(node, "data-full", ratio > 0.9 || null);
    width(bar, ratio);
  };
  return node;
}

/** Whose token it is and until when; nothing where the process does not say. */
export const whoAmI = () => ask("/v1/self").catch(() => null);
