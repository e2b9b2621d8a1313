// Schedules: when each is due, what came of its runs, and running one now. Knows nothing of what is scheduled.

import { ask } from "./api.js";
import { deed, dialog, refusal, verbatim } from "./dialogs.js";
import { el, put, say } from "./dom.js";
import { clock, plural } from "./format.js";
import { action, reading, table } from "./ui.js";
import { KINDS, jobDialog } from "./works.js";

const RUNS = 20;

export function schedules() {
  const found = el("div");
  const grid = listOf(() => list(found, grid));
  const see = action("List schedules", "schedule_read", () => list(found, grid), { changes: false, style: "main" });
  const node = el("div", {}, el("div", { class: "row" }, see), found);
  node.follow = () => {};
  return node;
}

async function list(place, grid) {
  reading(place, grid);
  try {
    const { schedules: all = [], complete } = await ask("/v1/schedules");
    grid.follow(all);
    put(
      place,
      grid,
      ...(complete === false ? [el("p", { class: "soft", text: "Runs of other processes cannot be read now." })] : []),
    );
    say(plural(all.length, "schedule"));
  } catch (error) {
    refusal(place, error);
  }
}

const lastOf = (job) => (job ? `${job.state}, ${clock(job.began)}` : "not yet");

function listOf(again) {
  return table({
    caption: "Schedules",
    keyOf: (one) => one.name,
    path: "/v1/schedules",
    jq: (one) => `.schedules[] | select(.name == ${JSON.stringify(one.name)})`,
    empty: "Nothing is scheduled: see admin.schedules in the configuration.",
    columns: [
      { title: "Schedule", head: true, of: (one) => one.name },
      { title: "Does", of: (one) => one.what },
      { title: "When", of: (one) => `${one.when} (${one.timezone})` },
      { title: "Due", of: (one) => clock(one.next_due) },
      { title: "Last", of: (one) => lastOf(one.last), state: (one) => KINDS[one.last?.state] },
      { title: "Do", draw: (cell, one) => actions(cell, one, again) },
    ],
  });
}

function actions(cell, one, again) {
  cell.__one = one;
  if (cell.firstChild) {
    for (const both of cell.children) both.button.gate();
    return;
  }
  cell.append(
    action("Run now…", "schedule_run", () => runDialog(cell.__one, again), {
      name: () => `Run now ${cell.__one.name}`,
    }),
    action("Last runs", "schedule_read", () => runsDialog(cell.__one), {
      changes: false,
      name: () => `Last runs of ${cell.__one.name}`,
    }),
  );
}

const address = (one, verb) => `/v1/schedules/${encodeURIComponent(one.name)}/${verb}`;

function runDialog(one, done) {
  deed({
    title: `Run ${one.name} now`,
    about: [
      ["Does", one.what],
      ["Due", clock(one.next_due)],
      ["Last", lastOf(one.last)],
    ],
    path: address(one, "run"),
    look: { isAtOnce: true, draw: (answer) => verbatim("What it would do", JSON.stringify(answer, null, 2)) },
    verb: "Run now",
    done,
  });
}

function runsDialog(one) {
  dialog(`Runs of ${one.name}`, async (content, node) => {
    const grid = table({
      caption: `Runs of ${one.name}, newest first`,
      keyOf: (job) => job.id,
      empty: "It has not run yet.",
      enter: (job) => jobDialog(job),
      columns: [
        { title: "Began", head: true, of: (job) => clock(job.began || job.due) },
        { title: "State", of: (job) => job.state, state: (job) => KINDS[job.state] },
        { title: "By", of: (job) => job.actor ?? "–" },
        { title: "Failed with", of: (job) => job.error?.detail ?? "" },
      ],
    });
    content.append(grid);
    try {
      const { runs = [] } = await ask(`${address(one, "runs")}?limit=${RUNS}`, { signal: node.signal });
      grid.follow(runs);
      (grid.body.querySelector("[data-row]") ?? node.querySelector("button")).focus();
    } catch (error) {
      if (error.name !== "AbortError") refusal(content, error);
    }
  });
}
