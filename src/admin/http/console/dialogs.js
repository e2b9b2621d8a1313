// Dialogs: over the page, for what is looked at and for what is changed. What changes something goes one way: what it
// would do first, where the server can say it; then a reason and what is typed by hand; then the job. Knows nothing of
// what is done.

import { ask, curl, requestKey } from "./api.js";
import { attribute, el, fresh, say, show, text } from "./dom.js";
import { actor, copied } from "./ui.js";

/** A dialog over the page; Esc closes it, and the focus goes back to where it came from. */
export function dialog(title, build) {
  const back = document.activeElement;
  const homes = ["[data-row]", "section, dialog"].map((one) => back?.closest(one));
  const id = fresh("title");
  const content = el("div", { class: "content" });
  const close = el("button", { type: "button", class: "quiet close", "aria-label": "Close", text: "Close (Esc)" });
  const node = el("dialog", { "aria-labelledby": id }, el("header", {}, el("h2", { id, text: title }), close), content);
  const stop = new AbortController();
  node.signal = stop.signal;
  close.addEventListener("click", () => node.close());
  node.addEventListener("close", () => {
    stop.abort();
    node.remove();
    // The browser gives the focus back by itself where it can, before this is told; by now it may have gone on.
    if (document.activeElement !== document.body) return;
    const places = [back, ...homes, document.getElementById("main")];
    places.find((one) => one?.isConnected && one.checkVisibility()).focus({ preventScroll: true });
  });
  build(content, node);
  document.body.append(node);
  node.showModal();
  node.querySelector("[autofocus]")?.focus();
  return node;
}

export function field(label, input, about) {
  input.id ||= fresh("field");
  const hint = about && el("small", { id: `${input.id}-about`, class: "soft", text: about });
  if (hint) input.setAttribute("aria-describedby", hint.id);
  return el("p", { class: "field" }, el("label", { for: input.id, text: label }), input, hint);
}

/** Words in a line: a name, an id, a reason. */
export const line = (attributes = {}) =>
  el("input", {
    type: "text",
    autocomplete: "off",
    autocorrect: "off",
    spellcheck: "false",
    autocapitalize: "none",
    ...attributes,
  });

export const reasonLine = (attributes = {}) =>
  line({
    required: true,
    minlength: "3",
    maxlength: "200",
    autocorrect: null,
    spellcheck: null,
    autocapitalize: null,
    ...attributes,
  });

/** A box to tick, with its words behind it. */
export function tick(label, input) {
  input.id ||= fresh("field");
  return el("p", { class: "tick" }, input, " ", el("label", { for: input.id, text: label }));
}

export function choice(pairs, attributes = {}) {
  return el(
    "select",
    attributes,
    pairs.map(([value, label]) => el("option", { value, text: label })),
  );
}

/** What was refused, in the words of the server; told without the focus to who has gone on. */
export function refusal(place, error, isHere = true) {
  const hint = error.hint ? el("p", { text: error.hint }) : null;
  place.replaceChildren(
    el(
      "div",
      { class: "refusal", tabindex: "-1" },
      el("p", {}, el("strong", { text: "Not done: " }), error.message),
      hint,
    ),
  );
  if (isHere) place.firstElementChild.focus();
  say(`Not done: ${error.message}`);
}

/** A list of names and values. */
export function facts(pairs) {
  return el(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .flatMap(([name, value]) => [
        el("dt", { text: name }),
        el("dd", {}, value instanceof Node ? value : String(value)),
      ]),
  );
}

const TEXT_CHARS_MAX = 20_000;

/** Text as it is, such as statements. */
export const verbatim = (label, value) =>
  el("pre", { tabindex: "0", "aria-label": label, text: String(value).slice(0, TEXT_CHARS_MAX) });

export const listed = (sentences) =>
  sentences.length > 0 &&
  el(
    "ul",
    { class: "soft" },
    sentences.slice(0, 100).map((one) => el("li", { text: one })),
  );

/** The plain fields of an answer, in words: {"would_replay": 3} is "would replay 3". */
export function summed(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  return Object.entries(value)
    .filter(([, inner]) => inner !== null && inner !== "" && typeof inner !== "object")
    .map(([name, inner]) => `${name.replaceAll("_", " ")} ${inner}`)
    .join(", ");
}

// ---------------------------------------------------------------- jobs

const JOB_LOOKS_MAX = 7200;
const wait = (ms, signal) =>
  new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(new DOMException("over", "AbortError"));
    });
  });

/**
 * Sends what becomes a job, and shows in `place` how far it is until it has ended; gives the job, or the error. Of the
 * result `draw` shows more than its plain fields, and `fault` says what is not well in it. A job that `lasts` is left
 * alone when it has told its first step. `key` names the request.
 */
export async function work(place, path, body, signal, { draw, fault, lasts, key = requestKey() } = {}) {
  const bar = el("progress", { max: "1", "aria-label": "Progress" });
  const step = el("p", { class: "step", tabindex: "-1", text: "Asked for …" });
  place.replaceChildren(el("div", { class: "job" }, step, bar));
  step.focus();
  const isHere = () => place.contains(document.activeElement) || document.activeElement === document.body;
  let job;
  try {
    job = await ask(path, { method: "POST", body, key });
    // What is done at once is no job.
    const isJob = job.action !== undefined;
    for (let looks = 0; isJob && job.state === "running"; looks += 1) {
      const latest = job.events?.at?.(-1);
      const share = latest?.progress ?? latest?.read / latest?.total;
      if (share >= 0 && share <= 1) bar.value = share;
      text(step, `Job ${job.id} is running${latest ? `: ${summed(latest)}` : ""}`);
      if (lasts && latest)
        return came(place, { job, told: lasts, wrong: fault?.(latest), more: draw?.(latest) }, isHere());
      if (looks >= JOB_LOOKS_MAX) throw new Error("the job takes long: see it among the jobs");
      await wait(looks < 5 ? 300 : 1000, signal);
      job = await ask(`/v1/jobs/${encodeURIComponent(job.id)}`, { signal });
    }
    if (isJob && job.state !== "done")
      throw Object.assign(new Error(job.error?.detail ?? `the job is ${job.state}`), { hint: job.error?.hint ?? "" });
    const result = isJob ? job.result : job;
    return came(place, { job, told: summed(result) || "done", wrong: fault?.(result), more: draw?.(result) }, isHere());
  } catch (error) {
    if (error.name !== "AbortError") refusal(place, error, isHere());
    return { job, error };
  }
}

function came(place, { job, told, wrong, more }, isHere) {
  const [word, rest] = wrong ? ["Not well. ", wrong] : ["Done. ", told];
  place.replaceChildren(
    el(
      "div",
      { class: wrong ? "refusal" : "outcome", tabindex: "-1" },
      el("p", {}, el("strong", { text: word }), rest),
      more,
      job.action !== undefined && el("p", { class: "soft", text: `Job ${job.id}` }),
    ),
  );
  if (isHere) place.firstElementChild.focus();
  say(`${word}${rest}`);
  return { job };
}

// ---------------------------------------------------------------- what changes something

/**
 * The dialog by which something is changed.
 *
 * `about` and `explain` say what; `inputs` are fields, which `body()` reads; `path` is where it is sent. With `look` the
 * server is asked first what it would do: `{ label, isAtOnce, more(signal), draw(answer, more), stop(answer, more) }`, where
 * `stop` says why it cannot be done. Then it is confirmed: by a `reason`, and by `typed(answer)`, `{ what, text }`, or
 * nothing. `named(answer)` is added to the body: the hash of the plan that was looked at. `private` things are not copied.
 * What is done `atOnce` is no job, and takes no key.
 */
export function deed(what) {
  return dialog(what.title, (content, node) => new Deed(what, content, node));
}

class Deed {
  constructor(what, content, node) {
    Object.assign(this, { what, signal: node.signal, answer: null, key: null, wanted: null, round: 0 });
    this.place = el("div", { "aria-live": "off" });
    this.shown = el("div");
    this.reason = what.reason ? reasonLine() : null;
    this.typed = line();
    this.typedPlace = el("div");
    this.go = el("button", { type: "submit", class: what.danger ? "danger" : "main", text: what.verb });
    const inputs = what.inputs ?? [];
    this.looking = el(
      "form",
      { hidden: !what.look, onsubmit: (event) => (event.preventDefault(), this.look()) },
      what.look && el("div", { class: "row" }, inputs),
      el(
        "p",
        { class: "row" },
        el("button", {
          type: "submit",
          class: what.look?.isAtOnce ? "quiet" : "main",
          text: what.look?.isAtOnce ? "Look again" : (what.look?.label ?? "Look first"),
        }),
      ),
    );
    this.confirm = el(
      "form",
      { hidden: Boolean(what.look), onsubmit: (event) => (event.preventDefault(), this.send()) },
      !what.look && el("div", { class: "row" }, inputs),
      this.reason && field("Reason", this.reason, what.reason === true ? "It stands in the audit trail." : what.reason),
      this.typedPlace,
      el("p", { class: "row" }, this.go, what.private ? null : this.copier()),
      el("p", { class: "soft", text: `As ${actor()}.` }),
    );
    this.typed.addEventListener("input", () => attribute(this.go, "aria-disabled", this.fits() ? null : "true"));
    // What was looked at is not what would be done once something else is asked for.
    this.looking.addEventListener("input", () => this.forget());
    content.append(
      what.explain && el("p", { text: what.explain }),
      facts(what.about ?? []),
      this.looking,
      this.shown,
      this.confirm,
      this.place,
    );
    if (!what.look) this.want(null);
    if (what.look?.isAtOnce) queueMicrotask(() => this.look());
    else this.first(content.querySelector("form:not([hidden])"));
  }

  first(form) {
    const inputs = [...form.querySelectorAll("input, select, button")];
    inputs.find((input) => input.required && !input.value)?.setAttribute("autofocus", "");
    if (!form.querySelector("[autofocus]")) inputs[0]?.setAttribute("autofocus", "");
  }

  path = () => (typeof this.what.path === "function" ? this.what.path() : this.what.path);

  body() {
    const all = { ...this.what.body?.(), ...(this.answer ? this.what.named?.(this.answer) : {}) };
    if (this.reason) all.reason = this.reason.value.trim();
    // A route without a body takes none, not even an empty one.
    return this.what.body || this.what.named || this.reason ? all : undefined;
  }

  /** What was asked before is no answer any more, also if it is still to come. */
  forget() {
    this.round += 1;
    this.answer = null;
    this.key = null;
    show(this.confirm, false);
    this.shown.replaceChildren();
    this.place.replaceChildren();
  }

  async look() {
    const { look } = this.what;
    const path = this.path();
    this.forget();
    const { round } = this;
    this.shown.replaceChildren(el("p", { class: "soft", text: look.saying ?? "Asking what it would do …" }));
    try {
      const body = this.what.body?.();
      const dry = `${path}${path.includes("?") ? "&" : "?"}dry_run=true`;
      const answer = await ask(dry, { method: "POST", body, signal: this.signal });
      const more = await look.more?.(this.signal);
      if (round !== this.round) return;
      const drawn = [look.draw(answer, more)].flat().filter(Boolean);
      const why = look.stop?.(answer, more);
      this.answer = answer;
      if (why) drawn.push(el("p", { class: "refusal", tabindex: "-1", text: `Cannot be done: ${why}` }));
      this.shown.replaceChildren(el("div", { class: "preview" }, ...drawn));
      if (why) return void this.shown.querySelector(".refusal").focus();
      this.want(answer);
      show(this.confirm, true);
      say(look.told?.(answer) ?? "That is what it would do.");
      this.confirm.querySelector("input, button").focus();
    } catch (error) {
      if (error.name !== "AbortError" && round === this.round) refusal(this.shown, error);
    }
  }

  /** What is to be typed, if anything is. */
  want(answer) {
    this.wanted = this.what.typed?.(answer) ?? null;
    this.typed.value = "";
    this.typedPlace.replaceChildren(
      ...(this.wanted ? [field(`Type ${this.wanted.what} ${this.wanted.text} to confirm`, this.typed)] : []),
    );
    attribute(this.go, "aria-disabled", this.fits() ? null : "true");
  }

  /** A telephone's keyboard puts a space behind the word that it offers. */
  fits = () => this.wanted === null || [this.typed.value, this.typed.value.trim()].includes(this.wanted.text);

  async send() {
    if (!this.fits()) {
      say(`Type ${this.wanted.text} to confirm.`);
      this.typed.focus();
      return;
    }
    const body = this.body();
    // One press is one request, also if it has to be sent twice.
    this.key ??= this.what.atOnce ? null : requestKey();
    show(this.confirm, false);
    show(this.looking, false);
    const { draw, fault, lasts } = this.what;
    const { job, error } = await work(this.place, this.path(), body, this.signal, {
      draw,
      fault,
      lasts,
      key: this.key,
    });
    if (!error || error.name === "AbortError") return void (error || this.what.done?.(job));
    if (error.status !== 0) this.key = null;
    show(this.looking, Boolean(this.what.look));
    show(this.confirm, error.status === 0 || !this.what.look);
  }

  copier() {
    return el("button", {
      type: "button",
      class: "quiet",
      text: "Copy as curl",
      onclick: () => copied(curl(this.path(), { method: "POST", body: this.body() })),
    });
  }
}
