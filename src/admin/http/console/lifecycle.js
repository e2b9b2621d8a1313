// Rows that grow old, and rows of somebody who is to be forgotten: what the rules touch now, carrying that out for a
// table, erasing a subject. Decides nothing: a plan is the server's, and only the one that was looked at is applied.

import { ask } from "./api.js";
import { deed, facts, field, line, listed, refusal, tick, verbatim } from "./dialogs.js";
import { el, put, say } from "./dom.js";
import { bytes, plural, whole } from "./format.js";
import { action, reading, table } from "./ui.js";

const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);
const dotted = (name) => `${name.database}.${name.name}`;

export function lifecycle() {
  const found = el("div");
  const grid = planTable(() => plan(found, grid));
  const see = action("Plan", "table_read", () => plan(found, grid), { changes: false, style: "main" });
  const erase = action("Erase a subject…", "erase", eraseDialog, { style: "danger" });
  const node = el("div", {}, el("div", { class: "row" }, see, erase), found);
  node.follow = () => {};
  return node;
}

async function plan(place, grid) {
  reading(place, grid, "Looking at what is over …");
  try {
    const { tables = [] } = await ask("/v1/lifecycle/plan");
    grid.follow(tables);
    put(place, grid);
    say(plural(tables.length, "table has rules", "tables have rules"));
  } catch (error) {
    refusal(place, error);
  }
}

const isIdle = (one) => one.statements.length === 0 && one.drops.length === 0;

function planTable(done) {
  return table({
    caption: "What the rules of age touch now",
    keyOf: (one) => dotted(one.table),
    path: "/v1/lifecycle/plan",
    jq: (one) => `.tables[] | select(.table.name == ${JSON.stringify(one.table.name)})`,
    empty: "No table file has a section lifecycle.",
    columns: [
      { title: "Table", head: true, of: (one) => dotted(one.table) },
      {
        title: "TTL",
        of: (one) => ttlOf(one),
        state: (one) => (one.exists && one.statements.length === 0 ? null : "warn"),
      },
      { title: "To drop", num: true, of: (one) => plural(one.drops.length, "partition") },
      { title: "Rows", num: true, of: (one) => whole(sum(one.drops, (p) => p.rows)) },
      { title: "Size", num: true, of: (one) => bytes(sum(one.drops, (p) => p.bytes)) },
      { title: "Held", of: (one) => one.holds.map((hold) => hold.id).join(", ") },
      { title: "Do", draw: (cell, one) => planActions(cell, one, done) },
    ],
  });
}

const ttlOf = (one) =>
  !one.exists ? "no such table" : one.statements.length ? "differs from its rules" : "as its rules say";

function planActions(cell, one, done) {
  cell.__one = one;
  if (cell.firstChild) return cell.firstChild.button.gate();
  cell.append(
    action("Apply…", "lifecycle", () => applyDialog(cell.__one.table, done), {
      style: "danger",
      name: () => `Apply the rules of ${cell.__one.table.name}`,
      unless: () => (isIdle(cell.__one) ? "nothing is to be done" : null),
    }),
  );
}

function applyDialog(name, done) {
  const first = (answer) => answer?.tables?.[0];
  deed({
    title: `Apply the rules of ${dotted(name)}`,
    explain: "Sets the TTL and drops the partitions whose rows are all over. What is dropped is gone.",
    path: "/v1/lifecycle/apply",
    body: () => ({ tables: [name.name] }),
    named: (answer) => ({ plan: answer.hash }),
    look: {
      isAtOnce: true,
      draw: (answer) => planned(answer.hash, first(answer)),
      stop: (answer) => (first(answer) && !isIdle(first(answer)) ? null : "nothing is to be done"),
    },
    typed: () => ({ what: "the table", text: name.name }),
    verb: "Apply",
    danger: true,
    draw: (result) => {
      const { statements = [], partitions = [] } = first(result) ?? {};
      return listed([...statements, ...partitions.map((one) => `partition ${one.partition}: ${one.outcome}`)]);
    },
    done,
  });
}

function planned(hash, one) {
  if (!one) return [];
  return [
    facts([
      ["Plan", hash],
      [
        "Dropped",
        `${plural(one.drops.length, "partition")}, ${plural(
          sum(one.drops, (p) => p.rows),
          "row",
        )}, ${bytes(sum(one.drops, (p) => p.bytes))}`,
      ],
      ["Held", one.holds.map((hold) => `${hold.id}: ${hold.reason}`).join("; ")],
    ]),
    listed(one.drops.map((p) => `partition ${p.partition}: ${plural(p.rows, "row")}, ${bytes(p.bytes)}`)),
    one.statements.length > 0 && verbatim("Statements", one.statements.map((sql) => `${sql};`).join("\n")),
  ];
}

function eraseDialog() {
  const column = line({ required: true, placeholder: "user_id" });
  const value = line({ required: true });
  const lightweight = el("input", { type: "checkbox" });
  const rows = (answer) => sum(answer?.tables ?? [], (one) => one.rows);
  deed({
    title: "Erase a subject",
    explain:
      "Deletes the rows of one person from every table whose file declares the column. The value is kept nowhere: its record has a digest.",
    inputs: [
      field("Column", column),
      field("Value", value),
      tick("Hide the rows at once; their bytes go with later merges", lightweight),
    ],
    path: "/v1/erasures",
    body: () => ({ column: column.value.trim(), value: value.value, lightweight: lightweight.checked }),
    look: {
      label: "Count first",
      saying: "Counting …",
      draw: (answer) => [
        facts([["Rows", whole(rows(answer))]]),
        listed(
          (answer.tables ?? []).map(
            (one) =>
              `${dotted(one.table)}: ${plural(one.rows, "row")} in ${plural(one.partitions.length, "partition")}`,
          ),
        ),
      ],
      told: (answer) => plural(rows(answer), "row"),
    },
    reason: "It stands in the record of the erasure. Do not name the person.",
    typed: () => ({ what: "the value", text: value.value }),
    verb: "Erase",
    danger: true,
    private: true,
    draw: (result) => listed((result?.tables ?? []).map((one) => `${dotted(one.table)}: ${plural(one.rows, "row")}`)),
  });
}
