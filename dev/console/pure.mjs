// The parts of the page that need no page: how numbers are written, how a stream of events is cut.

import { readFileSync, readdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { must } from "./harness.mjs";

const FOLDER = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../src/admin/http/console");

/** The modules as they are, in a folder that says that they are modules. */
async function modules(work) {
  const folder = mkdtempSync(path.join(os.tmpdir(), "penstock-pure-"));
  try {
    writeFileSync(path.join(folder, "package.json"), '{"type": "module"}');
    for (const name of readdirSync(FOLDER).filter((name) => name.endsWith(".js")))
      writeFileSync(path.join(folder, name), readFileSync(path.join(FOLDER, name)));
    await work((name) => import(path.join(folder, name)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const same = (seen, wanted, told) =>
  must(seen === wanted, `${told}: ${JSON.stringify(seen)} in place of ${JSON.stringify(wanted)}`);

export async function pure(checks) {
  await checks.check("numbers, sizes and spans are written as people read them", () =>
    modules(async (load) => {
      const f = await load("format.js");
      const plain = (text) => text.replace(/[\u00a0\u202f]/g, " ");
      for (const [seen, wanted] of [
        [f.count(0), "0"],
        [f.count(999), "999"],
        [f.count(999.7), "1.00k"],
        [f.count(182_400), "182k"],
        [f.count(1_234_567), "1.23M"],
        [f.count(0.25), "0.3"],
        [f.count(null), "–"],
        [f.count(NaN), "–"],
        [f.whole(1204), "1 204"],
        [f.whole(12_345_678), "12 345 678"],
        [f.bytes(600 * 2 ** 20), "600 MiB"],
        [f.bytes(1023), "1023 B"],
        [f.share(1), "100 %"],
        [f.share(0.99999), "99.99 %"],
        [f.share(0.31), "31 %"],
        [f.span(0), "0 s"],
        [f.span(0.4), "400 ms"],
        [f.span(3), "3 s"],
        [f.span(3.25), "3.3 s"],
        [f.span(88), "88 s"],
        [f.span(180), "3 min"],
        [f.span(7200), "2 h"],
        [f.span(3 * 86_400), "3 d"],
        [f.span(undefined), "–"],
      ])
        same(plain(seen), wanted, "written");
      f.useUtc(true);
      same(f.clock("2026-03-14T09:26:53Z", Date.parse("2026-03-14T10:00:00Z")), "09:26:53", "today");
      same(f.clock("2026-03-13T09:26:53Z", Date.parse("2026-03-14T10:00:00Z")), "2026-03-13 09:26:53", "yesterday");
      same(f.clock("no time"), "–", "no time");
    }),
  );
  await checks.check("a stream is cut into events wherever its pieces end; the latest of a piece counts", () =>
    modules(async (load) => {
      const { Events } = await load("api.js");
      const text =
        ': alive\n\nevent: summary\ndata: {"n": 1}\n\nevent: summary\r\ndata: {"n":\r\ndata:  2}\r\n\r\ndata: {"n": 3}\n\n';
      for (let size = 1; size <= text.length; size += 1) {
        const events = new Events();
        let last = null;
        let count = 0;
        for (let at = 0; at < text.length; at += size) {
          const event = events.take(text.slice(at, at + size));
          if (event) [last, count] = [event.n, count + 1];
        }
        must(
          last === 3 && count >= 1 && (size > 1 || count === 3),
          `pieces of ${size}: ${count} events, the last ${last}`,
        );
      }
      let refused = false;
      const endless = new Events();
      try {
        for (let n = 0; n < 5; n += 1) endless.take("x".repeat(1_000_000));
      } catch {
        refused = true;
      }
      must(refused, "an event without an end is held for ever");
    }),
  );
}
