// Backups: how old the newest that was verified is, making one, looking through one, bringing one back, deleting what is
// not needed. Decides nothing itself: what needs which is the server's to say.

import { ask } from "./api.js";
import { choice, deed, facts, field, line, listed, refusal, work } from "./dialogs.js";
import { attribute, el, put, say, show, text } from "./dom.js";
import { bytes, clock, millis, plural, span, whole } from "./format.js";
import { action, copies, hindrance, reading, table } from "./ui.js";
import { KINDS } from "./works.js";

const LIMIT = 50;

export function backups() {
  const newest = copies(el("p", { class: "copy" }), ".backups");
  const policy = el("select");
  const place = el("div");
  const list = el("div");
  const seeAgain = () => seeBackups(list, policy, grid);
  const grid = listOf(seeAgain);
  const now = action(
    "Back up now",
    "backup_create",
    () => policy.value && work(place, "/v1/backups", { policy: policy.value }),
    { style: "main" },
  );
  const see = action("List backups", "backup_read", seeAgain, { changes: false });
  const prune = action("Prune…", "backup_delete", () => policy.value && pruneDialog(policy.value, seeAgain), {
    style: "danger",
  });
  const none = el("p", {
    class: "soft",
    text: "No policy is known yet: list the backups, or see admin.backup in the configuration.",
  });
  const pick = field("Policy", policy);
  const node = el("div", {}, newest, el("div", { class: "row" }, pick, now, see, prune), none, place, list);
  node.follow = (s, at) => {
    const b = s.backups ?? {};
    const age =
      typeof b.age_s === "number" ? b.age_s : b.newest_verified_at ? (at - millis(b.newest_verified_at)) / 1000 : null;
    text(
      newest,
      age === null
        ? "No verified backup is known."
        : `The newest verified backup is ${span(age)} old (${clock(b.newest_verified_at, at)}).`,
    );
    attribute(newest, "data-state", age === null ? "warn" : null);
    offer(policy, b.policies ?? []);
    show(none, policy.options.length === 0);
    for (const one of [now, prune, pick]) show(one, policy.options.length > 0);
  };
  return node;
}

function offer(select, names) {
  const known = new Set([...select.options].map((option) => option.value));
  for (const name of names) if (name && !known.has(name)) select.append(el("option", { value: name, text: name }));
}

async function seeBackups(place, policy, grid) {
  if (hindrance("backup_read", false)) return;
  reading(place, grid);
  try {
    const { backups: all = [] } = await ask(`/v1/backups?limit=${LIMIT}`);
    offer(
      policy,
      all.map((entry) => entry.manifest?.policy),
    );
    grid.show(all);
    put(place, grid);
    say(plural(all.length, "backup"));
  } catch (error) {
    refusal(place, error);
  }
}

function listOf(again) {
  let all = [];
  const needed = (entry) => all.filter((other) => other.manifest?.base === entry.id).length;
  const chain = (entry) => {
    const base = entry.manifest?.base ? `adds to ${entry.manifest.base}` : "full";
    return needed(entry) ? `${base}; ${plural(needed(entry), "other adds", "others add")} to it` : base;
  };
  const grid = table({
    caption: "Backups, newest first",
    keyOf: (entry) => entry.id,
    empty: "There is no backup.",
    columns: [
      { title: "Backup", head: true, of: (entry) => entry.id },
      { title: "Policy", of: (entry) => entry.manifest?.policy || "by hand" },
      { title: "State", of: (entry) => entry.state ?? "–", state: (entry) => KINDS[entry.state] },
      {
        title: "Verified",
        of: (entry) => verified(entry.verification),
        state: (entry) => (entry.verification?.findings?.length ? "bad" : null),
      },
      { title: "Chain", of: chain },
      { title: "Begun", of: (entry) => clock(entry.at) },
      { title: "Size", num: true, of: (entry) => bytes(entry.manifest?.bytes) },
      { title: "Do", draw: (cell, entry) => backupActions(cell, entry, again) },
    ],
  });
  grid.show = (entries) => {
    all = entries;
    grid.follow(entries);
  };
  return grid;
}

const verified = (last) =>
  !last ? "not yet" : last.findings?.length ? `damaged: ${last.findings[0]}` : `whole at ${clock(last.at)}`;

function backupActions(cell, entry, again) {
  cell.__entry = entry;
  if (cell.firstChild) {
    for (const both of cell.children) both.button.gate();
    return;
  }
  const unless = () => (cell.__entry.state === "done" ? null : `it is ${cell.__entry.state}`);
  const one = (verb, permission, press, style) =>
    action(`${verb}…`, permission, () => press(cell.__entry, again), {
      style,
      unless,
      name: () => `${verb} ${cell.__entry.id}`,
    });
  cell.append(
    one("Verify", "backup_create", verifyDialog),
    one("Restore", "backup_restore", restoreDialog, "danger"),
    one("Delete", "backup_delete", deleteDialog, "danger"),
  );
}

const address = (entry, verb) => `/v1/backups/${encodeURIComponent(entry.id)}/${verb}`;
const about = (entry) => [
  ["Backup", entry.id],
  ["Policy", entry.manifest?.policy || "by hand"],
  ["Adds to", entry.manifest?.base],
  ["Tables", (entry.manifest?.tables ?? []).map((one) => one.name).join(", ")],
  ["Size", bytes(entry.manifest?.bytes)],
];

function verifyDialog(entry, done) {
  const level = choice([
    ["restore", "restore: into a database of its own, rows compared"],
    ["sample", "sample: checksums of a part of the files"],
    ["files", "files: whether each is there"],
  ]);
  deed({
    title: "Verify a backup",
    explain: "What is found is written down, and stands in the way of restores and of backups that would add to it.",
    about: about(entry),
    inputs: [field("By", level)],
    path: address(entry, "verify"),
    body: () => ({ level: level.value }),
    verb: "Verify",
    fault: (result) => (result?.findings?.length ? `damaged: ${result.findings.join("; ")}` : null),
    done,
  });
}

function restoreDialog(entry, done) {
  const database = line({ required: true, value: `${entry.manifest?.database ?? ""}_restored` });
  const names = (entry.manifest?.tables ?? []).map((one) => one.name);
  const tables = choice([["", "all"], ...names.map((name) => [name, name])]);
  const name = line();
  const naming = field("Under the name", name, "As it was without one.");
  const isOne = () => names.length === 1 || tables.value !== "";
  const offerName = () => show(naming, isOne());
  tables.addEventListener("input", offerName);
  offerName();
  deed({
    title: "Restore a backup",
    explain: "Brings tables back beside those that are there, or one under another name. Nothing is restored over rows.",
    about: about(entry),
    inputs: [field("Into the database", database, "It is made if it is not there."), field("Tables", tables), naming],
    path: address(entry, "restore"),
    body: () => ({
      database: database.value.trim(),
      tables: tables.value ? [tables.value] : [],
      as: (isOne() && name.value.trim()) || undefined,
    }),
    look: { draw: restored },
    typed: () => ({ what: "the backup", text: entry.id }),
    verb: "Restore",
    danger: true,
    draw: restored,
    fault: (result) => (result?.findings?.length ? result.findings.join("; ") : null),
    done,
  });
}

const named = (one) => `${one?.database}.${one?.name}`;
const restored = (answer) => [
  facts([["Chain", (answer?.chain ?? []).join(" ← ")]]),
  listed(
    (answer?.tables ?? []).map(
      (one) =>
        `${named(one.table)} to ${named(one.target)}: ${plural(one.rows, "row")}${one.existed ? ", the empty table is there" : ""}`,
    ),
  ),
];

function deleteDialog(entry, done) {
  deed({
    title: "Delete a backup",
    explain: "It is gone for good. One that others add to, or that is kept, is not deleted.",
    about: about(entry),
    path: address(entry, "delete"),
    look: {
      isAtOnce: true,
      draw: (answer) =>
        el("p", {
          text: answer.files_left
            ? "Nothing needs it. Its files cannot be reached from here and have to be removed by hand."
            : "Nothing needs it; its files go with it.",
        }),
    },
    typed: () => ({ what: "the backup", text: entry.id }),
    verb: "Delete",
    danger: true,
    done,
  });
}

function pruneDialog(policy, done) {
  deed({
    title: "Prune backups",
    explain: "Deletes what the rules of the policy no longer keep.",
    about: [["Policy", policy]],
    path: "/v1/backups/prune",
    body: () => ({ policy }),
    named: (answer) => ({ plan: answer.hash }),
    look: {
      isAtOnce: true,
      draw: pruned,
      stop: ({ plans = [] }) =>
        plans.find((plan) => plan.refused)?.refused ??
        (plans.every((plan) => plan.deleted.length === 0) ? "the rules keep every backup" : null),
    },
    typed: () => ({ what: "the policy", text: policy }),
    verb: "Prune",
    danger: true,
    draw: (result) => listed((result?.deleted ?? []).map((one) => `${one.id} is deleted`)),
    done,
  });
}

function pruned({ plans = [], hash, timezone }) {
  const going = plans.flatMap((plan) => plan.deleted);
  return [
    facts([
      ["Plan", hash],
      ["Goes", `${plural(going.length, "backup")}, ${bytes(going.reduce((sum, one) => sum + one.new_bytes, 0))}`],
      ["Time zone", timezone],
    ]),
    going.length > 0 && el("h3", { text: "What goes" }),
    listed(going.map((one) => `${one.id}, ${bytes(one.new_bytes)}`)),
    el("h3", { text: "What stays" }),
    listed(plans.flatMap((plan) => plan.kept.map((one) => `${one.id}: ${one.because.join(", ")}`))) ||
      el("p", { class: "soft", text: whole(0) }),
  ];
}
