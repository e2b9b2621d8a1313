// Migrations: how each stands, whether tables are as they make them, and running what is pending or taking some back.
// Runs nothing that was not looked at: up and down name the hash of the plan that was shown.

import { ask } from "./api.js";
import { deed, facts, field, line, listed, refusal, verbatim, work } from "./dialogs.js";
import { attribute, el, put, say, text } from "./dom.js";
import { bytes, clock, plural } from "./format.js";
import { action, reading, table } from "./ui.js";

const STANDING = { pending: "warn", partial: "bad", failed: "bad", in_doubt: "bad" };

export function migrations() {
  const told = el("p", { class: "soft" });
  const found = el("div");
  const drift = el("div");
  const grid = statusTable();
  const again = () => status(told, found, grid);
  const row = el(
    "div",
    { class: "row" },
    action("How they stand", "migrate_read", again, { changes: false, style: "main" }),
    action("Look for drift", "migrate_check", () => work(drift, "/v1/migrations/drift", undefined, undefined, DRIFT), {
      changes: false,
    }),
    action("Migrate up…", "migrate_up", () => upDialog(again)),
    action("Take back…", "migrate_down", () => downDialog(again), { style: "danger" }),
  );
  const node = el("div", {}, row, told, drift, found);
  node.follow = () => {};
  return node;
}

const DRIFT = {
  draw: (result) =>
    listed([
      ...(result?.findings ?? []).flatMap((one) => one.differences.map((sentence) => `${one.table}: ${sentence}`)),
      ...(result?.notes ?? []),
    ]),
  fault: (result) => (result?.findings?.length ? `${plural(result.findings.length, "table")} differ` : null),
};

async function status(told, place, grid) {
  reading(place, grid);
  try {
    const answer = await ask("/v1/migrations");
    const all = answer.migrations ?? [];
    const sentence = standing(answer, all);
    text(told, sentence);
    attribute(told, "data-state", /^0 pending/.test(sentence) ? null : "warn");
    grid.follow([...all].reverse());
    put(place, grid);
    say(sentence);
  } catch (error) {
    text(told, "");
    refusal(place, error);
  }
}

function standing({ missing = [], holder }, all) {
  const pending = all.filter((one) => one.standing !== "applied").length;
  const changed = all.filter((one) => one.changed).length;
  const parts = [`${pending} pending of ${plural(all.length, "migration")}`];
  if (changed) parts.push(`${plural(changed, "file was", "files were")} changed after being run`);
  if (missing.length) parts.push(`run and not in the folder: ${missing.join(", ")}`);
  if (holder) parts.push(`${holder.owner} migrates now`);
  return `${parts.join("; ")}.`;
}

function statusTable() {
  return table({
    caption: "Migrations, newest first",
    keyOf: (one) => one.file,
    path: "/v1/migrations",
    jq: (one) => `.migrations[] | select(.file == ${JSON.stringify(one.file)})`,
    empty: "There is no migration.",
    columns: [
      { title: "Migration", head: true, of: (one) => one.migration },
      {
        title: "Stands",
        of: (one) => `${one.standing.replaceAll("_", " ")}${one.changed ? ", its file was changed" : ""}`,
        state: (one) => (one.changed ? "bad" : STANDING[one.standing]),
      },
      { title: "Run", of: (one) => (one.finished ? clock(one.finished) : "") },
      { title: "By", of: (one) => one.actor ?? "" },
      { title: "Failed with", of: (one) => one.error ?? "" },
      { title: "Can be taken back", of: (one) => (one.has_down ? "yes" : "no") },
    ],
  });
}

const dangersOf = (answer) => [...new Set((answer?.statements ?? []).flatMap((one) => one.dangers))].sort();
/** "V7__add_country.sql" is version 7; what is repeatable is known by its name. */
const versionOf = (file) => /^V([^_]+)__/.exec(file)?.[1] ?? file;

/** The versions that need to be allowed by name; nothing where none does. */
function dangerous(answer) {
  const all = (answer.statements ?? []).filter((one) => one.dangers.length > 0).map((one) => versionOf(one.file));
  const versions = [...new Set(all)].join(" ");
  return versions ? { what: all.length > 1 ? "the versions" : "the version", text: versions } : null;
}

const LOOK = {
  saying: "Making the plan …",
  draw: (answer) => [
    facts([
      ["Plan", answer.hash],
      ["Statements", (answer.statements ?? []).length],
      ["Dangers", dangersOf(answer).join(", ")],
    ]),
    ...(answer.statements ?? []).slice(0, 50).map(statement),
  ],
  stop: (answer) =>
    answer.holder
      ? `${answer.holder.owner} migrates now`
      : (answer.statements ?? []).length === 0
        ? "there is nothing to run"
        : null,
};

function statement(one) {
  const words = [
    `${one.file}, statement ${one.statement}: ${one.class.replaceAll("_", " ")}`,
    one.cost?.bytes > 0 && `writes up to ${bytes(one.cost.bytes)} again`,
    one.in_doubt && "was sent before, and is found out first",
  ];
  return el(
    "div",
    {},
    el(
      "p",
      {},
      words.filter(Boolean).join(", "),
      one.dangers.length > 0 && el("strong", { "data-state": "bad", text: ` danger: ${one.dangers.join(", ")}` }),
    ),
    verbatim(`${one.file}, statement ${one.statement}`, one.sql),
  );
}

const RUN = {
  named: (answer) => ({ plan: answer.hash, allow: dangersOf(answer) }),
  draw: (result) =>
    listed(
      (result?.events ?? []).map((one) => `${one.file}, statement ${one.statement} on ${one.host}: ${one.outcome}`),
    ),
};

function upDialog(done) {
  deed({
    title: "Migrate up",
    explain: "Runs what is pending, in its order.",
    path: "/v1/migrations/up",
    body: () => ({}),
    look: { ...LOOK, isAtOnce: true },
    typed: dangerous,
    verb: "Migrate up",
    ...RUN,
    done,
  });
}

function downDialog(done) {
  const to = line({ required: true });
  deed({
    title: "Take migrations back",
    explain: "Runs what takes versions back, newest first. What they dropped or changed in rows does not come back.",
    inputs: [field("Stay at version", to, "0 takes back all.")],
    path: "/v1/migrations/down",
    body: () => ({ to: to.value.trim() }),
    look: { ...LOOK, label: "See the plan" },
    typed: (answer) => dangerous(answer) ?? { what: "the version to stay at,", text: to.value.trim() },
    verb: "Take back",
    danger: true,
    ...RUN,
    done,
  });
}
