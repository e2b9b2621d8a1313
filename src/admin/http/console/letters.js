// Dead letters: what is wrong with how many, which ones, what is in them; sending them again, deleting them. Reads only when
// asked, since each look reads the whole topic. Shows no value that somebody did not ask for with a reason.

import { ask, curl } from "./api.js";
import { attribute, el, say, show, text } from "./dom.js";
import { clock, count, plural, whole } from "./format.js";
import { action, dialog, facts, field, hindrance, refusal, summed, table, toast, work } from "./ui.js";

export const RIGHTS = { read: "dead_letter_read", bodies: "dead_letter_value", replay: "dead_letter_replay", purge: "dead_letter_purge" };
const MASKED = "masked";
const RATE = 1000;
const LIMIT = 100;
const SAMPLE = 5;

function address(path, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return query.size ? `${path}?${query}` : path;
}

const source = (letter) => (letter.topic ? `${letter.topic}/${letter.partition ?? "?"}@${letter.offset ?? "?"}` : "–");
const plain = (value) => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 2));
const valueOf = (letter) => (letter.isMasked ? MASKED : plain(letter.payload));
const taken = (answer) => (answer.letters ?? []).map((letter) => ({ ...letter, isMasked: answer.masked !== false }));

export function letters() {
  const topic = el("input", { type: "text", list: "letter-topics", autocomplete: "off", spellcheck: "false", placeholder: "all" });
  const topics = el("datalist", { id: "letter-topics" });
  const since = el("select", {}, [["", "ever"], ["1h", "last hour"], ["1d", "last day"], ["7d", "last 7 days"]].map(([value, label]) => el("option", { value, text: label })));
  const summary = el("p", { class: "soft" });
  const status = el("p", { class: "soft", tabindex: "-1" });
  const found = el("div", { class: "found" });
  const look = action("Count by what is wrong", RIGHTS.read, () => groups(), { changes: false, style: "main" });
  const form = el("form", { class: "row", onsubmit: (event) => { event.preventDefault(); look.button.click(); } }, field("Topic", topic), field("Refused", since), topics, look);
  const node = el("div", {}, summary, form, status, found);
  const list = el("div", { class: "letters" });
  const grid = groupTable((group, row) => showLetters(list, group, row, since.value), { filterSince: () => since.value });

  async function groups() {
    text(status, "Reading the dead-letter topics …");
    found.replaceChildren();
    try {
      const answer = await ask(address("/v1/dead-letters/groups", { topic: topic.value.trim(), since: since.value, limit: 200 }));
      const all = answer.groups ?? [];
      grid.follow(all);
      list.replaceChildren();
      found.replaceChildren(grid, list);
      const letters = all.reduce((sum, group) => sum + (group.count ?? 0), 0);
      const sentence = `${plural(letters, "letter")} in ${plural(all.length, "group")}${answer.others > 0 ? `, and ${whole(answer.others)} in others` : ""}; ${whole(answer.scanned)} messages read${answer.complete === false ? ", not all of them: choose a topic or a shorter time" : ""}.`;
      text(status, sentence);
      say(sentence);
      grid.body.querySelector("[data-row]")?.focus();
    } catch (error) {
      text(status, "");
      refusal(found, error);
    }
  }

  node.follow = (s) => {
    const t = s.totals ?? {};
    text(summary, `${whole(t.dead_letters_total)} dead letters since the pods began${t.dead_letters_per_min > 0 ? `, ${count(t.dead_letters_per_min)} a minute now` : ", none now"}.`);
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
  if (cell.firstChild) return;
  const named = (verb) => ({ name: `${verb} ${group.topic} ${group.reason} ${group.path ?? ""}`.trim() });
  const filter = () => filterOf(cell.__group, filterSince());
  cell.append(
    action("Letters", RIGHTS.read, () => enter(cell.__group, cell.closest("tr")), { changes: false, ...named("Letters of") }),
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
  const heading = el("h3", { tabindex: "-1", text: `Letters of ${group.topic}: ${group.reason}${group.path ? ` at ${group.path}` : ""}` });
  const query = { ...filterOf(group, since), limit: LIMIT };
  const body = el("div", {}, el("p", { class: "soft", text: "Reading …" }));
  place.replaceChildren(heading, body);
  heading.focus();
  const grid = letterTable((letter) => letterDialog(letter, group));
  const reveal = action("Show values…", RIGHTS.bodies, () => revealDialog(query, (answer) => grid.follow(taken(answer))), { changes: false });
  const again = el("button", { type: "button", class: "quiet", text: "Back to the groups", onclick: () => { place.replaceChildren(); row?.focus(); } });
  try {
    const answer = await ask(address("/v1/dead-letters", query));
    const all = taken(answer);
    grid.follow(all);
    body.replaceChildren(el("p", { class: "row" }, reveal, again), el("p", { class: "soft", text: `The newest ${plural(all.length, "letter")} of ${whole(answer.found ?? all.length)}. Values are ${MASKED} until somebody with the right asks for them.` }), grid);
    grid.body.querySelector("[data-row]")?.focus();
  } catch (error) {
    refusal(body, error);
  }
}

function letterTable(enter) {
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
      facts([["Record", source(letter)], ["Refused at", clock(letter.refused ?? letter.refused_ms)], ["State", letter.state], ["Attempt", letter.attempt], ["Table", letter.table], ["Reason", letter.reason], ["Path", letter.path], ["Detail", letter.detail], ["Key", plain(letter.key)], ["Bytes", letter.payload_bytes === null || letter.payload_bytes === undefined ? null : whole(letter.payload_bytes)], ["Bytes that were cut", letter.payload_cut_bytes || null]]),
      el("h3", { text: "Value" }),
      el("pre", { tabindex: "0", "aria-label": "Value", text: valueOf(letter) }),
    );
    if (headers) content.append(el("h3", { text: "Headers" }), el("pre", { tabindex: "0", "aria-label": "Headers", text: headers }));
    content.append(el("p", { class: "soft", text: letter.isMasked ? "“Show values…” above the list asks for a reason and is written to the audit trail." : "That somebody looked at it is in the audit trail." }));
  });
}

function revealDialog(query, done) {
  dialog("Show values", (content, node) => {
    const reason = el("input", { type: "text", required: true, minlength: "3", maxlength: "200", autofocus: true, autocomplete: "off" });
    const place = el("div");
    const form = el("form", {}, el("p", { text: "Values may hold personal data. Who looked, at what and why is written to the audit trail before they are shown." }), field("Reason", reason, "For instance a ticket."), el("p", { class: "row" }, el("button", { type: "submit", class: "main", text: "Show values" })), place);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        done(await ask(address("/v1/dead-letters", { ...query, bodies: "true", why: reason.value.trim() }), { signal: node.signal }));
        node.close();
        say("Values are shown.");
      } catch (error) {
        if (error.name !== "AbortError") refusal(place, error);
      }
    });
    content.append(form);
  });
}

/** What both dialogs have: the filter, a count with a sample before anything else, the topic typed by hand. */
function counted({ title, explain, path, body, verb, danger, group }) {
  dialog(title, (content, node) => {
    const place = el("div", { "aria-live": "off" });
    const sample = el("div");
    const typed = el("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
    const go = el("button", { type: "submit", class: danger ? "danger" : "main", "aria-disabled": "true", text: verb });
    const counting = el("button", { type: "button", class: "main", autofocus: true, text: "Count first" });
    const fits = () => typed.value === group.topic;
    typed.addEventListener("input", () => attribute(go, "aria-disabled", fits() ? null : "true"));
    const confirm = el("form", { hidden: true }, field(`Type the topic ${group.topic} to confirm`, typed), el("p", { class: "row" }, go, copier()));
    const inputs = el("div", { class: "row" }, body.fields);

    function copier() {
      return el("button", { type: "button", class: "quiet", text: "Copy as curl", onclick: async () => {
        const command = curl(path, { method: "POST", body: body.make() });
        await navigator.clipboard?.writeText(command).catch(() => {});
        toast("As curl", command);
      } });
    }

    counting.addEventListener("click", async () => {
      sample.replaceChildren(el("p", { class: "soft", text: "Counting …" }));
      try {
        const answer = await ask(`${path}?dry_run=true`, { method: "POST", body: body.make(), signal: node.signal });
        const some = await ask(address("/v1/dead-letters", { ...body.filter, state: body.state, limit: SAMPLE }), { signal: node.signal });
        sample.replaceChildren(preview(answer, taken(some)));
        show(confirm, true);
        place.replaceChildren();
        say(summed(answer));
        typed.focus();
      } catch (error) {
        if (error.name !== "AbortError") refusal(sample, error);
      }
    });
    // What was counted is not what would be sent once the filter is another.
    inputs.addEventListener("input", () => {
      show(confirm, false);
      sample.replaceChildren();
    });
    confirm.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!fits()) {
        say(`Type ${group.topic} to confirm.`);
        typed.focus();
        return;
      }
      show(confirm, false);
      show(counting, false);
      for (const input of inputs.querySelectorAll("input")) input.disabled = true;
      work(place, path, body.make(), node.signal);
    });
    content.append(
      el("p", { text: explain }),
      facts([["Topic", group.topic], ["Reason", group.reason], ["Path", group.path], ["Since", body.filter.since]]),
      inputs,
      el("p", { class: "row" }, counting),
      sample,
      confirm,
      place,
    );
  });
}

/** What would become of how many, in whole numbers, and some of them. */
function preview(answer, some) {
  const numbers = Object.entries(answer).filter(([name, value]) => typeof value === "number" && (value > 0 || name.startsWith("would")));
  const grid = letterTable(null);
  grid.follow(some);
  const partitions = (answer.partitions ?? []).filter((one) => one.delete_before > 0 || one.marked > 0).slice(0, 50);
  return el("div", { class: "preview" },
    facts((numbers.length ? numbers : [["letters", 0]]).map(([name, value]) => [name.replaceAll("_", " "), whole(value)])),
    partitions.length > 0 && el("ul", { class: "soft" }, partitions.map((one) => el("li", { text: `partition ${one.partition}: everything before offset ${whole(one.delete_before)} goes, ${plural(one.marked ?? 0, "letter")} behind it only marked` }))),
    some.length > 0 && el("h3", { text: "The newest of them" }),
    some.length > 0 && grid);
}

const positive = (input) => {
  const value = Number.parseInt(input.value, 10);
  return Number.isFinite(value) && value > 0 ? value : undefined;
};

function replayDialog(filter, group) {
  const rate = el("input", { type: "number", min: "1", max: "100000", value: String(RATE), inputmode: "numeric" });
  const limit = el("input", { type: "number", min: "1", inputmode: "numeric", placeholder: "all" });
  counted({
    title: "Replay dead letters",
    explain: "Publishes the records to their topic again, each once. Correct the table file or the producer first: what is still wrong comes back as a letter.",
    path: "/v1/dead-letters/replay",
    body: { fields: [field("Records per second at most", rate), field("Letters at most", limit)], filter, state: "waiting", make: () => ({ ...filter, rate: positive(rate), limit: positive(limit) }) },
    verb: "Replay",
    group,
  });
}

function purgeDialog(filter, group) {
  counted({
    title: "Purge dead letters",
    explain: "Deletes the letters for good. The records are then nowhere but in their source topic, as long as that keeps them.",
    path: "/v1/dead-letters/purge",
    body: { fields: [], filter, make: () => filter },
    verb: "Purge",
    danger: true,
    group,
  });
}
