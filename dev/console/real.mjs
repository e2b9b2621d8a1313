// The page against real processes: what somebody does who has an alert and no manual.

import { accessible, level, must, open, overflow, signIn, tabTo, until, widest } from "./harness.mjs";
import { Line } from "./line.mjs";
import { operateReal } from "./real_operate.mjs";

const EVENTS = 2000;

export async function real(checks, browser) {
  const line = await Line.start();
  try {
    await first(checks, browser, line);
    await letters(checks, browser, line);
    await roles(checks, browser, line);
    await operateReal(checks, browser, line);
    await faults(checks, browser, line);
  } finally {
    await line.stop();
  }
}

const refusedBy = (line) => line.refused();
const readAgain = (line) => line.reloads();

async function first(checks, browser, line) {
  await checks.check("first paint below 1 s, hardened, asked for again by its tag", async () => {
    const times = [];
    for (let n = 0; n < 5; n += 1) {
      const { page, close } = await open(browser, line.url);
      const paint = await until("a first paint", () =>
        page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime),
      );
      times.push(paint);
      await close();
    }
    times.sort((a, b) => a - b);
    checks.figure("first paint", `${Math.round(times[2])} ms median, ${Math.round(times[4])} ms at most, of 5`);
    must(times[2] < 1000, `${times} ms`);
    const answer = await fetch(`${line.url}/console/`);
    const names = ["content-security-policy", "x-content-type-options", "referrer-policy", "etag"];
    must(
      names.every((name) => answer.headers.get(name)),
      [...answer.headers.keys()].join(),
    );
    const again = await fetch(`${line.url}/console/`, { headers: { "If-None-Match": answer.headers.get("etag") } });
    must(again.status === 304, `${again.status} for what is known`);
    for (const path of ["/", "/console"]) {
      const moved = await fetch(line.url + path, { redirect: "manual" });
      must(moved.status === 308 && moved.headers.get("location") === "/console/", `${path}: ${moved.status}`);
    }
    must((await fetch(`${line.url}/v1/summary`)).status === 401, "the state is told without a token");
  });
  await checks.check("how much a page loads", async () => {
    const { page, close } = await open(browser, line.url);
    const bytes = await page.evaluate(() =>
      performance
        .getEntriesByType("resource")
        .concat(performance.getEntriesByType("navigation"))
        .reduce((sum, entry) => sum + entry.encodedBodySize, 0),
    );
    checks.figure("page", `${(bytes / 1000).toFixed(0)} kB in all`);
    must(bytes > 10_000 && bytes < 170_000, `${bytes} bytes`);
    await close();
  });
}

async function letters(checks, browser, line) {
  const operator = await line.token("operator");
  await checks.check("what is refused is on the page within 2 s of the line's own word", async () => {
    const { page, close } = await open(browser, line.url);
    await signIn(page, operator);
    await until("the line is known", async () => !["unknown", null].includes(await level(page)), 20_000);
    const total = () => page.locator('[data-key="dead_letters_per_min"] .beside').innerText();
    const before = await total();
    const old = await refusedBy(line);
    const published = line.publish(EVENTS, 1);
    await until("the line refuses some", async () => (await refusedBy(line)) > old, 30_000);
    const began = performance.now();
    await until("the page shows another number", async () => (await total()) !== before, 10_000);
    const took = performance.now() - began;
    await published;
    checks.figure("update after the line refused records", `${Math.round(took)} ms`);
    must(took < 2000, `${took} ms`);
    await until("attention", async () => (await level(page)) === "attention", 10_000);
    await accessible(page, "attention, real");
    await page.setViewportSize({ width: 360, height: 740 });
    must((await overflow(page)) <= 0, `too wide: ${await widest(page)}`);
    await close();
  });
  await checks.check("an operator finds the letters, mends the table and replays them, by keyboard alone", async () => {
    await until("all is decided", async () => (await line.rows()) + (await refusedBy(line)) >= line.published, 30_000);
    const refused = line.published - (await line.rows());
    must(refused > 0, "nothing was refused");
    const { page, close } = await open(browser, line.url);
    await page.keyboard.type(operator);
    await page.keyboard.press("Enter");
    await page.locator("#verdict").waitFor();
    await page.locator('#problems a[href^="#dead-letters?"]').waitFor();
    await page.keyboard.press("1");
    await tabTo(page, "the problem's link", () =>
      document.activeElement.matches('#problems a[href^="#dead-letters?"]'),
    );
    await page.keyboard.press("Enter");
    await until("the focus is in the groups", () =>
      page.evaluate(() => document.activeElement.matches("#dead-letters tbody tr")),
    ).catch(async (error) => {
      throw new Error(`${error.message}: ${await page.locator("#dead-letters").innerText()}`);
    });
    const seen = await page.evaluate(() => document.activeElement.innerText);
    must(seen.includes("status") && seen.includes("out_of_range"), seen);

    const reloads = await readAgain(line);
    line.writeTable(599);
    await until("the table is read again", async () => (await readAgain(line)) > reloads, 20_000);

    await tabTo(page, "Replay", () => document.activeElement.getAttribute("aria-label")?.startsWith("Replay clicks"));
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await until("the topic is asked for", () =>
      page.evaluate(
        () =>
          document.activeElement.matches("dialog input") &&
          document.activeElement.labels[0].innerText.includes("Type the topic"),
      ),
    );
    must(
      (await page.locator("dialog .preview").innerText()).replace(/\s/g, "").includes(`wouldsend${refused}`),
      await page.locator("dialog .preview").innerText(),
    );
    await page.keyboard.type("clicks");
    await page.keyboard.press("Enter");
    await page.locator("dialog .outcome").waitFor({ timeout: 60_000 });
    await page.keyboard.press("Escape");
    await until("the focus is back", () =>
      page.evaluate(() => document.activeElement.getAttribute("aria-label")?.startsWith("Replay clicks")),
    );
    await until("every record is a row", async () => (await line.rows()) === line.published, 30_000);
    await page.locator("#jobs tbody tr").filter({ hasText: "replay" }).first().waitFor();
    await close();
  });
}

async function roles(checks, browser, line) {
  await checks.check("a viewer sees buttons that say what is missing", async () => {
    const { page, close } = await open(browser, line.url, { theme: "dark" });
    await signIn(page, await line.token("viewer"));
    await page.getByRole("button", { name: "Count by what is wrong" }).click();
    const replay = page.getByRole("button", { name: /^Replay clicks/ });
    await replay.waitFor();
    must(
      (await replay.getAttribute("title")) === "needs the permission dead_letter_replay; you are viewer",
      await replay.getAttribute("title"),
    );
    await page.getByRole("button", { name: /^Letters of clicks/ }).click();
    await page.locator(".letters tbody tr").first().waitFor();
    must((await page.locator(".letters tbody").innerText()).includes("masked"), "values are shown");
    await accessible(page, "viewer, real");
    await close();
  });
  await checks.check("an operator sees a value after giving a reason, and the trail has it", async () => {
    const { page, close } = await open(browser, line.url);
    await signIn(page, await line.token("operator"));
    await page.getByRole("button", { name: "Count by what is wrong" }).click();
    await page.getByRole("button", { name: /^Letters of clicks/ }).click();
    await page.getByRole("button", { name: "Show values…" }).click();
    await page.getByLabel("Reason").fill("ticket 4711");
    await page.keyboard.press("Enter");
    await page.locator(".letters").getByText("event_id").first().waitFor();
    must(
      line.trail().some((entry) => entry.includes("ticket 4711") && entry.includes("dead_letter")),
      "the trail does not have the reason",
    );
    await close();
  });
}

/** The shut gate of the server that is away is tried; one that was tried by itself just now is no longer shut for a moment. */
async function probed(page) {
  const gate = page.locator("#operate tbody tr").filter({ hasText: "Probe now…" });
  await gate.getByText("shut", { exact: true }).waitFor();
  await gate.getByRole("button").click();
  await page.getByLabel("Reason").fill("it is being started");
  await page.keyboard.press("Enter");
  const end = page.locator("dialog").locator(".outcome, .refusal").first();
  await end.waitFor();
  must((await end.innerText()).includes("it is tried now"), await end.innerText());
  await page.keyboard.press("Escape");
}

async function faults(checks, browser, line) {
  const operator = await line.token("operator");
  await checks.check("the admin process is killed and started again: the page says so and goes on", async () => {
    const { page, close } = await open(browser, line.url);
    await signIn(page, operator);
    await line.restartAdmin(async () => {
      await page.getByText(/^Reconnecting/).waitFor();
      await page.getByText(/^What you see is \d+\ss old/).waitFor();
    });
    await page.getByText("Live", { exact: true }).waitFor({ timeout: 20_000 });
    await until("the state is fresh", async () => (await page.locator("body.stale").count()) === 0);
    await close();
  });
  await checks.check("ClickHouse is stopped: paused within seconds, and over when it is back", async () => {
    const { page, close } = await open(browser, line.url, { theme: "dark" });
    await signIn(page, operator);
    const events = line.stream(200);
    try {
      await line.server("kill");
      const stopped = performance.now();
      await until("paused", async () => (await level(page)) === "paused", 30_000).catch(async (error) => {
        throw new Error(`${error.message}: ${await page.locator("#verdict").innerText()}`);
      });
      checks.figure("paused after ClickHouse was killed", `${((performance.now() - stopped) / 1000).toFixed(1)} s`);
      must(/nothing lost|paused/i.test(await page.locator("#verdict-sentence").innerText()), "no word of what is lost");
      await accessible(page, "paused, real");
      await probed(page);
      await line.server("restart");
      const back = performance.now();
      await until("over", async () => ["healthy", "attention"].includes(await level(page)), 60_000);
      checks.figure("over after ClickHouse was back", `${((performance.now() - back) / 1000).toFixed(1)} s`);
    } finally {
      await events.end();
    }
    await close();
  });
}
