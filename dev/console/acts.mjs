// Made-up answers of the routes by which a line is operated, in the shapes of the real ones. Knows nothing of how they are
// told.

import { iso } from "./made_up.mjs";

const HASH = "3f1c9a7be2d04581";
const GIB = 2 ** 30;
const TABLE = { database: "d", name: "events" };
const now = () => Date.now();

const backup = (id, base, verification) => ({
  id,
  at: iso(now() - 7.2e6),
  state: "done",
  error: "",
  files_left: false,
  hold: null,
  verification,
  manifest: {
    policy: "nightly",
    database: "d",
    base,
    bytes: 812 * GIB,
    new_bytes: 4 * GIB,
    tables: [{ name: "events" }, { name: "orders" }],
  },
});
export const BACKUPS = () => [
  backup("nightly-2", "nightly-1", null),
  backup("nightly-1", null, { level: "restore", at: iso(now() - 7e6), findings: [], seconds: 41 }),
];

const RESTORED = {
  id: "nightly-2",
  chain: ["nightly-2", "nightly-1"],
  tables: [{ table: TABLE, target: { ...TABLE, database: "d_restored" }, rows: 1204, existed: false }],
  findings: [],
  replayed: [],
  erased_rows: 0,
  seconds: 3.5,
};
const PRUNING = {
  hash: HASH,
  timezone: "UTC",
  deleted: [],
  plans: [
    {
      policy: "nightly",
      refused: "",
      hash: HASH,
      kept: [{ id: "nightly-2", because: ["last 7"] }],
      deleted: [{ id: "nightly-1", new_bytes: 4 * GIB }],
    },
  ],
};

const PARTS = { parts: 640, rows: 9_120_000, bytes: 61 * GIB };
const merged = (after) => ({
  tables: [
    {
      table: TABLE,
      sql: "OPTIMIZE TABLE `d`.`events` FINAL",
      bytes_to_write: 58 * GIB,
      before: PARTS,
      after,
      took_ms: 4100,
      error: null,
    },
  ],
});
const SIZES = {
  databases: [],
  partitions: [],
  tables: [{ ...TABLE, disks: ["default"] }],
  disks: [
    { name: "default", free_bytes: 312 * GIB, total_bytes: 2048 * GIB },
    { name: "cold", free_bytes: 9 * GIB, total_bytes: 10 * GIB },
  ],
};
const materialized = (done) => ({
  partitions: [
    {
      partition_id: "202611",
      sql: "ALTER TABLE `d`.`events` MATERIALIZE TTL IN PARTITION ID '202611'",
      bytes: 3 * GIB,
      done,
    },
  ],
});

const OVER = { partition_id: "202508", partition: "202508", rows: 88_000, bytes: GIB, rows_over: 88_000 };
const LIFECYCLE = {
  hash: HASH,
  tables: [
    {
      table: TABLE,
      exists: true,
      statements: ["ALTER TABLE `d`.`events` MODIFY TTL event_time + INTERVAL 90 DAY"],
      rules: [],
      drops: [OVER],
      rest: [],
      kept: [],
      holds: [],
    },
    {
      table: { database: "d", name: "orders" },
      exists: true,
      statements: [],
      rules: [],
      drops: [],
      rest: [],
      kept: [],
      holds: [{ id: "case-7", table: "orders", reason: "a lawsuit" }],
    },
  ],
};

const planned = (file, dangers, sql) => ({
  file,
  statement: 1,
  line: 1,
  hosts: ["10.0.3.6:8123"],
  class: "metadata",
  dangers,
  in_doubt: false,
  cost: { bytes: 0, parts: 0, largest_part_bytes: 0 },
  sql,
});
const UP = {
  hash: HASH,
  holder: null,
  statements: [
    planned("V8__add_note.sql", [], "ALTER TABLE events ADD COLUMN note String"),
    planned("V9__drop_old.sql", ["drop"], "ALTER TABLE events DROP COLUMN old"),
  ],
};
const migration = (n, standing) => ({
  migration: `V${n} step`,
  file: `V${n}__step.sql`,
  standing,
  changed: false,
  finished: standing === "applied" ? iso(now() - 9e6) : "",
  actor: standing === "applied" ? "dora" : "",
  error: "",
  has_down: true,
});
const RAN = {
  plan: HASH,
  events: [{ file: "V8__add_note.sql", statement: 1, host: "10.0.3.6:8123", outcome: "applied", note: "", took_ms: 4 }],
};

const run = (id, state) => ({
  id,
  action: "lifecycle.apply",
  actor: "schedule rules",
  state,
  began: iso(now() - 8e7),
  ended: iso(now() - 7.9e7),
  error: state === "failed" ? { detail: "a rule cannot be carried out" } : null,
});
const SCHEDULES = () => [
  {
    name: "rules",
    what: "lifecycle apply",
    when: "15 3 * * *",
    timezone: "Europe/Berlin",
    catch_up: true,
    next_due: iso(now() + 6e7),
    last: run("r-1", "done"),
  },
];

const told = (said) => ({
  pods: [1, 2, 3].map((n) => ({ address: `10.0.0.${n}:9464`, ok: true, said })),
});
const erased = (id) => ({
  id,
  digests: ["9f"],
  tables: [{ table: TABLE, rows: 17, partitions: ["202610", "202611"] }],
});

const LOOKS = {
  "/v1/backups": () => ({ backups: BACKUPS() }),
  "/v1/tables": () => SIZES,
  "/v1/lifecycle/plan": () => LIFECYCLE,
  "/v1/migrations": () => ({
    migrations: [migration(7, "applied"), migration(8, "pending"), migration(9, "pending")],
    missing: [],
    holder: null,
  }),
  "/v1/schedules": () => ({ schedules: SCHEDULES(), complete: true }),
  "/v1/schedules/rules/runs": () => ({
    schedule: "rules",
    complete: true,
    runs: [run("r-1", "done"), run("r-0", "failed")],
  }),
  "/v1/tokens/revoked": () => ({
    revoked: [{ id: "5f0c", until: iso(now() + 9e6), reason: "laptop lost", actor: "sam", at: iso(now() - 9e6) }],
  }),
  "/v1/audit": () => ({
    lines: [
      {
        seq: 1,
        at: iso(now() - 9e5),
        actor: "ann",
        action: "backup.create",
        resource: "d",
        phase: "done",
        details: {},
      },
      {
        seq: 2,
        at: iso(now() - 8e5),
        actor: "vic",
        action: "line.pause",
        resource: "clicks",
        phase: "refused",
        details: {},
      },
    ],
  }),
};

/** By path: the action, what a trial says, and what the job gives. What is done at once has no action. */
const DOES = {
  "/v1/backups/nightly-2/verify": [
    "backup.verify",
    BACKUPS()[0],
    { level: "restore", at: iso(now()), findings: [], seconds: 2 },
  ],
  "/v1/backups/nightly-2/restore": ["backup.restore", RESTORED, RESTORED],
  "/v1/backups/nightly-2/delete": [
    "backup.delete",
    { id: "nightly-2", files_left: false },
    { id: "nightly-2", files_left: false },
  ],
  "/v1/backups/prune": ["backup.prune", PRUNING, { ...PRUNING, deleted: [{ id: "nightly-1", files_left: false }] }],
  "/v1/tables/events/optimize": [
    "table.optimize",
    merged(null),
    merged({ parts: 8, rows: 9_120_000, bytes: 58 * GIB }),
  ],
  "/v1/lifecycle/materialize": ["lifecycle.materialize", materialized(false), materialized(true)],
  "/v1/lifecycle/apply": [
    "lifecycle.apply",
    { ...LIFECYCLE, tables: LIFECYCLE.tables.slice(0, 1) },
    {
      tables: [
        {
          table: TABLE,
          statements: LIFECYCLE.tables[0].statements,
          partitions: [{ ...OVER, outcome: "dropped" }],
          left_rows: 0,
        },
      ],
    },
  ],
  "/v1/erasures": ["erase.subject", erased(""), erased("e-1")],
  "/v1/migrations/up": ["migrate.up", UP, RAN],
  "/v1/migrations/down": ["migrate.down", { ...UP, statements: UP.statements.slice(1) }, RAN],
  "/v1/migrations/drift": [
    "migrate.drift",
    null,
    {
      findings: [
        { host: "10.0.3.6:8123", table: "events", differences: ["column note is not there"], sql: [], proven: false },
      ],
      notes: [],
    },
  ],
  "/v1/schedules/rules/run": ["lifecycle.apply", { would: "lifecycle apply" }, null],
  "/v1/audit/verify": ["audit.verify", null, { lines: 4711, checkpoints: 12, vouched_lines: 4700, broken: null }],
  "/v1/line/pause": ["line.pause", {}, told("paused")],
  "/v1/line/resume": ["line.resume", {}, told("resumed")],
  "/v1/line/flush": ["line.flush", {}, told("2 batches sealed")],
  "/v1/line/reload": ["line.reload", {}, told("read again")],
  "/v1/line/probe": ["line.probe", {}, told("the gate tries now")],
};

/** What a route answers, or nothing where it is none of these. `begin(action, result, lasts)` makes a job. */
export function operate(method, path, isDry, body, begin) {
  if (method === "GET") return LOOKS[path] && [200, LOOKS[path]()];
  if (path === "/v1/tokens/revoke") return [200, { id: body.id, until: iso(now() + 3.6e6) }];
  if (path === "/v1/backups/nightly-1/delete")
    return [409, { detail: "nightly-1 cannot be deleted: nightly-2 adds to it", hint: "delete that first" }];
  if (!DOES[path]) return null;
  const [action, trial, result] = DOES[path];
  return isDry ? [200, trial] : [202, begin(action, result, path === "/v1/line/pause")];
}
