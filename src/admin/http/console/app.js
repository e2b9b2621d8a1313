// The page as a whole: signing in, following the state, drawing it once a frame, keys, theme. Decides nothing: what
// may be done is the server's to say, and each section draws itself.

import { access } from "./access.js";
import { Live, ask, token } from "./api.js";
import { backups } from "./backups.js";
import { dialog } from "./dialogs.js";
import { attribute, el, show, text } from "./dom.js";
import { clock, millis, span, useUtc, zoneName } from "./format.js";
import { letters } from "./letters.js";
import { lifecycle } from "./lifecycle.js";
import { control } from "./line.js";
import { migrations } from "./migrations.js";
import { flow, problems, totals, verdict, whoAmI } from "./overview.js";
import { isPressed, released, watchPresses } from "./press.js";
import { schedules } from "./schedules.js";
import { signIn } from "./signin.js";
import { partitions, pods, tablesOfClickHouse, timeline } from "./tables.js";
import { actor, copyCurl, setRights, toast } from "./ui.js";
import { jobs } from "./works.js";

const STALE_S = 3;
const EXPIRY_WARNING_S = 15 * 60;

const by = (id) => document.getElementById(id);
const main = by("main");

/** Everything that is shown, in its order: its id, key, title, what makes it, how wide it is. */
const SECTIONS = [
  ["problems", "1", "Problems", () => problems(go), ""],
  ["totals", "2", "Totals", totals, ""],
  ["flow", "3", "Flow", flow, ""],
  ["partitions", "4", "Partitions by age", partitions, "wide"],
  ["operate", "o", "Operate the line", control, "narrow"],
  ["tables", "5", "Tables", tablesOfClickHouse, ""],
  ["pods", "6", "Pods", pods, ""],
  ["dead-letters", "7", "Dead letters", letters, ""],
  ["jobs", "8", "Jobs", jobs, ""],
  ["backups", "9", "Backups", backups, ""],
  ["schedules", "s", "Schedules", schedules, ""],
  ["migrations", "m", "Migrations", migrations, ""],
  ["lifecycle", "l", "Lifecycle and erasure", lifecycle, ""],
  ["access", "a", "Tokens and audit trail", access, ""],
  ["timeline", "e", "Timeline", timeline, ""],
];

let view = null;
let last = null;
let state = { name: "off" };
let self = null;

// ---------------------------------------------------------------- drawing

function build() {
  const top = verdict();
  const notices = by("notices");
  const stale = el(
    "p",
    { class: "notice warn", hidden: true },
    el("span"),
    " ",
    el("button", { type: "button", text: "Try now", onclick: () => live.now() }),
  );
  const who = el("p", { class: "notice who", id: "who" });
  const readOnly = el("p", {
    class: "notice",
    hidden: true,
    text: "Read-only: this console shows, and changes nothing (admin.console.read_only).",
  });
  const expiry = el(
    "p",
    { class: "notice warn", hidden: true },
    el("span"),
    " ",
    el("button", { type: "button", text: "Renew the token", onclick: renew }),
  );
  notices.replaceChildren(who, stale, expiry, readOnly);
  const bodies = new Map();
  const nav = el(
    "nav",
    { class: "places", "aria-label": "Sections" },
    el(
      "ul",
      {},
      SECTIONS.map(([id, key, title]) =>
        el(
          "li",
          {},
          el(
            "a",
            { href: `#${id}`, "aria-keyshortcuts": key },
            el("kbd", { "aria-hidden": "true", text: key }),
            ` ${title}`,
          ),
        ),
      ),
    ),
  );
  const panels = SECTIONS.map(([id, , title, make, style]) => {
    const body = make();
    bodies.set(id, body);
    const heading = el("h2", { id: `${id}-title`, text: title });
    return el(
      "section",
      { id, class: `panel ${style}`, "aria-labelledby": `${id}-title`, tabindex: "-1" },
      heading,
      body,
    );
  });
  main.replaceChildren(top, nav, el("div", { class: "panels" }, panels));
  view = { top, bodies, stale, readOnly, expiry, who };
}

let isDue = false;
function draw() {
  if (isDue || !view || !last) return;
  isDue = true;
  // A page that nobody sees is drawn when it is seen again, and one that is pressed right after: with the newest state.
  requestAnimationFrame(async () => {
    await released();
    isDue = false;
    if (view && last) drawNow();
  });
}

function drawNow() {
  const began = performance.now();
  const s = last.summary;
  // By the server's clock: this machine's may be wrong.
  const now = (millis(s.at) ?? last.wall) + (began - last.received);
  text(by("name"), s.name ?? "");
  text(by("version"), s.version ? `v${s.version}` : "");
  const roles = s.actor?.roles ?? [];
  show(view.readOnly, Boolean(s.read_only));
  setRights({
    name: s.actor?.name ?? "",
    permissions: s.actor?.permissions ?? [],
    roles,
    readOnly: Boolean(s.read_only),
    isConnected: state.name === "live",
  });
  text(view.who, s.actor ? `You act as ${actor()}; what you change is in the audit trail.` : "");
  view.top.follow(s, now);
  for (const body of view.bodies.values()) body.follow(s, now);
  tick();
  const took = performance.now() - began;
  performance.measure("penstock-draw", { start: began, duration: took });
  // Who observes has it; the browser would keep each for as long as the page is open.
  performance.clearMeasures("penstock-draw");
}

/** What changes with time alone: the age of what is shown, the next try, the end of the token. */
function tick() {
  if (isPressed()) return;
  const link = by("link");
  const age = last ? (performance.now() - last.received) / 1000 : null;
  const isStale = age !== null && age > STALE_S;
  document.body.classList.toggle("stale", isStale);
  const words = {
    off: "Not connected",
    connecting: last ? "Reconnecting …" : "Connecting …",
    live: isStale ? `Silent for ${span(Math.floor(age))}` : "Live",
    waiting: state.detail
      ? `Reconnecting in ${span(Math.max(1, Math.ceil((state.detail.at - Date.now()) / 1000)))}`
      : "",
    refused: "Signed out",
  };
  text(by("link-text"), words[state.name]);
  attribute(link, "data-state", isStale && state.name === "live" ? "waiting" : state.name);
  if (!view) return;
  show(view.stale, isStale);
  if (isStale)
    text(
      view.stale.firstChild,
      `What you see is ${span(Math.floor(age))} old (${clock(last.summary.at)}): ${state.detail?.why ?? "nothing comes any more"}.`,
    );
  view.top.age(isStale ? age : null, last?.summary.at);
  const left = self?.ends ? (millis(self.ends) - Date.now()) / 1000 : null;
  show(view.expiry, left !== null && left < EXPIRY_WARNING_S);
  if (left !== null && left < EXPIRY_WARNING_S)
    text(view.expiry.firstChild, left > 0 ? `Your token ends in ${span(Math.floor(left))}.` : "Your token has ended.");
  show(view.expiry.lastChild, Boolean(self?.own) && left > 0);
}

// ---------------------------------------------------------------- the connection

const live = new Live({
  summary(summary) {
    const isFirst = !last;
    last = { summary, received: performance.now(), wall: Date.now() };
    if (!view) build();
    draw();
    if (isFirst) requestAnimationFrame(() => requestAnimationFrame(arrive));
  },
  state(name, detail) {
    const before = state.name;
    state = { name, detail };
    if (name === "refused")
      signOut(
        detail.status === 401 ? `You were signed out: ${detail.message}` : `Refused: ${detail.message}`,
        detail.hint,
      );
    else if (name !== before) draw();
    if (name === "waiting" && !last)
      main.replaceChildren(
        el("p", { class: "nothing", text: `No state has come yet: ${detail.why}. It is tried again by itself.` }),
      );
    tick();
  },
});

function connect() {
  document.body.classList.remove("signed-out");
  show(by("sign-out"), true);
  main.replaceChildren(el("p", { class: "nothing", text: "Asking for the state …" }));
  view = null;
  last = null;
  live.start();
  whoAmI().then((principal) => {
    self = principal;
    tick();
  });
}

async function renew() {
  try {
    const made = await ask("/v1/tokens/refresh", { method: "POST" });
    token.set(made.token);
    self = { ...made };
    toast("The token was renewed.");
    live.start();
  } catch (error) {
    toast(`Not renewed: ${error.message}`, error.hint);
  }
}

function signOut(why = "", hint = "") {
  live.stop();
  token.clear();
  view = null;
  last = null;
  self = null;
  state = { name: "off" };
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  by("notices").replaceChildren();
  for (const id of ["name", "version"]) text(by(id), "");
  document.title = "penstock";
  document.body.classList.add("signed-out");
  document.body.classList.remove("stale");
  show(by("sign-out"), false);
  const taken = (given) => {
    token.set(given);
    connect();
  };
  signIn(main, taken, why, hint);
  tick();
}

// ---------------------------------------------------------------- places, keys, theme

/** Goes to a place of this page, such as "#dead-letters?topic=clicks". */
function go(hash) {
  const [id, query] = hash.replace(/^#/, "").split("?");
  const panel = id === "verdict" ? view?.top : SECTIONS.some(([name]) => name === id) ? by(id) : null;
  if (!panel) return;
  panel.scrollIntoView({ block: "start" });
  panel.focus({ preventScroll: true });
  if (query !== undefined) view.bodies.get(id)?.open?.(new URLSearchParams(query));
  history.replaceState(null, "", hash.startsWith("#") ? hash : `#${hash}`);
}

function arrive() {
  if (location.hash.length > 1 && !location.hash.startsWith("#main")) go(location.hash);
}

const KEYS = [
  ["0", "Verdict"],
  ...SECTIONS.map(([, key, title]) => [key, title]),
  ["/", "Filter partitions"],
  ["↑ ↓ Home End", "Move among rows"],
  ["Enter", "Open the row"],
  ["c", "Copy the row or number as curl"],
  ["t", "Theme"],
  ["?", "This list"],
  ["Esc", "Close"],
];

function help() {
  dialog("Keys", (content) => {
    const single = el("input", { type: "checkbox", id: "single-keys", autofocus: true });
    single.checked = keysAreOn();
    single.addEventListener("change", () => localStorage.setItem("penstock-keys", single.checked ? "on" : "off"));
    content.append(
      el(
        "dl",
        { class: "facts keys" },
        KEYS.flatMap(([key, what]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: what })]),
      ),
      el("p", {}, single, " ", el("label", { for: "single-keys", text: "Single keys are shortcuts" })),
    );
  });
}

const keysAreOn = () => localStorage.getItem("penstock-keys") !== "off";

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input:not([type=checkbox]), select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping || document.querySelector("dialog[open]")) return;
  if (!keysAreOn() && event.key !== "?") return;
  const place = SECTIONS.find(([, key]) => key === event.key)?.[0];
  const acts = {
    "?": help,
    0: () => view && go("#verdict"),
    "/": () => by("partition-filter")?.focus(),
    t: turnTheme,
    c: () => copyCurl(document.activeElement),
  };
  const act = acts[event.key] ?? (view && place ? () => go(`#${place}`) : null);
  if (!act) return;
  event.preventDefault();
  act();
});

document.addEventListener("click", (event) => {
  const place = event.target.closest?.('nav a[href^="#"]');
  if (place) {
    event.preventDefault();
    go(place.getAttribute("href"));
    return;
  }
  const number = event.target.closest?.(".figure, .copy");
  if (number && !window.getSelection()?.toString()) copyCurl(number);
});

const THEMES = ["auto", "light", "dark"];
function turnTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length];
  localStorage.setItem("penstock-theme", next);
  setTheme(next);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = THEMES.includes(theme) ? theme : "auto";
  text(by("theme"), `Theme: ${document.documentElement.dataset.theme}`);
}

function setZone(isUtc) {
  useUtc(isUtc);
  localStorage.setItem("penstock-zone", isUtc ? "utc" : "local");
  text(by("zone"), isUtc ? "UTC" : "Local time");
  text(by("times"), `Times are ${zoneName()}.`);
  draw();
}

setTheme(localStorage.getItem("penstock-theme"));
setZone(localStorage.getItem("penstock-zone") === "utc");
by("theme").addEventListener("click", turnTheme);
by("zone").addEventListener("click", () => setZone(localStorage.getItem("penstock-zone") !== "utc"));
by("keys").addEventListener("click", help);
by("sign-out").addEventListener("click", () => signOut());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  live.now();
  draw();
});
window.addEventListener("online", () => live.now());
window.addEventListener("hashchange", arrive);
setInterval(tick, 1000);
watchPresses(() => toast("Pressed for too long", "The page went on meanwhile, and nothing was done. Press again."));

if (token.get()) connect();
else signOut();
