// Sending dead letters again and deleting them: counted first, with some of them to look at, then confirmed by the
// topic that is typed by hand. Knows nothing of how letters are found.

import { ask, curl } from "./api.js";
import { attribute, el, say, show } from "./dom.js";
import { plural, whole } from "./format.js";
import { address, letterTable, taken } from "./letters.js";
import { dialog, facts, field, refusal, summed, toast, work } from "./ui.js";

const RATE = 1000;
const SAMPLE = 5;

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
    const confirm = el(
      "form",
      { hidden: true },
      field(`Type the topic ${group.topic} to confirm`, typed),
      el("p", { class: "row" }, go, copier()),
    );
    const inputs = el("div", { class: "row" }, body.fields);

    function copier() {
      return el("button", {
        type: "button",
        class: "quiet",
        text: "Copy as curl",
        onclick: async () => {
          const command = curl(path, { method: "POST", body: body.make() });
          await navigator.clipboard?.writeText(command).catch(() => {});
          toast("As curl", command);
        },
      });
    }

    counting.addEventListener("click", async () => {
      sample.replaceChildren(el("p", { class: "soft", text: "Counting …" }));
      try {
        const answer = await ask(`${path}?dry_run=true`, { method: "POST", body: body.make(), signal: node.signal });
        const some = await ask(address("/v1/dead-letters", { ...body.filter, state: body.state, limit: SAMPLE }), {
          signal: node.signal,
        });
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
      facts([
        ["Topic", group.topic],
        ["Reason", group.reason],
        ["Path", group.path],
        ["Since", body.filter.since],
      ]),
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
  const numbers = Object.entries(answer).filter(
    ([name, value]) => typeof value === "number" && (value > 0 || name.startsWith("would")),
  );
  const grid = letterTable(null);
  grid.follow(some);
  const partitions = (answer.partitions ?? []).filter((one) => one.delete_before > 0 || one.marked > 0).slice(0, 50);
  return el(
    "div",
    { class: "preview" },
    facts(
      (numbers.length ? numbers : [["letters", 0]]).map(([name, value]) => [name.replaceAll("_", " "), whole(value)]),
    ),
    partitions.length > 0 &&
      el(
        "ul",
        { class: "soft" },
        partitions.map((one) =>
          el("li", {
            text: `partition ${one.partition}: everything before offset ${whole(one.delete_before)} goes, ${plural(one.marked ?? 0, "letter")} behind it only marked`,
          }),
        ),
      ),
    some.length > 0 && el("h3", { text: "The newest of them" }),
    some.length > 0 && grid,
  );
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
    body: {
      fields: [field("Records per second at most", rate), field("Letters at most", limit)],
      filter,
      state: "waiting",
      make: () => ({ ...filter, rate: positive(rate), limit: positive(limit) }),
    },
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
    body: { fields: [], filter, make: () => filter },
    verb: "Purge",
    danger: true,
    group,
  });
}
