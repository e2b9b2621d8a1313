// Parts that several sections use: tables, lines of history, buttons that say why they do nothing, copying.
// Knows how things behave, not what they are about.

import { curl } from "./api.js";
import {
  attribute,
  el,
  fresh,
  holdWhilePointed,
  isHeld,
  keepStop,
  keyed,
  placed,
  roving,
  say,
  show,
  svg,
  text,
} from "./dom.js";

// ---------------------------------------------------------------- who may

const rights = { name: "", permissions: new Set(), roles: [], readOnly: false, isConnected: true };
const gated = new Set();
const DOUBLE_MS = 500;

export function setRights({ name, permissions, roles, readOnly, isConnected }) {
  Object.assign(rights, { name, permissions: new Set(permissions), roles, readOnly, isConnected });
  for (const button of gated) {
    if (button.isConnected) button.gate();
    else gated.delete(button);
  }
}

/** Who acts, with which roles. */
export const actor = () => `${rights.name}, ${rights.roles.join(" + ") || "no role"}`;

/** Why somebody may not; nothing if they may. `besides` is what it needs beside the role. */
export function hindrance(permission, changes = true, besides = "") {
  if (!rights.permissions.has(permission)) {
    return `needs the permission ${permission}${besides}; ${rights.roles.length ? `you are ${rights.roles.join(", ")}` : "you have no role"}`;
  }
  if (changes && rights.readOnly) return "this console is read-only (admin.console.read_only)";
  if (!rights.isConnected) return "not connected";
  return null;
}

/**
 * A button that needs a permission. Where it is missing the button stays reachable and says what is missing, beside it and
 * when it is pressed. `unless()` gives another reason why it can do nothing now; `name()` is what it is called where its label
 * alone does not say what it is about.
 */
export function action(
  label,
  permission,
  press,
  { changes = true, style = "", name, besides, unless = () => null } = {},
) {
  const id = fresh("why");
  const why = el("span", { class: "why", id, hidden: true });
  const button = el("button", { type: "button", class: style, "aria-label": name?.(), text: label });
  const hinders = () => hindrance(permission, changes, besides) ?? unless();
  button.gate = () => {
    gated.add(button);
    const reason = hinders();
    if (name) attribute(button, "aria-label", name());
    attribute(button, "aria-disabled", reason ? "true" : null);
    attribute(button, "aria-describedby", reason ? id : null);
    attribute(button, "title", reason);
    text(why, reason ?? "");
    show(why, Boolean(reason));
  };
  let last = -Infinity;
  button.addEventListener("click", (event) => {
    // A double click is one press, and so is a key that is held.
    const isSame = event.timeStamp - last < DOUBLE_MS;
    last = event.timeStamp;
    if (isSame) return;
    // Not every browser gives a button the focus that is clicked; a dialog gives it back, and rows are held by it.
    button.focus({ preventScroll: true });
    const reason = hinders();
    if (reason) say(`${label}: ${reason}`);
    else press(button);
  });
  const both = el("span", { class: "action" }, button, why);
  both.button = button;
  // Not in the page yet, and so not yet gone from it.
  queueMicrotask(button.gate);
  return both;
}

// ---------------------------------------------------------------- copying

/** Marks a number as one that can be copied as the request that gives it. */
export function copies(node, jq, path = "/v1/summary") {
  if (node.dataset.jq !== jq) node.dataset.jq = jq;
  if (path !== "/v1/summary") node.dataset.path = path;
  return node;
}

export async function copyCurl(node) {
  const held = node?.closest?.("[data-jq]");
  if (!held) return;
  await copied(curl(held.dataset.path ?? "/v1/summary", { jq: held.dataset.jq }));
}

/** Copies a command, and shows it. */
export async function copied(command) {
  try {
    await navigator.clipboard.writeText(command);
    toast("Copied as curl", command);
  } catch {
    // Without a secure context there is no clipboard; the command is shown, to be taken by hand.
    toast("Take it from here", command, 60_000);
  }
}

let fading;
export function toast(title, detail = "", lastsMs = 6000) {
  document.getElementById("toast")?.remove();
  clearTimeout(fading);
  const close = el("button", { type: "button", class: "quiet", text: "Close", onclick: () => note.remove() });
  const note = el(
    "div",
    { id: "toast" },
    el("p", {}, el("strong", { text: title }), " ", close),
    detail && el("code", { text: detail }),
  );
  // What lies outside of the topmost dialog cannot be reached.
  ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(note);
  say(title);
  fading = setTimeout(() => note.remove(), lastsMs);
}

// ---------------------------------------------------------------- lines of history

const WIDTH = 180;
const HEIGHT = 34;

/** A small line of the last quarter of an hour. Gaps are gaps. */
export function spark(label) {
  const line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
  const area = svg("path", { class: "area" });
  const node = svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    area,
    line,
  );
  let drawn = null;
  node.follow = (points, describe) => {
    const key = `${points.length}:${points.at(0)}:${points.at(-1)}:${points.at(-2)}`;
    if (key === drawn) return;
    drawn = key;
    const numbers = points.filter((point) => typeof point === "number");
    const top = Math.max(...numbers, 1e-9) * 1.05;
    const step = WIDTH / Math.max(1, points.length - 1);
    let path = "";
    let shape = "";
    let begun = null;
    points.forEach((point, index) => {
      const x = (index * step).toFixed(1);
      if (typeof point !== "number") {
        if (begun !== null) shape += `L${((index - 1) * step).toFixed(1)} ${HEIGHT}Z`;
        begun = null;
        return;
      }
      const y = (HEIGHT - 1 - (point / top) * (HEIGHT - 3)).toFixed(1);
      shape += begun === null ? `M${x} ${HEIGHT}L${x} ${y}` : `L${x} ${y}`;
      path += `${begun === null ? "M" : "L"}${x} ${y}`;
      begun = x;
    });
    if (begun !== null) shape += `L${begun} ${HEIGHT}Z`;
    line.setAttribute("d", path);
    area.setAttribute("d", shape);
    const told = numbers.length
      ? `from ${describe(Math.min(...numbers))} to ${describe(Math.max(...numbers))}`
      : "nothing known yet";
    attribute(node, "aria-label", `${label}, last 15 minutes: ${told}`);
  };
  return node;
}

// ---------------------------------------------------------------- tables

/** Says in `place` that it is being read, unless what was read before is there: it stays until the answer. */
export function reading(place, grid, words = "Reading …") {
  if (!place.contains(grid)) place.replaceChildren(el("p", { class: "soft", text: words }));
}

/** The column with what can be done with a row. */
const DO = "Do";

/**
 * A table that follows its items. A column has `title`, `of(item)` giving text, and perhaps `num`, `sort(item)`,
 * `draw(cell, item)` instead of `of`, `head` (it names the row). Rows keep their order while somebody is at work in them,
 * and each is of one item as long as it lives; but where there are many, with nothing to press, the table `reuses` them.
 */
export function table({ caption, columns, keyOf, jq, path, empty, sort, enter, rowClass, style, reuses, max = 200 }) {
  const order = { by: sort?.by ?? null, down: sort?.down ?? false };
  const body = el("tbody", { role: "rowgroup" });
  const heads = columns.map((column, index) => {
    const cell = el("th", { scope: "col", role: "columnheader", class: column.num ? "n" : "" });
    if (column.sort) {
      cell.append(el("button", { type: "button", class: "sort", text: column.title, onclick: () => turn(index) }));
    } else {
      cell.textContent = column.title;
    }
    return cell;
  });
  const nothing = el("p", { class: "nothing soft" });
  const held = el("p", { class: "held soft", hidden: true, text: "Order is held while you are in the rows." });
  const acts = columns.some((column) => column.title === DO);
  // Named in words, since a table that is laid out otherwise is not a table to every browser.
  const grid = el(
    "table",
    { class: style ?? (acts ? "acts" : null), role: "table" },
    el("caption", { class: "unseen", text: caption }),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads)),
    body,
  );
  const node = el("div", { class: "table" }, el("div", { class: "scroll" }, grid), nothing, held);
  let items = [];
  holdWhilePointed(body);
  roving(body, enter && ((row) => enter(row.item, row)));

  const turn = (index) => {
    if (order.by === index) order.down = !order.down;
    else Object.assign(order, { by: index, down: columns[index].num === true });
    body.__pointed = 0;
    node.follow(items);
  };

  const make = (item) => {
    const cells = columns.map((column) =>
      el(column.head ? "th" : "td", {
        scope: column.head ? "row" : null,
        role: column.head ? "rowheader" : "cell",
        class: column.num ? "n" : "",
        // Where rows are stacked, nothing else names it.
        "data-title": acts && !column.head && column.title !== DO ? column.title : null,
      }),
    );
    const row = el("tr", { role: "row", "data-row": "", tabindex: "-1" }, cells);
    if (enter)
      row.addEventListener("click", (event) => {
        if (!event.target.closest("button, a, .copy") && !window.getSelection()?.toString()) enter(row.item, row);
      });
    if (jq) columns.forEach((column, index) => column.num && cells[index].classList.add("copy"));
    row.follow = (now) => {
      row.item = now;
      if (jq) copies(row, jq(now), path);
      columns.forEach((column, index) => {
        if (column.draw) column.draw(cells[index], now);
        else text(cells[index], column.of(now));
        if (column.state) attribute(cells[index], "data-state", column.state(now));
      });
      if (rowClass) attribute(row, "class", rowClass(now));
    };
    return row;
  };

  node.follow = (all) => {
    items = all;
    let shown = all;
    if (order.by !== null) {
      const value = columns[order.by].sort;
      const sign = order.down ? -1 : 1;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        // What is not known stands last, however it is sorted.
        if (x === null || x === undefined) return y === null || y === undefined ? 0 : 1;
        if (y === null || y === undefined) return -1;
        return x < y ? -sign : x > y ? sign : 0;
      };
      shown = [...all].sort(compare);
    }
    heads.forEach((head, index) =>
      attribute(head, "aria-sort", index === order.by ? (order.down ? "descending" : "ascending") : null),
    );
    const isHolding = isHeld(body);
    if (reuses && !isHolding) placed(body, shown.slice(0, max), keyOf, make);
    else keyed(body, shown.slice(0, max), keyOf, make, isHolding);
    keepStop(body);
    show(held, isHolding && order.by !== null && all.length > 1);
    show(grid, all.length > 0);
    show(nothing, all.length === 0);
    text(nothing, typeof empty === "function" ? empty() : empty);
  };
  node.body = body;
  return node;
}
