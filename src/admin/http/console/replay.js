// Sending dead letters again and deleting them: counted first, with some of them to look at, then confirmed by the
// topic that is typed by hand. Knows nothing of how letters are found.

import { ask } from "./api.js";
import { el } from "./dom.js";
import { deed, facts, field, listed, summed } from "./dialogs.js";
import { plural, whole } from "./format.js";
import { address, letterTable, taken } from "./letters.js";

const RATE = 1000;
const SAMPLE = 5;

/** What both have: the filter, a count with a sample before anything else, the topic typed by hand. */
function counted({ title, explain, path, inputs, filter, state, body, verb, danger, group }) {
  const some = (signal) => ask(address("/v1/dead-letters", { ...filter, state, limit: SAMPLE }), { signal });
  deed({
    title,
    explain,
    about: [
      ["Topic", group.topic],
      ["Reason", group.reason],
      ["Path", group.path],
      ["Since", filter.since],
    ],
    inputs,
    path,
    body,
    look: {
      label: "Count first",
      saying: "Counting …",
      more: some,
      draw: (answer, sample) => preview(answer, taken(sample)),
      told: summed,
    },
    typed: () => ({ what: "the topic", text: group.topic }),
    verb,
    danger,
  });
}

/** What would become of how many, in whole numbers, and some of them. */
function preview(answer, some) {
  const numbers = Object.entries(answer).filter(
    ([name, value]) => typeof value === "number" && (value > 0 || name.startsWith("would")),
  );
  const grid = letterTable(null);
  grid.follow(some);
  const partitions = (answer.partitions ?? []).filter((one) => one.delete_before > 0 || one.marked > 0);
  return [
    facts(
      (numbers.length ? numbers : [["letters", 0]]).map(([name, value]) => [name.replaceAll("_", " "), whole(value)]),
    ),
    listed(
      partitions.map(
        (one) =>
          `partition ${one.partition}: everything before offset ${whole(one.delete_before)} goes, ${plural(one.marked ?? 0, "letter")} behind it only marked`,
      ),
    ),
    some.length > 0 && el("h3", { text: "The newest of them" }),
    some.length > 0 && grid,
  ];
}

const positive = (input) => {
  const value = Number.parseInt(input.value, 10);
  return Number.isFinite(value) && value > 0 ? value : undefined;
};

export function replayDialog(filter, group) {
  const rate = el("input", { type: "number", min: "1", max: "100000", value: String(RATE), inputmode: "numeric" });
  const limit = el("input", { type: "number", min: "1", inputmode: "numeric", placeholder: "all" });
  counted({
    title: "Replay dead letters",
    explain:
      "Publishes the records to their topic again, each once. Correct the table file or the producer first: what is still wrong comes back as a letter.",
    path: "/v1/dead-letters/replay",
    inputs: [field("Records per second at most", rate), field("Letters at most", limit)],
    filter,
    state: "waiting",
    body: () => ({ ...filter, rate: positive(rate), limit: positive(limit) }),
    verb: "Replay",
    group,
  });
}

export function purgeDialog(filter, group) {
  counted({
    title: "Purge dead letters",
    explain:
      "Deletes the letters for good. The records are then nowhere but in their source topic, as long as that keeps them.",
    path: "/v1/dead-letters/purge",
    filter,
    body: () => filter,
    verb: "Purge",
    danger: true,
    group,
  });
}
