// What the checks of the page need: a browser that is told apart from others, pages that notice what they must not do,
// conditions that are waited for, and counting. Knows nothing of what is checked.

import { createRequire } from "node:module";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(path.join(process.env.PENSTOCK_CONSOLE_MODULES ?? "", "from.js"));
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const PAGE = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../src/admin/http/console");
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A browser with a new folder of its own, which goes with it. */
export const launch = () => chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });

const contexts = new Set();

export class Checks {
  passed = 0;
  failed = 0;
  figures = [];

  constructor(only) {
    this.only = only;
  }

  async check(name, work) {
    if (this.only && !new RegExp(this.only).test(name)) return;
    this.before?.();
    const began = performance.now();
    const took = () => `${((performance.now() - began) / 1000).toFixed(1)} s`;
    try {
      await work();
      this.passed += 1;
      console.log(`ok      ${name} (${took()})`);
    } catch (error) {
      this.failed += 1;
      console.log(`FAILED  ${name} (${took()})\n${String(error?.stack ?? error).replace(/^/gm, "        ")}`);
    } finally {
      // Those of a check that failed; the next one begins with none.
      await Promise.all([...contexts].map((context) => context.close()));
    }
  }

  figure(name, value) {
    this.figures.push(`${name}: ${value}`);
  }

  close() {
    for (const figure of this.figures) console.log(`figure  ${figure}`);
    console.log(`${this.passed} passed, ${this.failed} failed`);
    return this.failed === 0 && this.passed > 0;
  }
}

export function must(condition, told) {
  if (!condition) throw new Error(told);
}

/** Looks until it is so, and says at the end what it saw instead. */
export async function until(told, look, ms = 15_000) {
  const end = performance.now() + ms;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${told}`);
    await new Promise((done) => setTimeout(done, 40));
  }
}

/** The files of this checkout in place of those in the program, which then need not be built again for each change. */
async function fromSource(route) {
  const answer = await route.fetch();
  const name = path.basename(new URL(route.request().url()).pathname);
  const body = existsSync(path.join(PAGE, name)) ? readFileSync(path.join(PAGE, name)) : "";
  const contentType = name.endsWith(".css") ? "text/css" : "text/javascript";
  await route.fulfill({ headers: answer.headers(), body, contentType, status: 200 });
}

/** A page of its own, as of somebody who was never here. `faults` fills with what must not happen. */
export async function open(browser, url, { width = 1280, height = 900, theme = "light", hasTouch = false } = {}) {
  const viewport = { width, height };
  const context = await browser.newContext({ viewport, colorScheme: theme, timezoneId: "UTC", hasTouch });
  contexts.add(context);
  context.on("close", () => contexts.delete(context));
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const faults = [];
  const host = new URL(url).host;
  await page.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
      globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  page.on("request", (request) => {
    const asked = new URL(request.url());
    if (asked.protocol !== "data:" && asked.host !== host) faults.push(`a request went to ${asked.host}`);
    if (page.token && decodeURIComponent(request.url()).includes(page.token))
      faults.push(`the token is in ${request.url()}`);
  });
  page.on("pageerror", (error) => faults.push(`an error in the page: ${error.stack ?? error}`));
  page.on("console", (message) => {
    // That a server could not be reached is what some checks bring about.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
      faults.push(message.text());
  });
  if (process.argv.includes("--source")) await page.route(`${url}/console/*.{js,css}`, fromSource);
  await page.goto(`${url}/console/`);
  return {
    page,
    /** Ends it, and fails if something happened that must not. */
    async close() {
      const violations = await page.evaluate(() => globalThis.violations);
      await context.close();
      must(faults.length === 0, faults.join("\n"));
      must(violations.length === 0, `the policy blocked: ${violations.join(", ")}`);
    },
  };
}

export async function signIn(page, token) {
  page.token = token;
  await page.locator("#token").fill(token);
  await page.keyboard.press("Enter");
  await page.locator("#verdict").waitFor();
}

export const level = (page) =>
  page
    .locator("#verdict")
    .getAttribute("data-level", { timeout: 1000 })
    .catch(() => null);

/** Serious faults as axe sees them, of the page or of a part of it; what it says of lesser ones is counted. */
export async function accessible(page, where, part = "html") {
  if (!(await page.evaluate(() => Boolean(globalThis.axe)))) await page.evaluate(AXE);
  const found = await page.evaluate((part) => globalThis.axe.run(part, { resultTypes: ["violations"] }), part);
  const grave = found.violations.filter((one) => one.impact === "serious" || one.impact === "critical");
  const told = grave.map(
    (one) =>
      `${one.id} (${one.impact}): ${one.help}\n  ${one.nodes
        .map((node) => `${node.html} ${node.failureSummary}`)
        .slice(0, 4)
        .join("\n  ")}`,
  );
  must(grave.length === 0, `${where}: ${told.join("\n")}`);
  must(found.testEngine?.name === "axe-core" && found.inapplicable !== undefined, "axe did not run");
  return found.violations.length;
}

export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);

/** What reaches beyond the window and is not scrolled in something of its own. */
export const widest = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll("body *")]
      .filter(
        (node) => node.getBoundingClientRect().right > window.innerWidth + 0.5 && !node.closest(".scroll, .places"),
      )
      .map((node) => `${node.tagName} ${node.id || node.className} ${node.textContent.slice(0, 40)}`)
      .slice(0, 8)
      .join(" | "),
  );

/** Presses Tab until the focus is where `look`, given the focused element, says; by keyboard alone. */
export async function tabTo(page, told, look, most = 60) {
  for (let presses = 0; presses < most; presses += 1) {
    if (await page.evaluate(look)) return presses;
    await page.keyboard.press("Tab");
  }
  throw new Error(
    `Tab does not come to ${told}; the focus is on ${await page.evaluate(() => document.activeElement?.outerHTML.slice(0, 200))}`,
  );
}
