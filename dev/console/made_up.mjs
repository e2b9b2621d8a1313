// Made-up states of a line, and dead letters: a function of the time, so that they move. Knows nothing of how they are
// told.

export const STATES = ["healthy", "attention", "paused", "failing", "unknown", "many"];

export const iso = (ms) => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
const wave = (at, period, low, high) =>
  low + ((high - low) * (1 + Math.sin(at / period) + 0.4 * Math.sin(at / (period / 4.7)))) / 2.8;

const VERDICTS = {
  healthy: ["healthy", "Healthy: 4 topics, worst lag 3 s, nothing lost, backup 2 h old", null, null],
  attention: [
    "attention",
    "Needs attention: 12 records a minute of clicks become dead letters, everything else flows",
    "Look at the dead letters of clicks, correct the table file or the producer, then replay them.",
    "PenstockDeadLettersMany",
  ],
  paused: [
    "paused",
    "Paused: ClickHouse 10.0.3.7:8123 does not answer for 41 s, next try in 12 s, nothing lost",
    "See whether ClickHouse runs and can be reached; penstock goes on by itself.",
    "PenstockClickHouseDown",
  ],
  failing: [
    "failing",
    "Failing: no pod owns 8 partitions of orders, their records are deleted by retention in 3 h",
    "Start pods or see why they end: kubectl get pods -l app.kubernetes.io/name=penstock",
    "PenstockTopicUnowned",
  ],
  unknown: [
    "unknown",
    "Unknown: no pod has answered yet",
    "Name the pods in admin.console, or see whether they run.",
    null,
  ],
  many: ["healthy", "Healthy: 9 topics, worst lag 88 s, nothing lost, backup 2 h old", null, null],
};

function problems(state, now) {
  const letter = {
    id: "dlq:clicks:out_of_range:price",
    severity: "warning",
    since: iso(now - 540_000),
    sentence: "clicks: 12 records a minute are refused, field price is out of range (out_of_range)",
    what_to_do: "Correct the table file or the producer, then replay the letters.",
    runbook: "PenstockDeadLettersMany",
    link: "dead-letters?topic=clicks",
  };
  const parts = {
    id: "parts:d.events",
    severity: "info",
    since: iso(now - 9_000_000),
    sentence: "d.events has 640 of 1 000 parts in one partition",
    what_to_do: "Batches grow by themselves; see whether merges keep up.",
    runbook: "PenstockPartsPressure",
    link: null,
  };
  const down = {
    id: "gate:10.0.3.7:8123",
    severity: "critical",
    since: iso(now - 41_000),
    sentence: "ClickHouse 10.0.3.7:8123 refuses connections",
    what_to_do: "Start it; inserts go on within seconds.",
    runbook: "PenstockClickHouseDown",
    link: null,
  };
  const owner = {
    id: "unowned:orders",
    severity: "critical",
    since: iso(now - 610_000),
    sentence: "orders: 8 partitions have no consumer",
    what_to_do: "See why the pods end.",
    runbook: "PenstockTopicUnowned",
    link: null,
  };
  return { attention: [letter, parts], paused: [down], failing: [owner, letter], many: [parts] }[state] ?? [];
}

function partitions({ state, paused }, at) {
  const topics =
    state === "many"
      ? ["clicks", "events", "orders", "payments", "views", "audit", "mail", "stock", "visits"]
      : ["clicks", "events", "orders", "views"];
  const size = state === "many" ? 23 : 8;
  const all = topics.flatMap((topic, t) =>
    Array.from({ length: size }, (_, partition) => {
      const lag =
        state === "paused"
          ? 41 + (at % 60)
          : Math.abs(wave(at + t * 13 + partition * 7, 9, 0, state === "many" ? 80 : 3));
      const isAlone = state === "failing" && topic === "orders";
      return {
        topic,
        partition,
        pod: isAlone ? null : `10.0.0.${1 + (partition % 3)}:9464`,
        lag_records: Math.round(lag * 1800),
        lag_s: isAlone ? 610 + (at % 60) : lag,
        catch_up_s: state === "paused" || isAlone ? null : lag * 0.4,
        paused: paused?.topic === topic ? paused.told : state === "paused" ? "ClickHouse away" : null,
      };
    }),
  );
  return all.sort((a, b) => b.lag_s - a.lag_s);
}

const series = new Map();
function history(state, now) {
  const last = Math.floor(now / 5000) * 5000;
  const key = `${state}:${last}`;
  if (!series.has(key)) {
    series.clear();
    series.set(
      key,
      Array.from({ length: 180 }, (_, index) => {
        const ms = last - (179 - index) * 5000;
        const at = ms / 1000;
        const isCut = state === "paused" && index > 170;
        const rate = state === "unknown" ? null : isCut ? 0 : wave(at, 90, 140_000, 190_000);
        return {
          at: iso(ms),
          in: rate,
          out: rate === null ? null : rate * 0.995,
          p99_s: rate === null || isCut ? null : wave(at, 60, 1.6, 2.6),
          lag_s: rate === null ? null : isCut ? (index - 170) * 5 : wave(at, 70, 0.5, 3),
        };
      }),
    );
  }
  return series.get(key);
}

const POD = { version: "0.1.0", reachable: true, age_s: 0.4, partitions: 10 };

/** A whole state at a moment. */
export function summary(set, now, permissions, jobs, actor) {
  const { state, readOnly = false, control = true } = set;
  const at = Math.floor(now / 1000);
  const [level, sentence, todo, runbook] = VERDICTS[state];
  const points = history(state, now);
  const lastPoint = points.at(-1);
  const isUnknown = state === "unknown";
  const all = isUnknown ? [] : partitions(set, at);
  const busy = { fetch: 0.31, decode: 0.64, batch: 0.09, insert: state === "paused" ? 0.02 : 0.97, commit: 0.04 };
  return {
    at: iso(now),
    name: "prod-eu",
    version: "0.1.0",
    read_only: readOnly,
    control,
    runbook_url: state === "failing" ? null : "https://example.org/runbooks",
    actor: { name: actor === "admin" ? "dora" : "ann", roles: [actor === "admin" ? "data_admin" : actor], permissions },
    verdict: {
      level,
      sentence,
      since: iso(now - (state === "paused" ? 41_000 : 9_000_000)),
      what_to_do: todo,
      runbook,
    },
    totals: {
      in_records_per_s: lastPoint.in,
      in_bytes_per_s: lastPoint.in === null ? null : lastPoint.in * 212,
      out_rows_per_s: lastPoint.out,
      e2e_p99_s: lastPoint.p99_s,
      lag_records: isUnknown ? null : all.reduce((sum, p) => sum + p.lag_records, 0),
      lag_s: isUnknown ? null : all[0].lag_s,
      dead_letters_per_min: isUnknown ? null : state === "attention" ? 12 : 0,
      dead_letters_total: isUnknown ? null : 1204,
      lost_records: isUnknown ? null : 0,
      freshness_good_ratio: isUnknown ? null : state === "paused" ? 0.9831 : 0.99972,
    },
    history: isUnknown ? [] : points,
    flow: {
      stages: isUnknown
        ? []
        : Object.entries(busy).map(([name, ratio]) => ({
            name,
            busy_ratio: Math.min(1, ratio * wave(at + ratio * 50, 7, 0.9, 1.03)),
          })),
      bottleneck: isUnknown || state === "paused" ? null : "insert",
      memory: {
        used_bytes: isUnknown ? null : state === "paused" ? 598 * 2 ** 20 : 412 * 2 ** 20,
        budget_bytes: isUnknown ? null : 600 * 2 ** 20,
      },
      gates: isUnknown
        ? []
        : [
            { endpoint: "10.0.3.6:8123", state: state === "paused" ? "limited" : "open" },
            { endpoint: "10.0.3.7:8123", state: state === "paused" ? "shut" : "open" },
          ],
      flushes: isUnknown
        ? []
        : [
            { trigger: "rows", ratio: 0.82 },
            { trigger: "age", ratio: 0.18 },
          ],
    },
    pods: isUnknown
      ? []
      : [1, 2, 3].map((n) => ({
          ...POD,
          address: `10.0.0.${n}:9464`,
          state: state === "paused" ? "paused" : "running",
          sentence: state === "paused" ? "waits for ClickHouse" : "everything flows",
          in_records_per_s: lastPoint.in / 3,
          out_rows_per_s: lastPoint.out / 3,
          lag_s: all[0].lag_s * (0.5 + n / 8),
          ...(state === "failing" && n === 3 ? { reachable: false, state: "gone", age_s: 187 } : {}),
        })),
    partitions: all.slice(0, 200),
    partitions_total: all.length,
    tables: isUnknown
      ? []
      : ["d.clicks", "d.events", "d.orders", "d.views"].map((table, n) => ({
          table,
          rows_per_s: lastPoint.out / (n + 2),
          batch_rows: 96_000 - n * 7000,
          insert_p99_s: 0.9 - n * 0.1,
          parts: table === "d.events" ? 640 : 60 + n,
          parts_limit: 1000,
          delivery: n === 0 ? "exact" : "at least once",
        })),
    problems: problems(state, now),
    jobs,
    backups: {
      newest_verified_at: isUnknown ? null : iso(now - 7_200_000),
      age_s: isUnknown ? null : 7200,
      policies: ["nightly", "hourly"],
    },
    timeline: isUnknown
      ? []
      : [
          ["verdict", 60, sentence],
          ["rebalance", 700, "10.0.0.3 joined, 10 partitions moved"],
          ["gate", 1900, "10.0.3.7:8123 is open again after 4 s"],
          ["reload", 4200, "tables read again: clicks changed"],
          ["backup", 7200, "nightly is made and verified, 812 GiB"],
          ["operator", 9000, "ann replayed 412 dead letters of orders"],
        ].map(([kind, ago, text]) => ({ at: iso(now - ago * 1000), kind, sentence: text })),
  };
}

export const LETTER_COUNT = 12;
const PAYLOAD = '{"price": -3.5, "note": "<img src=x onerror=alert(1)>"}';
const DETAIL = { masked: "out of range: price is below its least", shown: "out of range: price -3.5 is below 0" };
export function letter(n, isShown) {
  const ms = Date.now() - (LETTER_COUNT - n) * 60_000;
  return {
    letter: `clicks.dead/0@${100 + n}`,
    state: "waiting",
    topic: "clicks",
    partition: n % 8,
    offset: 55_000 + n,
    reason: "out_of_range",
    path: "price",
    detail: isShown ? DETAIL.shown : DETAIL.masked,
    table: "clicks",
    group: "penstock",
    refused: iso(ms),
    refused_ms: ms,
    timestamp_ms: ms,
    attempt: 1,
    replay_of: null,
    payload_bytes: PAYLOAD.length,
    payload_cut_bytes: 0,
    key: null,
    headers: isShown ? [["x-app", "checkout-7.3"]] : [],
    payload: isShown ? PAYLOAD : null,
  };
}
export const GROUPS = () => [
  {
    topic: "clicks",
    table: "clicks",
    reason: "out_of_range",
    path: "price",
    detail: DETAIL.masked,
    count: LETTER_COUNT,
    waiting: LETTER_COUNT,
    first_ms: Date.now() - 700_000,
    last_ms: Date.now() - 60_000,
    sample: "clicks.dead/0@100",
  },
  {
    topic: "orders",
    table: "orders",
    reason: "missing_field",
    path: "id",
    detail: "the column id needs a value",
    count: 3,
    waiting: 1,
    first_ms: Date.now() - 9e6,
    last_ms: Date.now() - 8e6,
    sample: "orders.dead/0@7",
  },
];
