// A line and an admin process for the checks: real ones, on free ports, with a table file that is too strict for a
// part of the generated events. Knows nothing of the page.

import { execFile, spawn } from "node:child_process";
import { createServer } from "node:net";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { until } from "./harness.mjs";

const run = promisify(execFile);
const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), "../..");
const STARTED_MS = 40_000;
const END_MS = 20_000;

function freePort() {
  return new Promise((done, fail) => {
    const server = createServer();
    server.on("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** A process that was started here, and is ended by its own handle. */
class Process {
  constructor(name, command, args, log) {
    const out = openSync(log, "a");
    this.log = log;
    this.name = name;
    this.child = spawn(command, args, { stdio: ["ignore", out, out] });
    closeSync(out);
    this.ended = new Promise((done) => this.child.on("exit", (code) => done((this.code = code ?? -1))));
  }

  async ready(url) {
    await until(
      `${this.name} is ready`,
      async () => {
        if (this.code !== undefined) throw new Error(`${this.name} ended with ${this.code}:\n${this.tail()}`);
        return fetch(url).then(
          (answer) => answer.ok,
          () => false,
        );
      },
      STARTED_MS,
    ).catch((error) => {
      throw new Error(`${error.message}\n${this.tail()}`);
    });
  }

  tail() {
    return readFileSync(this.log, "utf8").split("\n").slice(-25).join("\n");
  }

  async end(signal = "SIGTERM") {
    if (this.code !== undefined) return;
    this.child.kill(signal);
    const late = setTimeout(() => this.child.kill("SIGKILL"), END_MS);
    await this.ended;
    clearTimeout(late);
  }
}

export class Line {
  static async start() {
    const line = new Line();
    line.folder = mkdtempSync(path.join(os.tmpdir(), "penstock-console-"));
    line.clickhouse = process.env.PENSTOCK_TEST_CLICKHOUSE.split(",")[0];
    line.database = `console_${randomBytes(4).toString("hex")}`;
    [line.port, line.adminTelemetry, line.runTelemetry] = [await freePort(), await freePort(), await freePort()];
    line.url = `http://127.0.0.1:${line.port}`;
    line.config = path.join(line.folder, "penstock.yaml");
    mkdirSync(path.join(line.folder, "schemas/clicks"), { recursive: true });
    for (const key of ["token-key", "audit-key", "control-key"])
      writeFileSync(path.join(line.folder, key), randomBytes(48).toString("base64"), { mode: 0o600 });
    line.writeTable(399);
    line.writeMigrations();
    writeFileSync(line.config, line.settings());
    await line.query(`CREATE DATABASE ${line.database}`);
    await line.call("schema", "create");
    await line.publish(500, 7);
    line.run = new Process(
      "run",
      process.env.PENSTOCK,
      ["--config", line.config, "--log", "info", "run"],
      path.join(line.folder, "run.log"),
    );
    line.admin = line.startAdmin();
    await Promise.all([
      line.run.ready(`http://127.0.0.1:${line.runTelemetry}/ready`),
      line.admin.ready(`http://127.0.0.1:${line.adminTelemetry}/ready`),
    ]);
    return line;
  }

  settings() {
    const json = {
      kafka: { brokers: process.env.PENSTOCK_TEST_KAFKA.split(","), group: this.database },
      clickhouse: {
        endpoints: [this.clickhouse],
        database: this.database,
        user: "penstock",
        password: "penstock",
        insert_timeout: "3s",
        retry: { deadline: "3s" },
      },
      tables: { path: path.join(this.folder, "schemas") },
      batch: { age_max: "200ms" },
      migrations: { path: path.join(this.folder, "migrations") },
      lifecycle: { erasures_refresh: "500ms", erasure_grace: "3s" },
      reload: { interval: "500ms" },
      // A part of the events is refused on purpose.
      dead_letter: { ceiling: { percent_max: 100 } },
      telemetry: {
        listen: `127.0.0.1:${this.runTelemetry}`,
        control: { key_file: path.join(this.folder, "control-key") },
      },
      admin: {
        listen: `127.0.0.1:${this.port}`,
        access: { key_file: path.join(this.folder, "token-key"), failures_max: 1000 },
        audit: {
          file: path.join(this.folder, "trail"),
          key_file: path.join(this.folder, "audit-key"),
          checkpoint_file: path.join(this.folder, "points"),
        },
        backup: {
          destination: { kind: "file", path: this.database },
          // Each is whole by itself, and only the newest stays.
          chain_max: 0,
          keep: { hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, min_count: 1, min_age: "0s" },
          policies: { all: { tables: ["clicks"] } },
        },
        schedules: [{ name: "files", what: "migrate verify", every: "24h" }],
        console: {
          lines: [`http://127.0.0.1:${this.runTelemetry}`],
          name: "checks",
          control_key_file: path.join(this.folder, "control-key"),
        },
      },
    };
    // YAML takes JSON.
    return JSON.stringify(json, null, 2);
  }

  /** The table of schemas/clicks, which refuses every status above. Gives whether that is another than before. */
  writeTable(statusMax, days = 3900) {
    const rules = `subject_columns: [user_id]\nlifecycle: {time_column: time, delete_after: ${days}d}\n`;
    const clicks = readFileSync(path.join(ROOT, "schemas/clicks/table.yaml"), "utf8");
    const text = `${clicks.replace("max: 599", `max: ${statusMax}`)}\n${rules}`;
    if (text === this.table) return false;
    this.table = text;
    writeFileSync(path.join(this.folder, "schemas/clicks/table.yaml"), text);
    return true;
  }

  /** One that adds, and one that removes something and says so. */
  writeMigrations() {
    const folder = path.join(this.folder, "migrations");
    mkdirSync(folder);
    const files = {
      "V1__notes.sql": "CREATE TABLE notes (id UInt64, old String) ENGINE = MergeTree ORDER BY id;",
      "V2__no_old.sql": "-- penstock: danger=drop\nALTER TABLE notes DROP COLUMN old;",
      "V2__no_old.down.sql": "ALTER TABLE notes ADD COLUMN old String;",
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
  }

  startAdmin() {
    const listen = `telemetry.listen=127.0.0.1:${this.adminTelemetry}`;
    return new Process(
      "admin",
      process.env.PENSTOCK,
      ["--config", this.config, "--log", "info", "admin", "--set", listen],
      path.join(this.folder, "admin.log"),
    );
  }

  async restartAdmin(between) {
    await this.admin.end("SIGKILL");
    await between();
    this.admin = this.startAdmin();
    await this.admin.ready(`http://127.0.0.1:${this.adminTelemetry}/ready`);
  }

  async call(...args) {
    return (await run(process.env.PENSTOCK, ["--config", this.config, "--log", "off", ...args])).stdout.trim();
  }

  /** The lines of the audit trail. */
  trail = () => readFileSync(path.join(this.folder, "trail"), "utf8").split("\n");

  token(role, ...more) {
    return this.call("token", "issue", "--subject", `${role}-of-the-checks`, "--role", role, "--pii", ...more);
  }

  published = 0;

  publish(count, seed) {
    this.published += count;
    return this.call("generate", "clicks", "--count", String(count), "--seed", String(seed));
  }

  /** Publishes on and on, until it is ended. */
  stream(rate) {
    return new Process(
      "generate",
      process.env.PENSTOCK,
      ["--config", this.config, "--log", "off", "generate", "clicks", "--count", "1000000", "--rate", String(rate)],
      path.join(this.folder, "generate.log"),
    );
  }

  async query(sql) {
    const answer = await fetch(`${this.clickhouse}/?wait_end_of_query=1`, {
      method: "POST",
      body: sql,
      headers: { "X-ClickHouse-User": "penstock", "X-ClickHouse-Key": "penstock" },
    });
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.text()).trim();
  }

  rows = async () => Number(await this.query(`SELECT count() FROM ${this.database}.clicks`));

  /** The sum of what the line counts under a name, with a label. */
  async metric(name, label) {
    const text = await fetch(`http://127.0.0.1:${this.runTelemetry}/metrics`).then((answer) => answer.text());
    return text
      .split("\n")
      .filter((row) => row.startsWith(`${name}{`) && row.includes(label))
      .reduce((sum, row) => sum + Number(row.slice(row.lastIndexOf(" "))), 0);
  }

  refused = () => this.metric("penstock_dlq_records_total", 'outcome="ok"');
  reloads = () => this.metric("penstock_config_reloads_total", 'outcome="ok"');

  server(command, ...rest) {
    return run(process.env.PENSTOCK_TEST_DEV, [
      command,
      "--name",
      process.env.PENSTOCK_TEST_SET,
      ...rest,
      "clickhouse-1",
    ]);
  }

  async stop() {
    await Promise.all([this.run?.end(), this.admin?.end()]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
