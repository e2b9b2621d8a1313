// A stand-in for the admin process: the page from this checkout, and made-up states behind it. For working at the page
// without servers, and for states that are hard to bring about:
//
//     node dev/console/fixture.mjs --state paused --port 9999      then http://127.0.0.1:9999/console/, any token
//
// Tokens: "viewer" sees, "operator" does more, "admin" everything, "ended" is refused.

import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";

const FOLDER = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../src/admin/http/console");
const READS = ["self_read", "table_read", "job_read", "backup_read", "health_read", "dead_letter_read"];
const OPERATES = [...READS, "job_cancel", "backup_create", "dead_letter_value", "dead_letter_replay"];
const ROLES = { viewer: READS, operator: OPERATES, admin: [...OPERATES, "dead_letter_purge"] };
const KINDS = { ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8" };

/** The policy that the real process sends, out of its source. */
function policy() {
  const source = readFileSync(path.join(FOLDER, "mod.rs"), "utf8");
  return /const POLICY: &str = "([^"]*)"/.exec(source)[1].replace(/\\\n\s*/g, "");
}

export const STATES = ["healthy", "attention", "paused", "failing", "unknown", "many"];

const iso = (ms) => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
const wave = (at, period, low, high) => low + ((high - low) * (1 + Math.sin(at / period) + 0.4 * Math.sin(at / (period / 4.7)))) / 2.8;

const VERDICTS = {
  healthy: ["healthy", "Healthy: 4 topics, worst lag 3 s, nothing lost, backup 2 h old", null, null],
  attention: ["attention", "Needs attention: 12 records a minute of clicks become dead letters, everything else flows", "Look at the dead letters of clicks, correct the table file or the producer, then replay them.", "PenstockDeadLettersMany"],
  paused: ["paused", "Paused: ClickHouse 10.0.3.7:8123 does not answer for 41 s, next try in 12 s, nothing lost", "See whether ClickHouse runs and can be reached; penstock goes on by itself.", "PenstockClickHouseDown"],
  failing: ["failing", "Failing: no pod owns 8 partitions of orders, their records are deleted by retention in 3 h", "Start pods or see why they end: kubectl get pods -l app.kubernetes.io/name=penstock", "PenstockTopicUnowned"],
  unknown: ["unknown", "Unknown: no pod has answered yet", "Name the pods in admin.console, or see whether they run.", null],
  many: ["healthy", "Healthy: 9 topics, worst lag 88 s, nothing lost, backup 2 h old", null, null],
};

function problems(state, now) {
  const letter = { id: "dlq:clicks:out_of_range:price", severity: "warning", since: iso(now - 540_000), sentence: "clicks: 12 records a minute are refused, field price is out of range (out_of_range)", what_to_do: "Correct the table file or the producer, then replay the letters.", runbook: "PenstockDeadLettersMany", link: "dead-letters?topic=clicks" };
  const parts = { id: "parts:d.events", severity: "info", since: iso(now - 9_000_000), sentence: "d.events has 640 of 1 000 parts in one partition", what_to_do: "Batches grow by themselves; see whether merges keep up.", runbook: "PenstockPartsPressure", link: null };
  const down = { id: "gate:10.0.3.7:8123", severity: "critical", since: iso(now - 41_000), sentence: "ClickHouse 10.0.3.7:8123 refuses connections", what_to_do: "Start it; inserts go on within seconds.", runbook: "PenstockClickHouseDown", link: null };
  const owner = { id: "unowned:orders", severity: "critical", since: iso(now - 610_000), sentence: "orders: 8 partitions have no consumer", what_to_do: "See why the pods end.", runbook: "PenstockTopicUnowned", link: null };
  return { attention: [letter, parts], paused: [down], failing: [owner, letter], many: [parts] }[state] ?? [];
}

function partitions(state, at) {
  const topics = state === "many" ? ["clicks", "events", "orders", "payments", "views", "audit", "mail", "stock", "visits"] : ["clicks", "events", "orders", "views"];
  const size = state === "many" ? 23 : 8;
  const all = topics.flatMap((topic, t) => Array.from({ length: size }, (_, partition) => {
    const lag = state === "paused" ? 41 + (at % 60) : Math.abs(wave(at + t * 13 + partition * 7, 9, 0, state === "many" ? 80 : 3));
    const isAlone = state === "failing" && topic === "orders";
    return { topic, partition, pod: isAlone ? null : `10.0.0.${1 + (partition % 3)}:9464`, lag_records: Math.round(lag * 1800), lag_s: isAlone ? 610 + (at % 60) : lag, catch_up_s: state === "paused" || isAlone ? null : lag * 0.4, paused: state === "paused" ? "ClickHouse away" : null };
  }));
  return all.sort((a, b) => b.lag_s - a.lag_s);
}

const series = new Map();
function history(state, now) {
  const last = Math.floor(now / 5000) * 5000;
  const key = `${state}:${last}`;
  if (!series.has(key)) {
    series.clear();
    series.set(key, Array.from({ length: 180 }, (_, index) => {
      const ms = last - (179 - index) * 5000;
      const at = ms / 1000;
      const isCut = state === "paused" && index > 170;
      const rate = state === "unknown" ? null : isCut ? 0 : wave(at, 90, 140_000, 190_000);
      return { at: iso(ms), in: rate, out: rate === null ? null : rate * 0.995, p99_s: rate === null || isCut ? null : wave(at, 60, 1.6, 2.6), lag_s: rate === null ? null : isCut ? (index - 170) * 5 : wave(at, 70, 0.5, 3) };
    }));
  }
  return series.get(key);
}

const POD = { version: "0.1.0", reachable: true, age_s: 0.4, partitions: 10 };

/** A whole state at a moment. */
export function summary(state, now, permissions, jobs, actor, readOnly = false) {
  const at = Math.floor(now / 1000);
  const [level, sentence, todo, runbook] = VERDICTS[state];
  const points = history(state, now);
  const lastPoint = points.at(-1);
  const isUnknown = state === "unknown";
  const all = isUnknown ? [] : partitions(state, at);
  const busy = { fetch: 0.31, decode: 0.64, batch: 0.09, insert: state === "paused" ? 0.02 : 0.97, commit: 0.04 };
  return {
    at: iso(now), name: "prod-eu", version: "0.1.0", read_only: readOnly, runbook_url: state === "failing" ? null : "https://example.org/runbooks",
    actor: { name: actor === "admin" ? "dora" : "ann", roles: [actor === "admin" ? "data_admin" : actor], permissions },
    verdict: { level, sentence, since: iso(now - (state === "paused" ? 41_000 : 9_000_000)), what_to_do: todo, runbook },
    totals: {
      in_records_per_s: lastPoint.in, in_bytes_per_s: lastPoint.in === null ? null : lastPoint.in * 212, out_rows_per_s: lastPoint.out, e2e_p99_s: lastPoint.p99_s, lag_records: isUnknown ? null : all.reduce((sum, p) => sum + p.lag_records, 0), lag_s: isUnknown ? null : all[0].lag_s,
      dead_letters_per_min: isUnknown ? null : state === "attention" ? 12 : 0, dead_letters_total: isUnknown ? null : 1204, lost_records: isUnknown ? null : 0, freshness_good_ratio: isUnknown ? null : state === "paused" ? 0.9831 : 0.99972,
    },
    history: isUnknown ? [] : points,
    flow: {
      stages: isUnknown ? [] : Object.entries(busy).map(([name, ratio]) => ({ name, busy_ratio: Math.min(1, ratio * wave(at + ratio * 50, 7, 0.9, 1.03)) })), bottleneck: isUnknown || state === "paused" ? null : "insert",
      memory: { used_bytes: isUnknown ? null : state === "paused" ? 598 * 2 ** 20 : 412 * 2 ** 20, budget_bytes: isUnknown ? null : 600 * 2 ** 20 },
      gates: isUnknown ? [] : [{ endpoint: "10.0.3.6:8123", state: state === "paused" ? "limited" : "open" }, { endpoint: "10.0.3.7:8123", state: state === "paused" ? "shut" : "open" }],
      flushes: isUnknown ? [] : [{ trigger: "rows", ratio: 0.82 }, { trigger: "age", ratio: 0.18 }],
    },
    pods: isUnknown ? [] : [1, 2, 3].map((n) => ({ ...POD, address: `10.0.0.${n}:9464`, state: state === "paused" ? "paused" : "running", sentence: state === "paused" ? "waits for ClickHouse" : "everything flows", in_records_per_s: lastPoint.in / 3, out_rows_per_s: lastPoint.out / 3, lag_s: all[0].lag_s * (0.5 + n / 8), ...(state === "failing" && n === 3 ? { reachable: false, state: "gone", age_s: 187 } : {}) })),
    partitions: all.slice(0, 200), partitions_total: all.length,
    tables: isUnknown ? [] : ["d.clicks", "d.events", "d.orders", "d.views"].map((table, n) => ({ table, rows_per_s: lastPoint.out / (n + 2), batch_rows: 96_000 - n * 7000, insert_p99_s: 0.9 - n * 0.1, parts: table === "d.events" ? 640 : 60 + n, parts_limit: 1000, delivery: n === 0 ? "exact" : "at least once" })),
    problems: problems(state, now),
    jobs,
    backups: { newest_verified_at: isUnknown ? null : iso(now - 7_200_000), age_s: isUnknown ? null : 7200, policies: ["nightly", "hourly"] },
    timeline: isUnknown ? [] : [["verdict", 60, sentence], ["rebalance", 700, "10.0.0.3 joined, 10 partitions moved"], ["gate", 1900, "10.0.3.7:8123 is open again after 4 s"], ["reload", 4200, "tables read again: clicks changed"], ["backup", 7200, "nightly is made and verified, 812 GiB"], ["operator", 9000, "ann replayed 412 dead letters of orders"]].map(([kind, ago, text]) => ({ at: iso(now - ago * 1000), kind, sentence: text })),
  };
}

const LETTER_COUNT = 12;
const PAYLOAD = '{"price": -3.5, "note": "<img src=x onerror=alert(1)>"}';
const DETAIL = { masked: "out of range: price is below its least", shown: "out of range: price -3.5 is below 0" };
function letter(n, isShown) {
  const ms = Date.now() - (LETTER_COUNT - n) * 60_000;
  return { letter: `clicks.dead/0@${100 + n}`, state: "waiting", topic: "clicks", partition: n % 8, offset: 55_000 + n, reason: "out_of_range", path: "price", detail: isShown ? DETAIL.shown : DETAIL.masked, table: "clicks", group: "penstock", refused: iso(ms), refused_ms: ms, timestamp_ms: ms, attempt: 1, replay_of: null, payload_bytes: PAYLOAD.length, payload_cut_bytes: 0, key: null, headers: isShown ? [["x-app", "checkout-7.3"]] : [], payload: isShown ? PAYLOAD : null };
}
const GROUPS = () => [
  { topic: "clicks", table: "clicks", reason: "out_of_range", path: "price", detail: DETAIL.masked, count: LETTER_COUNT, waiting: LETTER_COUNT, first_ms: Date.now() - 700_000, last_ms: Date.now() - 60_000, sample: "clicks.dead/0@100" },
  { topic: "orders", table: "orders", reason: "missing_field", path: "id", detail: "the column id needs a value", count: 3, waiting: 1, first_ms: Date.now() - 9e6, last_ms: Date.now() - 8e6, sample: "orders.dead/0@7" },
];

/** Starts it; `set({ state, isSilent, readOnly, refuses, isDown, isBusy })` changes what it says from its next event on, within a second. */
export async function start(port = 0) {
  const FIRST = { state: "healthy", isSilent: false, readOnly: false, refuses: false, isDown: false, isBusy: false };
  const now = { ...FIRST };
  const firstJobs = () => [{ id: "j-1", action: "backup.create", state: "running", progress: 0.62, actor: "ann", started_at: iso(Date.now() - 93_000) }, { id: "j-0", action: "dead_letter.replay", state: "done", progress: 1, actor: "ann", started_at: iso(Date.now() - 9_000_000) }];
  const jobs = firstJobs();
  const requests = [];
  let number = 1;
  const streams = new Set();

  function page(request, answer) {
    const name = request.url.replace(/^\/console\//, "").split(/[?#]/)[0] || "index.html";
    const isKnown = /^[a-z]+\.(js|css|html)$/.test(name);
    try {
      if (!isKnown) throw new Error(name);
      const body = readFileSync(path.join(FOLDER, name));
      answer.writeHead(200, { "Content-Type": KINDS[path.extname(name)], "Content-Security-Policy": policy(), "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache" });
      answer.end(body);
    } catch {
      answer.writeHead(404).end();
    }
  }

  function stream(answer, permissions, actor) {
    answer.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    const tell = () => now.isSilent || answer.write(`event: summary\ndata: ${JSON.stringify(summary(now.state, Date.now(), permissions, jobs, actor, now.readOnly))}\n\n`);
    tell();
    const timer = setInterval(tell, 1000);
    const one = { end: () => answer.destroy() };
    streams.add(one);
    answer.on("close", () => {
      clearInterval(timer);
      streams.delete(one);
    });
  }

  function begin(action, actor, result) {
    const job = { id: `j-${(number += 1)}`, action, state: "running", progress: 0.1, actor, started_at: iso(Date.now()), events: [{ read: 120, total: 1204 }], result: null, error: null };
    jobs.unshift(job);
    setTimeout(() => Object.assign(job, { state: "done", progress: 1, result }), 1200).unref();
    return job;
  }

  function act(method, url, body, actor) {
    const isDry = url.searchParams.get("dry_run") === "true";
    const bodies = url.searchParams.get("bodies") === "true";
    const route = `${method} ${url.pathname}`;
    if (route === "GET /v1/dead-letters/groups") return [200, { groups: GROUPS(), others: 0, scanned: 1204, complete: true }];
    if (route === "GET /v1/dead-letters") {
      const size = Math.min(LETTER_COUNT, Number(url.searchParams.get("limit") ?? 100));
      return [200, { letters: Array.from({ length: size }, (_, n) => letter(LETTER_COUNT - size + n, bodies)), found: LETTER_COUNT, masked: !bodies }];
    }
    if (route === "POST /v1/dead-letters/replay") return isDry ? [200, { would_send: LETTER_COUNT, groups: GROUPS().slice(0, 1), others: 0 }] : [202, begin("dead_letter.replay", actor, { sent: LETTER_COUNT, found: 0, taken: 0, too_large: 0 })];
    if (route === "POST /v1/dead-letters/purge") {
      const purged = { done: !isDry, deleted: 9, deleted_settled: 0, marked: 3, partitions: [{ partition: 0, delete_before: 109, deleted: 9, deleted_settled: 0, marked: 3 }] };
      return isDry ? [200, purged] : [202, begin("dead_letter.purge", actor, purged)];
    }
    if (route === "POST /v1/backups") return [202, begin("backup.create", actor, { id: "b-813" })];
    if (route === "GET /v1/backups") return [200, { backups: [{ id: "b-812", at: iso(Date.now() - 7.2e6), state: "done", manifest: { policy: "nightly", bytes: 812 * 2 ** 30 }, verification: { at: iso(Date.now() - 7e6), findings: [] } }] }];
    const [, id, verb] = /^\/v1\/jobs\/([^/]+)(\/cancel)?$/.exec(url.pathname) ?? [];
    const job = jobs.find((one) => one.id === id);
    if (job && verb) job.state = "cancelled";
    return job ? [200, job] : [404, { detail: "there is nothing here", hint: "see /v1/openapi.json" }];
  }

  const server = http.createServer((request, answer) => {
    const url = new URL(request.url, "http://fixture");
    if (now.isDown) return answer.destroy();
    if (url.pathname === "/" || url.pathname === "/console") return answer.writeHead(308, { Location: "/console/" }).end();
    if (url.pathname.startsWith("/console/")) return page(request, answer);
    const actor = (request.headers.authorization ?? "").replace("Bearer ", "");
    const permissions = ROLES[actor] ?? (actor === "ended" || !actor || now.refuses ? null : ROLES.operator);
    const json = (status, value) => answer.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
    if (!permissions || now.refuses) return json(401, { detail: "the token is not taken: it has ended", hint: "get a new one" });
    let text = "";
    request.on("data", (piece) => (text += piece));
    request.on("end", () => {
      requests.push({ method: request.method, url: request.url, body: text, key: request.headers["idempotency-key"] });
      if (now.isBusy) return json(503, { detail: "too many streams are open", hint: "close some" });
      if (url.pathname === "/v1/summary/stream") return stream(answer, permissions, actor);
      if (url.pathname === "/v1/summary") return json(200, summary(now.state, Date.now(), permissions, jobs, actor, now.readOnly));
      if (url.pathname === "/v1/self") return json(200, { subject: "ann", roles: [actor], ends: iso(Date.now() + 3_600_000), own: true, permissions });
      const [status, value] = act(request.method, url, text, actor);
      return json(status, value);
    });
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    set(changes) {
      Object.assign(now, changes);
      if (changes.isDown) for (const one of streams) one.end();
    },
    /** As it was at first. */
    reset() {
      Object.assign(now, FIRST);
      jobs.splice(0, jobs.length, ...firstJobs());
      requests.length = 0;
    },
    stop: () => new Promise((done) => {
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
