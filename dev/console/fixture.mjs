// A stand-in for the admin process: the page from this checkout, and made-up states behind it. For working at the page
// without servers, and for states that are hard to bring about:
//
//     node dev/console/fixture.mjs --state paused --port 9999      then http://127.0.0.1:9999/console/, any token
//
// Tokens: "viewer" sees, "operator" does more, "admin" more still, "security" and "auditor" what theirs do, "ended" is refused.

import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { operate } from "./acts.mjs";
import { GROUPS, LETTER_COUNT, STATES, iso, letter, summary } from "./made_up.mjs";

const FOLDER = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../src/admin/http/console");
const SEES = ["self_read", "table_read", "job_read", "health_read"];
const READS = [...SEES, "backup_read", "dead_letter_read", "migrate_read", "schedule_read"];
const OPERATES = [
  ...READS,
  ...["job_cancel", "backup_create", "dead_letter_value", "dead_letter_replay"],
  ...["line_control", "table_care", "migrate_check", "schedule_run"],
];
const CHANGES = [
  "dead_letter_purge",
  "backup_restore",
  "backup_delete",
  "lifecycle",
  "erase",
  "migrate_up",
  "migrate_down",
];
const ROLES = {
  viewer: READS,
  operator: OPERATES,
  admin: [...OPERATES, ...CHANGES],
  security: [...SEES, "token_revoke"],
  auditor: [...READS, "audit_read"],
};
const KINDS = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
};

/** The policy that the real process sends, out of its source. */
function policy() {
  const source = readFileSync(path.join(FOLDER, "mod.rs"), "utf8");
  return /const POLICY: &str = "([^"]*)"/.exec(source)[1].replace(/\\\n\s*/g, "");
}

/**
 * Starts it; `set({ state, isSilent, readOnly, control, refuses, isDown, isBusy, holds, backups })` changes what it says from its next
 * event on, within a second, or with `tell()`. What is asked while it `holds` is answered when it no longer does.
 */
export async function start(port = 0) {
  const FIRST = {
    state: "healthy",
    isSilent: false,
    readOnly: false,
    control: true,
    paused: null,
    refuses: false,
    isDown: false,
    isBusy: false,
    holds: false,
    backups: null,
  };
  const now = { ...FIRST };
  const firstJobs = () => [
    {
      id: "j-1",
      action: "backup.create",
      state: "running",
      progress: 0.62,
      actor: "ann",
      started_at: iso(Date.now() - 93_000),
    },
    {
      id: "j-0",
      action: "dead_letter.replay",
      state: "done",
      progress: 1,
      actor: "ann",
      started_at: iso(Date.now() - 9_000_000),
    },
  ];
  const jobs = firstJobs();
  const requests = [];
  let number = 1;
  const streams = new Set();
  const held = [];

  function page(request, answer) {
    const name = request.url.replace(/^\/console\//, "").split(/[?#]/)[0] || "index.html";
    const isKnown = /^[a-z]+\.(js|css|html)$/.test(name);
    try {
      if (!isKnown) throw new Error(name);
      const body = readFileSync(path.join(FOLDER, name));
      answer.writeHead(200, {
        "Content-Type": KINDS[path.extname(name)],
        "Content-Security-Policy": policy(),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
      });
      answer.end(body);
    } catch {
      answer.writeHead(404).end();
    }
  }

  function stream(answer, permissions, actor) {
    answer.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    const tell = () =>
      now.isSilent ||
      answer.write(`event: summary\ndata: ${JSON.stringify(summary(now, Date.now(), permissions, jobs, actor))}\n\n`);
    tell();
    const timer = setInterval(tell, 1000);
    const one = { tell, end: () => answer.destroy() };
    streams.add(one);
    answer.on("close", () => {
      clearInterval(timer);
      streams.delete(one);
    });
  }

  function begin(action, actor, result, lasts = false) {
    const job = {
      id: `j-${(number += 1)}`,
      action,
      state: "running",
      progress: 0.1,
      actor,
      started_at: iso(Date.now()),
      events: [lasts ? { read: 0, total: 900, ...result } : { read: 120, total: 1204 }],
      result: null,
      error: null,
    };
    jobs.unshift(job);
    if (!lasts) setTimeout(() => Object.assign(job, { state: "done", progress: 1, result }), 500).unref();
    return job;
  }

  function act(method, url, body, actor) {
    const isDry = url.searchParams.get("dry_run") === "true";
    const bodies = url.searchParams.get("bodies") === "true";
    const route = `${method} ${url.pathname}`;
    if (route === "GET /v1/dead-letters/groups")
      return [200, { groups: GROUPS(), others: 0, scanned: 1204, complete: true }];
    if (route === "GET /v1/dead-letters") {
      const size = Math.min(LETTER_COUNT, Number(url.searchParams.get("limit") ?? 100));
      return [
        200,
        {
          letters: Array.from({ length: size }, (_, n) => letter(LETTER_COUNT - size + n, bodies)),
          found: LETTER_COUNT,
          masked: !bodies,
        },
      ];
    }
    if (route === "POST /v1/dead-letters/replay")
      return isDry
        ? [200, { would_send: LETTER_COUNT, groups: GROUPS().slice(0, 1), others: 0 }]
        : [202, begin("dead_letter.replay", actor, { sent: LETTER_COUNT, found: 0, taken: 0, too_large: 0 })];
    if (route === "POST /v1/dead-letters/purge") {
      const purged = {
        done: !isDry,
        deleted: 9,
        deleted_settled: 0,
        marked: 3,
        partitions: [{ partition: 0, delete_before: 109, deleted: 9, deleted_settled: 0, marked: 3 }],
      };
      return isDry ? [200, purged] : [202, begin("dead_letter.purge", actor, purged)];
    }
    if (route === "GET /v1/backups" && now.backups) return [200, { backups: now.backups }];
    if (route === "POST /v1/backups") return [202, begin("backup.create", actor, { id: "b-813" })];
    const asked = method === "POST" && body ? JSON.parse(body) : {};
    if (!isDry && url.pathname === "/v1/line/pause")
      now.paused = {
        topic: asked.topic,
        told: `by ${actor} until ${iso(Date.now() + asked.for_s * 1000)}: ${asked.reason}`,
      };
    if (!isDry && url.pathname === "/v1/line/resume") now.paused = null;
    const answer = operate(method, url.pathname, isDry, asked, (action, result, lasts) =>
      begin(action, actor, result, lasts),
    );
    if (answer) return answer;
    if (route === "POST /v1/tokens/refresh")
      return [200, { token: actor, subject: "ann", roles: [actor], ends: iso(Date.now() + 3_600_000), own: true }];
    const [, id, verb] = /^\/v1\/jobs\/([^/]+)(\/cancel)?$/.exec(url.pathname) ?? [];
    const job = jobs.find((one) => one.id === id);
    if (job && verb) job.state = "cancelled";
    return job ? [200, job] : [404, { detail: "there is nothing here", hint: "see /v1/openapi.json" }];
  }

  const server = http.createServer((request, answer) => {
    const url = new URL(request.url, "http://fixture");
    if (now.isDown) {
      requests.push({ method: request.method, url: request.url, body: "", key: request.headers["idempotency-key"] });
      return answer.destroy();
    }
    if (url.pathname === "/" || url.pathname === "/console")
      return answer.writeHead(308, { Location: "/console/" }).end();
    if (url.pathname.startsWith("/console/")) return page(request, answer);
    const actor = (request.headers.authorization ?? "").replace("Bearer ", "");
    const permissions = ROLES[actor] ?? (actor === "ended" || !actor || now.refuses ? null : ROLES.operator);
    const json = (status, value) =>
      answer.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
    if (!permissions || now.refuses)
      return json(401, { detail: "the token is not taken: it has ended", hint: "get a new one" });
    let text = "";
    request.on("data", (piece) => (text += piece));
    request.on("end", () => {
      requests.push({ method: request.method, url: request.url, body: text, key: request.headers["idempotency-key"] });
      if (now.isBusy) return json(503, { detail: "too many streams are open", hint: "close some" });
      if (url.pathname === "/v1/summary/stream") return stream(answer, permissions, actor);
      if (url.pathname === "/v1/summary") return json(200, summary(now, Date.now(), permissions, jobs, actor));
      if (url.pathname === "/v1/self")
        return json(200, { subject: "ann", roles: [actor], ends: iso(Date.now() + 3_600_000), own: true, permissions });
      if (request.headers["idempotency-key"] && /\/cancel$|^\/v1\/tokens/.test(url.pathname))
        return json(400, { detail: "this route takes no Idempotency-Key", hint: "routes that answer 202 do" });
      const [status, value] = act(request.method, url, text, actor);
      return now.holds ? held.push(() => json(status, value)) : json(status, value);
    });
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    set(changes) {
      Object.assign(now, changes);
      if (changes.isDown) for (const one of streams) one.end();
      if (!now.holds) for (const answer of held.splice(0)) answer();
    },
    tell() {
      for (const one of streams) one.tell();
    },
    jobs,
    /** A job that goes on, above the others. */
    begin: (action) => begin(action, "ann", null, true),
    /** As it was at first. */
    reset() {
      Object.assign(now, FIRST);
      jobs.splice(0, jobs.length, ...firstJobs());
      requests.length = 0;
    },
    stop: () =>
      new Promise((done) => {
        for (const one of streams) one.end();
        server.close(done);
        server.closeAllConnections();
      }),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name, otherwise) => {
    const at = process.argv.indexOf(`--${name}`);
    return at > 0 ? process.argv[at + 1] : otherwise;
  };
  const fixture = await start(Number(option("port", "0")));
  fixture.set({ state: option("state", "healthy"), readOnly: process.argv.includes("--read-only") });
  console.log(`${fixture.url}/console/ (states: ${STATES.join(", ")})`);
}
