// Operating the line: topics are paused and resumed, batches sealed, files read again, a shut gate tried. Asks the admin
// process, which tells every pod; what is paused is what the pods say.

import { choice, deed, facts, field, line, work } from "./dialogs.js";
import { el, show } from "./dom.js";
import { plural, span } from "./format.js";
import { action, table } from "./ui.js";

const RIGHT = "line_control";
const NO_CONTROL = "the line cannot be controlled: no key for it is set (admin.console.control_key_file)";
const SPANS = [
  [300, "5 minutes"],
  [900, "15 minutes"],
  [3600, "1 hour"],
  [14_400, "4 hours"],
  [86_400, "1 day"],
];

const state = { isControlled: true };
const unless = () => (state.isControlled ? null : NO_CONTROL);
/** Only such a pause is somebody's, and ends by resuming. */
const isByHand = (topic) => /^by /.test(topic.paused);

export function control() {
  const place = el("div");
  const none = el("p", { class: "soft", hidden: true, text: `Buttons are off: ${NO_CONTROL}.` });
  const other = { topic: "", paused: "" };
  const all = el(
    "div",
    { class: "row" },
    action("Flush now", RIGHT, () => work(place, "/v1/line/flush", { topic: null }, undefined, OUTCOME), { unless }),
    action("Reload files", RIGHT, () => work(place, "/v1/line/reload", {}, undefined, OUTCOME), { unless }),
    action("Pause another topic…", RIGHT, () => pauseDialog(other), { unless }),
  );
  const [topics, gates] = [topicTable(), gateTable()];
  const node = el("div", {}, none, all, place, topics, el("h3", { text: "Endpoints" }), gates);
  node.follow = (s) => {
    state.isControlled = s.control === true;
    show(none, !state.isControlled);
    topics.follow(topicsOf(s.partitions ?? []));
    gates.follow(s.flow?.gates ?? []);
  };
  return node;
}

/** What every action of the line gives: which pod did it, and what it said. */
const OUTCOME = {
  draw: (result) => pods(result),
  fault: (result) => {
    const silent = (result?.pods ?? []).filter((pod) => !pod.ok);
    return silent.length ? `${plural(silent.length, "pod")} of ${result.pods.length} did not` : null;
  },
};

const pods = (result) =>
  facts((result?.pods ?? []).slice(0, 200).map((pod) => [pod.address, pod.said || (pod.ok ? "done" : "not done")]));

function topicsOf(partitions) {
  const all = new Map();
  for (const p of partitions) {
    const topic = all.get(p.topic) ?? { topic: p.topic, partitions: 0, lag_s: null, paused: "", pausedCount: 0 };
    all.set(p.topic, topic);
    topic.partitions += 1;
    if (typeof p.lag_s === "number") topic.lag_s = Math.max(topic.lag_s ?? 0, p.lag_s);
    if (!p.paused) continue;
    topic.pausedCount += 1;
    // What a person did is told before what the line did by itself.
    const told = p.paused === true ? "paused" : p.paused;
    if (!isByHand(topic)) topic.paused = told;
  }
  return [...all.values()];
}

function topicTable() {
  return table({
    caption: "Topics of the line",
    keyOf: (topic) => topic.topic,
    jq: (topic) => `[.partitions[] | select(.topic == ${JSON.stringify(topic.topic)})]`,
    empty: "No partition is owned by a pod.",
    sort: { by: 0 },
    columns: [
      { title: "Topic", head: true, of: (topic) => topic.topic, sort: (topic) => topic.topic },
      { title: "Partitions", num: true, of: (topic) => String(topic.partitions), sort: (topic) => topic.partitions },
      { title: "Behind", num: true, of: (topic) => span(topic.lag_s), sort: (topic) => topic.lag_s },
      {
        title: "Paused",
        of: (topic) =>
          !topic.paused || topic.pausedCount === topic.partitions
            ? topic.paused
            : `${topic.paused} (${topic.pausedCount} of ${topic.partitions})`,
        state: (topic) => (topic.paused ? "warn" : null),
      },
      { title: "Do", draw: topicActions },
    ],
  });
}

function topicActions(cell, topic) {
  cell.__topic = topic;
  if (!cell.firstChild) {
    const one = (label, press, why) =>
      action(label, RIGHT, () => press(cell.__topic), {
        name: () => `${label.replace("…", "")} ${cell.__topic.topic}`,
        unless: () => unless() ?? why?.(cell.__topic),
      });
    cell.pause = one("Pause…", pauseDialog);
    cell.resume = one("Resume", resume, (now) => (isByHand(now) ? null : "nobody has paused it"));
    cell.append(cell.pause, cell.resume);
  }
  show(cell.resume, isByHand(topic));
  for (const both of [cell.pause, cell.resume]) both.button.gate();
}

function pauseDialog(topic) {
  const name = line({ required: true, value: topic.topic });
  const seconds = choice(SPANS);
  seconds.value = "900";
  deed({
    title: topic.topic ? `Pause ${topic.topic}` : "Pause a topic",
    explain:
      "Nothing more is taken from the topic; what is taken is written. Nothing is lost as long as Kafka keeps it. It goes on by itself when the time is over.",
    about: [["Now", topic.paused]],
    inputs: [!topic.topic && field("Topic", name), field("For", seconds)],
    path: "/v1/line/pause",
    body: () => ({ topic: name.value.trim(), for_s: Number(seconds.value) }),
    reason: "Whoever looks at the topic sees it.",
    verb: "Pause",
    lasts:
      "It is being paused, and the row says so within seconds. It ends by Resume, by cancelling the job, or by itself.",
    ...OUTCOME,
  });
}

function resume(topic) {
  deed({
    title: `Resume ${topic.topic}`,
    about: [["Paused", topic.paused]],
    path: "/v1/line/resume",
    body: () => ({ topic: topic.topic }),
    verb: "Resume",
    ...OUTCOME,
  });
}

function gateTable() {
  return table({
    caption: "Gates of the ClickHouse servers",
    keyOf: (gate) => gate.endpoint,
    jq: (gate) => `.flow.gates[] | select(.endpoint == ${JSON.stringify(gate.endpoint)})`,
    empty: "No endpoint is known yet.",
    sort: { by: 0 },
    columns: [
      { title: "Endpoint", head: true, of: (gate) => gate.endpoint, sort: (gate) => gate.endpoint },
      {
        title: "Gate",
        of: (gate) => gate.state,
        state: (gate) => ({ open: "good", limited: "warn", shut: "bad" })[gate.state],
      },
      { title: "Do", draw: gateActions },
    ],
  });
}

function gateActions(cell, gate) {
  cell.__gate = gate;
  if (!cell.firstChild)
    cell.append(
      action("Probe now…", RIGHT, () => probeDialog(cell.__gate), {
        name: () => `Probe now ${cell.__gate.endpoint}`,
        unless: () => unless() ?? (cell.__gate.state === "open" ? "its gate is open" : null),
      }),
    );
  cell.firstChild.button.gate();
}

function probeDialog(gate) {
  deed({
    title: `Probe ${gate.endpoint}`,
    explain:
      "Lets the gate try one request now instead of waiting. Where that works, inserts go on; where it does not, it waits longer.",
    about: [["Gate", gate.state]],
    path: "/v1/line/probe",
    body: () => ({ endpoint: gate.endpoint }),
    reason: true,
    verb: "Probe now",
    ...OUTCOME,
  });
}
