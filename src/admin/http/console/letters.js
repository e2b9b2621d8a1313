// Dead letters: what is wrong with how many, which ones, what is in them. Reads only when asked, since each look reads
// the whole topic. Shows no value that somebody did not ask for with a reason.

import { ask } from "./api.js";
import { dialog, facts, field, line, reasonLine, refusal } from "./dialogs.js";
import { el, mayFocus, say, text } from "./dom.js";
import { clock, count, plural, whole } from "./format.js";
import { purgeDialog, replayDialog } from "./replay.js";
import { action, hindrance, table } from "./ui.js";

export const RIGHTS = {
  read: "dead_letter_read",
  bodies: "dead_letter_value",
  replay: "dead_letter_replay",
  purge: "dead_letter_purge",
};
const MASKED = "masked";
const LIMIT = 100;

export function address(path, parameters) {
  const query = new URLSearchParams(
    Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""),
  );
  return query.size ? `${path}?${query}` : path;
}

const source = (letter) => (letter.topic ? `${letter.topic}/${letter.partition ?? "?"}@${letter.offset ?? "?"}` : "–");
const plain = (value) =>
  value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 2);
const valueOf = (letter) => (letter.isMasked ? MASKED : plain(letter.payload));
export const taken = (answer) =>
  (answer.letters ?? []).map((letter) => ({ ...letter, isMasked: answer.masked !== false }));

export function letters() {
  const topic = line({ list: "letter-topics", placeholder: "all" });
  const topics = el("datalist", { id: "letter-topics" });
  const since = el(
    "select",
    {},
    [
      ["", "ever"],
      ["1h", "last hour"],
      ["1d", "last day"],
      ["7d", "last 7 days"],
    ].map(([value, label]) => el("option", { value, text: label })),
  );
  const summary = el("p", { class: "soft" });
  const status = el("p", { class: "soft", tabindex: "-1" });
  const found = el("div", { class: "found" });
  const look = action("Count by what is wrong", RIGHTS.read, () => groups(), { changes: false, style: "main" });
  const form = el(
    "form",
    {
      class: "row",
      onsubmit: (event) => {
        event.preventDefault();
        look.button.click();
      },
    },
    field("Topic", topic),
    field("Refused", since),
    topics,
    look,
  );
  const node = el("div", {}, summary, form, status, found);
  const list = el("div", { class: "letters" });
  const grid = groupTable((group, row) => showLetters(list, group, row, since.value), {
    filterSince: () => since.value,
  });

  async function groups() {
    text(status, "Reading the dead-letter topics …");
    found.replaceChildren();
    try {
      const answer = await ask(
        address("/v1/dead-letters/groups", { topic: topic.value.trim(), since: since.value, limit: 200 }),
      );
      const all = answer.groups ?? [];
      grid.follow(all);
      list.replaceChildren();
      found.replaceChildren(grid, list);
      const sentence = countedIn(answer, all);
      text(status, sentence);
      say(sentence);
      if (mayFocus(node)) grid.body.querySelector("[data-row]")?.focus();
    } catch (error) {
      text(status, "");
      refusal(found, error);
    }
  }

  node.follow = (s) => {
    const t = s.totals ?? {};
    const perMinute = t.dead_letters_per_min;
    const now = perMinute > 0 ? `${count(perMinute)} a minute now` : "none now";
    text(summary, `${whole(t.dead_letters_total)} dead letters since the pods began, ${now}.`);
    const names = [...new Set((s.partitions ?? []).map((p) => p.topic))].sort().slice(0, 200);
    const key = names.join("|");
    if (topics.__key !== key) {
      topics.__key = key;
      topics.replaceChildren(...names.map((name) => el("option", { value: name })));
    }
  };
  /** Comes from a problem: looks at once. */
  node.open = (parameters) => {
    topic.value = parameters.get("topic") ?? "";
    if (hindrance(RIGHTS.read, false)) look.button.focus();
    else groups();
  };
  return node;
}

/** What was counted, and whether that was all. */
function countedIn(answer, groups) {
  const letters = groups.reduce((sum, group) => sum + (group.count ?? 0), 0);
  const parts = [`${plural(letters, "letter")} in ${plural(groups.length, "group")}`];
  if (answer.others > 0) parts.push(`and ${whole(answer.others)} in others`);
  parts.push(`${whole(answer.scanned)} messages read`);
  if (answer.complete === false) parts.push("not all of them: choose a topic or a shorter time");
  return `${parts.join(", ")}.`;
}

function groupTable(enter, { filterSince }) {
  return table({
    caption: "Dead letters by what is wrong",
    keyOf: (g) => JSON.stringify([g.topic, g.table, g.reason, g.path, g.detail]),
    path: "/v1/dead-letters/groups",
    jq: (g) => `.groups[] | select(.topic == ${JSON.stringify(g.topic)} and .reason == ${JSON.stringify(g.reason)})`,
    empty: "No dead letter is there.",
    sort: { by: 2, down: true },
    enter,
    columns: [
      { title: "Topic", head: true, of: (g) => g.topic, sort: (g) => g.topic },
      { title: "What is wrong", draw: wrong, sort: (g) => `${g.reason} ${g.path}` },
      { title: "Letters", num: true, of: (g) => whole(g.count), sort: (g) => g.count },
      { title: "Waiting", num: true, of: (g) => whole(g.waiting), sort: (g) => g.waiting },
      { title: "First", of: (g) => clock(g.first_ms), sort: (g) => g.first_ms },
      { title: "Last", of: (g) => clock(g.last_ms), sort: (g) => g.last_ms },
      { title: "Do", draw: (cell, g) => groupActions(cell, g, enter, filterSince) },
    ],
  });
}

/** Reason and path are words that filters take; the detail is a sentence. */
function wrong(cell, item) {
  if (!cell.firstChild) cell.append(el("code"), " ", el("span"));
  text(cell.firstChild, [item.reason, item.path].filter(Boolean).join(" "));
  text(cell.lastChild, item.detail ?? "");
}

function groupActions(cell, group, enter, filterSince) {
  cell.__group = group;
  if (cell.firstChild) {
    for (const both of cell.children) both.button.gate();
    return;
  }
  const nameOf = ({ topic, reason, path }) => `${topic} ${reason} ${path ?? ""}`.trim();
  const named = (verb) => ({ name: () => `${verb} ${nameOf(cell.__group)}` });
  const filter = () => filterOf(cell.__group, filterSince());
  cell.append(
    action("Letters", RIGHTS.read, () => enter(cell.__group, cell.closest("tr")), {
      changes: false,
      ...named("Letters of"),
    }),
    action("Replay…", RIGHTS.replay, () => replayDialog(filter(), cell.__group), named("Replay")),
    action("Purge…", RIGHTS.purge, () => purgeDialog(filter(), cell.__group), { style: "danger", ...named("Purge") }),
  );
}

/** The letters of a group, as every request takes it. */
function filterOf(group, since) {
  const filter = { topic: group.topic, table: group.table, reason: group.reason, path: group.path, since };
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value));
}

async function showLetters(place, group, row, since) {
  const heading = el("h3", {
    tabindex: "-1",
    text: `Letters of ${group.topic}: ${group.reason}${group.path ? ` at ${group.path}` : ""}`,
  });
  const query = { ...filterOf(group, since), limit: LIMIT };
  const body = el("div", {}, el("p", { class: "soft", text: "Reading …" }));
  place.replaceChildren(heading, body);
  heading.focus();
  const grid = letterTable((letter) => letterDialog(letter, group));
  const reveal = action(
    "Show values…",
    RIGHTS.bodies,
    () => revealDialog(query, (answer) => grid.follow(taken(answer))),
    { changes: false, besides: " and a token that was issued with --pii" },
  );
  const again = el("button", {
    type: "button",
    class: "quiet",
    text: "Back to the groups",
    onclick: () => {
      place.replaceChildren();
      row?.focus();
    },
  });
  try {
    const answer = await ask(address("/v1/dead-letters", query));
    const all = taken(answer);
    const found = whole(answer.found ?? all.length);
    grid.follow(all);
    body.replaceChildren(
      el("p", { class: "row" }, reveal, again),
      el("p", {
        class: "soft",
        text: `The newest ${plural(all.length, "letter")} of ${found}. Values are ${MASKED} until somebody with the right asks for them.`,
      }),
      grid,
    );
    if (mayFocus(place)) grid.body.querySelector("[data-row]")?.focus();
  } catch (error) {
    refusal(body, error);
  }
}

export function letterTable(enter) {
  return table({
    caption: "Letters, newest last",
    keyOf: (letter) => letter.letter,
    empty: "No letter is there any more.",
    enter,
    columns: [
      { title: "Letter", head: true, of: (l) => l.letter },
      { title: "Refused at", of: (l) => clock(l.refused ?? l.refused_ms) },
      { title: "Record", of: source },
      { title: "State", of: (l) => l.state ?? "" },
      { title: "What is wrong", draw: wrong },
      { title: "Value", of: (l) => valueOf(l).slice(0, 120), state: (l) => (l.isMasked ? "soft" : "code") },
    ],
  });
}

function letterDialog(letter) {
  dialog(`Dead letter ${letter.letter}`, (content) => {
    const headers = (letter.headers ?? []).map(([name, value]) => `${name}: ${plain(value)}`).join("\n");
    content.append(
      facts([
        ["Record", source(letter)],
        ["Refused at", clock(letter.refused ?? letter.refused_ms)],
        ["State", letter.state],
        ["Attempt", letter.attempt],
        ["Table", letter.table],
        ["Reason", letter.reason],
        ["Path", letter.path],
        ["Detail", letter.detail],
        ["Key", plain(letter.key)],
        [
          "Bytes",
          letter.payload_bytes === null || letter.payload_bytes === undefined ? null : whole(letter.payload_bytes),
        ],
        ["Bytes that were cut", letter.payload_cut_bytes || null],
      ]),
      el("h3", { text: "Value" }),
      el("pre", { tabindex: "0", "aria-label": "Value", text: valueOf(letter) }),
    );
    if (headers)
      content.append(
        el("h3", { text: "Headers" }),
        el("pre", { tabindex: "0", "aria-label": "Headers", text: headers }),
      );
    content.append(
      el("p", {
        class: "soft",
        text: letter.isMasked
          ? "“Show values…” above the list asks for a reason and is written to the audit trail."
          : "That somebody looked at it is in the audit trail.",
      }),
    );
  });
}

function revealDialog(query, done) {
  dialog("Show values", (content, node) => {
    const reason = reasonLine({ autofocus: true });
    const place = el("div");
    const form = el(
      "form",
      {},
      el("p", {
        text: "Values may hold personal data. Who looked, at what and why is written to the audit trail before they are shown.",
      }),
      field("Reason", reason, "For instance a ticket."),
      el("p", { class: "row" }, el("button", { type: "submit", class: "main", text: "Show values" })),
      place,
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        done(
          await ask(address("/v1/dead-letters", { ...query, bodies: "true", why: reason.value.trim() }), {
            signal: node.signal,
          }),
        );
        node.close();
        say("Values are shown.");
      } catch (error) {
        if (error.name !== "AbortError") refusal(place, error);
      }
    });
    content.append(form);
  });
}
