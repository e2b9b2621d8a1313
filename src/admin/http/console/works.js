// Jobs: what is under way and what came of it, and ending it. Asks the admin process; decides nothing itself.

import { ask } from "./api.js";
import { dialog, facts, refusal, verbatim } from "./dialogs.js";
import { attribute, el, show, text, width } from "./dom.js";
import { clock, share } from "./format.js";
import { action, table, toast } from "./ui.js";

export const KINDS = { running: "info", done: "good", failed: "bad", lost: "bad", cancelled: "warn", skipped: "warn" };

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
  cell.job = job;
  if (!cell.firstChild) {
    const cancel = action("Cancel", "job_cancel", () => cancelJob(cell.job), {
      name: () => `Cancel ${cell.job.action}`,
    });
    cell.append(cancel);
  }
  cell.firstChild.button.gate();
  show(cell.firstChild, job.state === "running");
}

async function cancelJob(job) {
  try {
    await ask(`/v1/jobs/${encodeURIComponent(job.id)}/cancel`, { method: "POST" });
    toast(`${job.action} was asked to end; it does before its next statement.`);
  } catch (error) {
    toast(`Not done: ${error.message}`, error.hint);
  }
}

export function jobDialog(job) {
  dialog(`Job ${job.action}`, async (content, node) => {
    content.append(
      facts([
        ["Id", job.id],
        ["State", job.state],
        ["By", job.actor],
        ["Began", clock(job.started_at ?? job.began)],
      ]),
    );
    const place = el("div", {}, el("p", { class: "soft", text: "Reading …" }));
    content.append(place);
    try {
      const whole = await ask(`/v1/jobs/${encodeURIComponent(job.id)}`, { signal: node.signal });
      const part = (title, value) =>
        value !== null &&
        value !== undefined && [el("h3", { text: title }), verbatim(title, JSON.stringify(value, null, 2))];
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
