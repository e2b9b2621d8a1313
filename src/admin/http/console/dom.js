// Elements, and how they follow data without being made again. Refuses markup in text: whatever comes from outside is
// set as text or as an attribute that cannot run, so a record cannot become part of the page.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; "text" and "on…" are what they say. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.setAttribute("class", value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

/** Sets the text only where it differs, so that nothing is laid out again for nothing. */
export function text(node, value) {
  const wanted = value ?? "";
  if (node.__text !== wanted) {
    node.__text = wanted;
    const only = node.firstChild;
    // The text that is there is kept, since another one would have to be laid out from nothing.
    if (only && only === node.lastChild && only.nodeType === Node.TEXT_NODE) only.data = wanted;
    else node.textContent = wanted;
  }
}

export function attribute(node, name, value) {
  const wanted = value === null || value === undefined || value === false ? null : value === true ? "" : String(value);
  if (node.getAttribute(name) === wanted) return;
  if (wanted === null) node.removeAttribute(name);
  else node.setAttribute(name, wanted);
}

export function show(node, visible) {
  if (node.hidden !== visible) return;
  // Who is in what goes away stays in the row that it was in.
  if (!visible && node.contains(document.activeElement)) node.closest("[data-row]")?.focus({ preventScroll: true });
  node.hidden = !visible;
}

/** Makes `nodes` the children; what is there already stays, since the focus may be in it. */
export function put(place, ...nodes) {
  const there = [...place.childNodes];
  if (there.length !== nodes.length || nodes.some((node, index) => node !== there[index])) place.replaceChildren(...nodes);
}

/** Whether the focus may be brought here: who went on to something else meanwhile is not called back. */
export function mayFocus(node) {
  const at = document.activeElement ?? document.body;
  const place = (one) => one.closest("section, dialog");
  return at === document.body || place(at) === place(node);
}

/** Width of a bar, in the one way that a strict policy for styles allows. */
export function width(node, ratio) {
  const wanted = `${(Math.max(0, Math.min(1, ratio || 0)) * 100).toFixed(1)}%`;
  if (node.__width !== wanted) {
    node.__width = wanted;
    node.style.width = wanted;
  }
}

/**
 * Makes the children of `parent` follow `items`: those with the same key stay the same elements. `make(item)` gives an
 * element with a function `follow(item)`. With `hold` what is there stays where it is.
 */
export function keyed(parent, items, keyOf, make, hold = false) {
  const rows = (parent.__rows ??= new Map());
  const wanted = new Map(items.map((item) => [keyOf(item), item]));
  for (const [key, row] of rows) {
    if (wanted.has(key)) continue;
    const next = row.contains(document.activeElement) ? (row.nextElementSibling ?? row.previousElementSibling) : null;
    row.remove();
    rows.delete(key);
    next?.focus?.({ preventScroll: true });
  }
  let at = parent.firstElementChild;
  for (const [key, item] of wanted) {
    const known = rows.get(key);
    const row = known ?? make(item);
    rows.set(key, row);
    row.follow?.(item);
    if (hold) {
      if (!known) parent.append(row);
    } else if (row === at) {
      at = at.nextElementSibling;
    } else {
      parent.insertBefore(row, at);
    }
  }
}

/**
 * Makes the rows of `parent` show `items` in their order. Nobody is at work in them, so a row may show another item than
 * before: only its text is laid out again, where moving two hundred rows each second would make them anew. Not for rows with
 * something to press in them, to which the focus may come back out of a dialog.
 */
export function placed(parent, items, keyOf, make) {
  const rows = (parent.__rows ??= new Map());
  rows.clear();
  const there = [...parent.children];
  items.forEach((item, index) => {
    const row = there[index] ?? make(item);
    row.follow(item);
    if (!there[index]) parent.append(row);
    rows.set(keyOf(item), row);
  });
  for (const row of there.slice(items.length)) row.remove();
}

/** Whether somebody is at work in here, so that nothing may move under their hands. */
export function isHeld(node) {
  return node.contains(document.activeElement) || Date.now() - (node.__pointed ?? 0) < 4000;
}

export function holdWhilePointed(node) {
  for (const name of ["pointermove", "pointerdown"]) node.addEventListener(name, () => (node.__pointed = Date.now()));
  // A finger leaves whenever it is lifted, and comes back to the same place.
  node.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") node.__pointed = 0;
  });
}

/** One row of a list is a stop for Tab; arrows move among them. */
export function roving(body, enter) {
  body.addEventListener("focusin", (event) => {
    const row = event.target.closest("[data-row]");
    if (!row || !body.contains(row)) return;
    for (const other of body.querySelectorAll('[data-row][tabindex="0"]')) if (other !== row) stop(other, -1);
    stop(row, 0);
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target;
    if (!row.matches?.("[data-row]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...body.querySelectorAll("[data-row]")];
    const at = all.indexOf(row);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1, PageDown: at + 10, PageUp: at - 10 }[
      event.key
    ];
    if (to !== undefined) {
      all[Math.max(0, Math.min(all.length - 1, to))]?.focus();
      event.preventDefault();
    } else if (event.key === "Enter" && enter) {
      enter(row);
      event.preventDefault();
    }
  });
}

/** A row that Tab passes by takes what is in it along. */
function stop(row, index) {
  row.tabIndex = index;
  for (const inner of row.querySelectorAll("button, a")) inner.tabIndex = index;
}

/** Keeps one row reachable by Tab whatever came and went. */
export function keepStop(body) {
  let first = null;
  let hasStop = false;
  for (const row of body.querySelectorAll("[data-row]")) {
    first ??= row;
    if (row.tabIndex === 0) hasStop = true;
    else if (!row.__passed) stop(row, -1);
    row.__passed = true;
  }
  if (!hasStop && first) stop(first, 0);
}

/** One polite voice for the whole page. */
export function say(sentence) {
  const voice = document.getElementById("say");
  if (voice && sentence) voice.textContent = sentence;
}

let number = 0;
export const fresh = (prefix) => `${prefix}-${++number}`;
