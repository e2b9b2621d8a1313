// Table care: merging the parts of a table, and bringing its parts under its TTL. What would be written again, and the
// room for it, are shown first; whether that fits is the server's to say.

import { ask } from "./api.js";
import { deed, facts, tick, verbatim } from "./dialogs.js";
import { el } from "./dom.js";
import { bytes, plural, whole } from "./format.js";
import { action } from "./ui.js";

/** "d.events" is a table of the database d; a name alone is of the database of the configuration. */
function placeOf(name) {
  const dot = name.indexOf(".");
  return dot < 0 ? { table: name, database: "" } : { table: name.slice(dot + 1), database: name.slice(0, dot) };
}

export function tableActions(cell, item) {
  cell.__table = item.table;
  if (!cell.firstChild) {
    cell.merge = action("Optimise…", "table_care", () => optimizeDialog(cell.__table), {
      name: () => `Optimise ${cell.__table}`,
    });
    cell.ttl = action("Materialise TTL…", "lifecycle", () => materializeDialog(cell.__table), {
      name: () => `Materialise TTL ${cell.__table}`,
    });
    cell.append(cell.merge, cell.ttl);
  }
  for (const both of [cell.merge, cell.ttl]) both.button.gate();
}

/** Free room of the disks that a table lies on, or of all where that is not told. */
async function room(name, signal) {
  const { table, database } = placeOf(name);
  const query = new URLSearchParams({ tables: table, ...(database ? { database } : {}) });
  const { tables = [], disks = [] } = await ask(`/v1/tables?${query}`, { signal });
  const own = new Set(tables.flatMap((one) => one.disks ?? []));
  return disks.filter((disk) => own.size === 0 || own.has(disk.name));
}

const free = (disks) =>
  disks.map((disk) => `${disk.name}: ${bytes(disk.free_bytes)} free of ${bytes(disk.total_bytes)}`).join(", ");
const parts = (one) => one && `${plural(one.parts, "part")}, ${plural(one.rows, "row")}, ${bytes(one.bytes)}`;

function optimizeDialog(name) {
  const { table, database } = placeOf(name);
  const toOnePart = el("input", { type: "checkbox" });
  const query = database ? `?${new URLSearchParams({ database })}` : "";
  const first = (answer) => answer?.tables?.[0];
  deed({
    title: `Optimise ${name}`,
    explain: "Merges parts now. It reads and writes them again, beside what the line does.",
    inputs: [tick("Each partition into one part (FINAL), however large", toOnePart)],
    path: `/v1/tables/${encodeURIComponent(table)}/optimize${query}`,
    body: () => ({ final: toOnePart.checked }),
    look: {
      label: "See what it costs",
      more: (signal) => room(name, signal),
      draw: (answer, disks) => [
        facts([
          ["Has", parts(first(answer)?.before)],
          ["Written again", `at most ${bytes(first(answer)?.bytes_to_write)}`],
          ["Room", free(disks)],
        ]),
        verbatim("Statement", first(answer)?.sql ?? ""),
      ],
      stop: (answer) => first(answer)?.error ?? null,
    },
    verb: "Optimise",
    draw: (result) =>
      facts([
        ["Before", parts(first(result)?.before)],
        ["After", parts(first(result)?.after)],
      ]),
    fault: (result) => first(result)?.error ?? null,
  });
}

function materializeDialog(name) {
  const { table } = placeOf(name);
  deed({
    title: `Materialise the TTL of ${name}`,
    explain:
      "Brings parts that are there under the TTL of the table, one partition after the other. They may be written again.",
    path: "/v1/lifecycle/materialize",
    body: () => ({ table }),
    look: {
      isAtOnce: true,
      more: (signal) => room(name, signal),
      draw: ({ partitions = [] }, disks) => [
        facts([
          ["Partitions", whole(partitions.length)],
          ["Written again", `at most ${bytes(partitions.reduce((sum, one) => sum + one.bytes, 0))}`],
          ["Room", free(disks)],
        ]),
        partitions.length > 0 && verbatim("Statements", partitions.map((one) => `${one.sql};`).join("\n")),
      ],
      stop: ({ partitions = [] }) => (partitions.length === 0 ? "no part is to come under a TTL" : null),
    },
    verb: "Materialise TTL",
    draw: (result) => facts([["Partitions done", whole((result?.partitions ?? []).filter((one) => one.done).length)]]),
  });
}
