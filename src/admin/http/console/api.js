// Requests to the admin process, and the live state. The token goes in one header and nowhere else: not into an address,
// not into what is copied, and it is kept only as long as the tab.

import { released } from "./press.js";

const KEY = "penstock-token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

/** What the server refused, with what to do about it. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `the answer was ${status}`);
    this.status = status;
    this.hint = problem.hint || "";
  }
}

const header = () => ({ Authorization: `Bearer ${token.get() ?? ""}` });

/** The answer, or what was refused; neither comes in the middle of a press, since both change the page. */
export async function ask(path, how) {
  try {
    return await answerOf(path, how);
  } finally {
    await released();
  }
}

async function answerOf(path, { method = "GET", body, key, signal } = {}) {
  const headers = header();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, {
      detail: "the admin process cannot be reached",
      hint: "try again when the page is connected",
    });
  }
  const text = await answer.text();
  let value = {};
  try {
    value = text ? JSON.parse(text) : {};
  } catch {
    value = { detail: "the answer is no JSON", hint: "is there a proxy between?" };
  }
  if (!answer.ok) throw new Refused(answer.status, value);
  return value;
}

/** Names one request, so that sending it twice does it once. Works without a secure context as well. */
export function requestKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

/** The same request for a shell; the token stays a variable. */
export function curl(path, { method = "GET", body, jq } = {}) {
  const parts = ["curl -sS", '-H "Authorization: Bearer $TOKEN"'];
  if (method !== "GET") parts.push(`-X ${method}`);
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  parts.push(quoted(location.origin + path));
  return parts.join(" ") + (jq ? ` | jq ${quoted(jq)}` : "");
}

const SILENT_MS = 6000;
const ORDERLY_MS = 10_000;
const BACKOFF_MS = [250, 500, 1000, 2000, 4000, 8000];

/**
 * Follows the state until it is stopped. `on.summary(summary)` for each; `on.state(state, detail)` with one of
 * connecting, live, waiting (detail: when it is tried again, why), refused (detail: the refusal; it has given up).
 */
export class Live {
  constructor(on) {
    this.on = on;
    this.round = 0;
  }

  start() {
    this.stop();
    this.failures = 0;
    this.run(this.round);
  }

  stop() {
    this.round += 1;
    this.abort?.abort();
    clearTimeout(this.timer);
    this.timer = null;
  }

  /** Tries at once instead of waiting. */
  now() {
    if (this.timer) this.start();
  }

  async run(round, isNext = false) {
    this.timer = null;
    if (!isNext) this.on.state("connecting");
    let why = "the connection ended";
    const began = Date.now();
    try {
      await this.read(round);
      // The process ends each connection after some minutes, in order: the next one follows at once.
      if (round === this.round && Date.now() - began > ORDERLY_MS) {
        this.run(round, true);
        return;
      }
    } catch (error) {
      if (round !== this.round) return;
      if (error.status === 401 || error.status === 403) {
        this.on.state("refused", error);
        return;
      }
      if (error instanceof Refused) why = [error.message, error.hint].filter(Boolean).join("; ");
      else why = this.isSilent ? "nothing came for 6 s" : "the admin process cannot be reached";
    }
    if (round !== this.round) return;
    const base = BACKOFF_MS[Math.min(this.failures, BACKOFF_MS.length - 1)];
    // Many open pages must not all come back in the same moment.
    const wait = base * (0.75 + Math.random() / 2);
    this.failures += 1;
    this.on.state("waiting", { at: Date.now() + wait, why });
    this.timer = setTimeout(() => this.run(round), wait);
  }

  async read(round) {
    this.abort = new AbortController();
    this.isSilent = false;
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        this.isSilent = true;
        this.abort.abort();
      }, SILENT_MS);
    };
    heard();
    try {
      const answer = await fetch("/v1/summary/stream", {
        headers: { ...header(), Accept: "text/event-stream" },
        signal: this.abort.signal,
        cache: "no-store",
      });
      if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => ({})));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const events = new Events();
      for (;;) {
        const { value, done } = await reader.read();
        if (done || round !== this.round) return;
        heard();
        const summary = events.take(value);
        if (!summary) continue;
        this.failures = 0;
        this.on.state("live");
        this.on.summary(summary);
      }
    } finally {
      clearTimeout(silence);
      this.abort.abort();
    }
  }
}

const EVENT_CHARS_MAX = 4_000_000;

/** Takes pieces of an event stream, and gives the latest whole summary in them. */
export class Events {
  buffer = "";

  take(piece) {
    this.buffer += piece.replaceAll("\r", "");
    if (this.buffer.length > EVENT_CHARS_MAX) throw new Error("an event is too long");
    let latest = null;
    for (let end = this.buffer.indexOf("\n\n"); end >= 0; end = this.buffer.indexOf("\n\n")) {
      const event = this.buffer.slice(0, end).split("\n");
      this.buffer = this.buffer.slice(end + 2);
      const data = event.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length > 0) latest = data.join("\n");
    }
    return latest === null ? null : JSON.parse(latest);
  }
}
