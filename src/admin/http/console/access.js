// Tokens that are taken back, and the audit trail. Shows no token: only ids are known here.

import { ask } from "./api.js";
import { deed, facts, field, line, refusal, work } from "./dialogs.js";
import { el, say } from "./dom.js";
import { clock, plural } from "./format.js";
import { action, table } from "./ui.js";

const LINES = 50;

export function access() {
  const found = el("div");
  const place = el("div");
  const row = el(
    "div",
    { class: "row" },
    action("Take a token back…", "token_revoke", () => revokeDialog(() => revoked(found)), { style: "danger" }),
    action("Tokens taken back", "token_revoke", () => revoked(found), { changes: false }),
    action("Last lines of the trail", "audit_read", () => trail(found), { changes: false }),
    action("Verify the trail", "audit_read", () => work(place, "/v1/audit/verify", undefined, undefined, VERIFY), {
      changes: false,
    }),
  );
  const node = el("div", {}, row, place, found);
  node.follow = () => {};
  return node;
}

const VERIFY = {
  fault: ({ broken } = {}) => (broken ? `line ${broken.line} of ${broken.file}: ${broken.message}` : null),
};

function revokeDialog(done) {
  const id = line({ required: true });
  deed({
    title: "Take a token back",
    explain: "It is refused from then on, by this process at once and by others within seconds.",
    inputs: [
      field("Id of the token", id, "Its claim jti: penstock token verify --output json, or a line of the trail."),
    ],
    path: "/v1/tokens/revoke",
    atOnce: true,
    body: () => ({ id: id.value.trim() }),
    look: {
      draw: (answer) =>
        facts([
          ["Token", answer.id],
          ["Stands in the list until", clock(answer.until)],
        ]),
    },
    reason: "It stands in the list, and in the audit trail.",
    typed: () => ({ what: "the id", text: id.value.trim() }),
    verb: "Take back",
    danger: true,
    done,
  });
}

async function seen(place, path, caption, columns, rowsOf) {
  place.replaceChildren(el("p", { class: "soft", text: "Reading …" }));
  try {
    const rows = rowsOf(await ask(path));
    const grid = table({ caption, keyOf: (one) => one.key, empty: "There is none.", columns });
    grid.follow(rows.map((one, index) => ({ ...one, key: index })));
    place.replaceChildren(grid);
    say(`${caption}: ${plural(rows.length, "row")}`);
  } catch (error) {
    refusal(place, error);
  }
}

const revoked = (place) =>
  seen(
    place,
    "/v1/tokens/revoked",
    "Tokens that were taken back",
    [
      { title: "Token", head: true, of: (one) => one.id },
      { title: "Until", of: (one) => clock(one.until) },
      { title: "Reason", of: (one) => one.reason },
      { title: "By", of: (one) => one.actor },
      { title: "At", of: (one) => clock(one.at) },
    ],
    (answer) => answer.revoked ?? [],
  );

const trail = (place) =>
  seen(
    place,
    `/v1/audit?limit=${LINES}`,
    "The last lines of the audit trail, newest first",
    [
      { title: "At", head: true, of: (one) => clock(one.at) },
      { title: "Who", of: (one) => one.actor },
      { title: "Action", of: (one) => one.action },
      { title: "On", of: (one) => one.resource },
      { title: "Phase", of: (one) => one.phase, state: (one) => ({ refused: "warn", failed: "bad" })[one.phase] },
      { title: "Details", of: (one) => JSON.stringify(one.details ?? {}), state: () => "code" },
    ],
    (answer) => [...(answer.lines ?? [])].reverse(),
  );
