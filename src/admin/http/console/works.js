// Jobs and backups: what is under way, ending it, beginning a backup. Asks the admin process; decides nothing itself.

import { ask, requestKey } from "./api.js";
import { attribute, el, say, show, text, width } from "./dom.js";
import { bytes, clock, millis, share, span } from "./format.js";
import { action, copies, dialog, facts, field, hindrance, refusal, table, toast, work } from "./ui.js";

const KINDS = { running: "info", done: "good", failed: "bad", lost: "bad", cancelled: "warn", skipped: "warn" };

export function jobs() {
  const grid = table({
    caption: "Jobs, newest first",
    keyOf: (job) => job.id,
    jq: (job) => `.jobs[] | select(.id == ${JSON.stringify(job.id)})`,
    empty: "No job has run yet.",
    enter: (job) => jobDialog(job),
    columns: [
      { title: "Job", head: true, of: (job) => job.action },
      { title: "State", draw: stateCell },
      { title: "By", of: (job) => job.actor ?? "–" },
      { title: "Began", num: true, of: (job) => clock(job.started_at) },
      { title: "Do", draw: cancelCell },
    ],
  });
  const node = el("div", {}, grid);
  node.follow = (s) => grid.follow((s.jobs ?? []).slice(0, 20));
  return node;
}

function stateCell(cell, job) {
  if (!cell.firstChild) {
    cell.word = el("span");
    cell.bar = el("span", { class: "fill" });
    cell.track = el("span", { class: "track small", "aria-hidden": "true" }, cell.bar);
    cell.append(cell.word, cell.track);
  }
  const hasProgress = job.state === "running" && typeof job.progress === "number";
  text(cell.word, hasProgress ? `${job.state} ${share(job.progress)}` : job.state);
  attribute(cell.word, "data-state", KINDS[job.state] ?? null);
  attribute(cell.word, "class", "state");
  show(cell.track, hasProgress);
  width(cell.bar, job.progress);
}

function cancelCell(cell, job) {
  if (!cell.firstChild) {
    const cancel = action("Cancel", "job_cancel", () => cancelJob(cell.job), { name: `Cancel ${job.action}` });
    cell.append(cancel);
  }
  cell.job = job;
  show(cell.firstChild, job.state === "running");
}

async function cancelJob(job) {
  try {
    await ask(`/v1/jobs/${encodeURIComponent(job.id)}/cancel`, { method: "POST", key: requestKey() });
    toast(`${job.action} was asked to end; it does before its next statement.`);
  } catch (error) {
    toast(`Not done: ${error.message}`, error.hint);
  }
}

function jobDialog(job) {
  dialog(`Job ${job.action}`, async (content, node) => {
    content.append(
      facts([
        ["Id", job.id],
        ["State", job.state],
        ["By", job.actor],
        ["Began", clock(job.started_at)],
      ]),
    );
    const place = el("div", {}, el("p", { class: "soft", text: "Reading …" }));
    content.append(place);
    try {
      const whole = await ask(`/v1/jobs/${encodeURIComponent(job.id)}`, { signal: node.signal });
      const part = (title, value) =>
        value !== null &&
        value !== undefined && [
          el("h3", { text: title }),
          el("pre", { tabindex: "0", "aria-label": title, text: JSON.stringify(value, null, 2).slice(0, 20_000) }),
        ];
      const none = whole.error || whole.result ? null : (whole.events?.at?.(-1) ?? null);
      place.replaceChildren(
        ...[part("Failed with", whole.error), part("Gave", whole.result), part("Latest step", none)]
          .flat()
          .filter(Boolean),
      );
    } catch (error) {
      if (error.name !== "AbortError") refusal(place, error);
    }
  });
}

export function backups() {
  const newest = copies(el("p", { class: "copy" }), ".backups");
  const policy = el("select");
  const place = el("div");
  const list = el("div");
  const now = action(
    "Back up now",
    "backup_create",
    () => policy.value && work(place, "/v1/backups", { policy: policy.value }),
    { style: "main" },
  );
  const see = action("List backups", "backup_read", () => seeBackups(list, policy), { changes: false });
  const none = el("p", {
    class: "soft",
    text: "No policy is known yet: list the backups, or see admin.backup in the configuration.",
  });
  const choice = field("Policy", policy);
  const node = el("div", {}, newest, el("div", { class: "row" }, choice, now, see), none, place, list);
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
    show(now, policy.options.length > 0);
    show(choice, policy.options.length > 0);
  };
  return node;
}

function offer(select, names) {
  const known = new Set([...select.options].map((option) => option.value));
  for (const name of names) if (name && !known.has(name)) select.append(el("option", { value: name, text: name }));
}

async function seeBackups(place, policy) {
  if (hindrance("backup_read", false)) return;
  place.replaceChildren(el("p", { class: "soft", text: "Reading …" }));
  try {
    const { backups = [] } = await ask("/v1/backups?limit=50");
    offer(
      policy,
      backups.map((entry) => entry.manifest?.policy),
    );
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
        { title: "Begun", of: (entry) => clock(entry.at) },
        { title: "Size", num: true, of: (entry) => bytes(entry.manifest?.bytes) },
      ],
    });
    grid.follow(backups);
    place.replaceChildren(grid);
    say(`${backups.length} backups`);
  } catch (error) {
    refusal(place, error);
  }
}

const verified = (last) =>
  !last ? "not yet" : last.findings?.length ? `damaged: ${last.findings[0]}` : `whole at ${clock(last.at)}`;
