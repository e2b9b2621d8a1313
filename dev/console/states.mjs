// The page against made-up states: every verdict, both themes, narrow screens, keys, what is stale, what may not be done.

import { accessible, level, must, open, overflow, signIn, tabTo, until, widest } from "./harness.mjs";

const LEVELS = ["healthy", "attention", "paused", "failing", "unknown"];

export async function states(checks, browser, fixture) {
  checks.before = () => fixture.reset();
  await looks(checks, browser, fixture);
  await connection(checks, browser, fixture);
  await hands(checks, browser, fixture);
  await work(checks, browser, fixture);
}

async function looks(checks, browser, fixture) {
  const shapes = new Set();
  for (const state of LEVELS) {
    await checks.check(
      `${state}: the verdict stands first, in a word and a shape; axe finds nothing serious in light and dark; 360 px are enough`,
      async () => {
        fixture.set({ state });
        const { page, close } = await open(browser, fixture.url);
        await signIn(page, "operator");
        await until(`the verdict is ${state}`, async () => (await level(page)) === state);
        must(
          (await page.locator("main > *").first().getAttribute("id")) === "verdict",
          "something stands before the verdict",
        );
        must((await page.locator("#verdict").innerText()).toLowerCase().includes(state), `${state} is not said`);
        shapes.add(await page.locator("#verdict .icon path").getAttribute("d"));
        await accessible(page, `${state}, light`);
        await page.emulateMedia({ colorScheme: "dark" });
        await page.setViewportSize({ width: 360, height: 740 });
        await accessible(page, `${state}, dark, 360 px`);
        must((await overflow(page)) <= 0, `360 px: it is ${await overflow(page)} px too wide: ${await widest(page)}`);
        await close();
      },
    );
  }
  await checks.check("colour is not the only signal: five levels have five shapes", async () => {
    must(checks.only || shapes.size === LEVELS.length, `${shapes.size} shapes`);
  });
  await checks.check("a dialog and open letters: nothing serious, 360 px are enough", async () => {
    fixture.set({ state: "attention" });
    const { page, close } = await open(browser, fixture.url, { width: 360, height: 740, theme: "dark" });
    await signIn(page, "admin");
    await page.getByRole("button", { name: "Count by what is wrong" }).click();
    await page.getByRole("button", { name: /^Letters of clicks/ }).click();
    await page.locator(".letters tbody tr").first().waitFor();
    await accessible(page, "letters");
    must((await overflow(page)) <= 0, "letters are too wide");
    await page.getByRole("button", { name: /^Replay clicks/ }).click();
    await page.getByRole("button", { name: "Count first" }).click();
    await page.getByLabel(/^Type the topic/).waitFor();
    await accessible(page, "the replay dialog");
    must((await overflow(page)) <= 0, "the dialog is too wide");
    await close();
  });
  await checks.check("the page to sign in: nothing serious, in both themes", async () => {
    for (const theme of ["light", "dark"]) {
      const { page, close } = await open(browser, fixture.url, { width: 360, theme });
      await page.locator("#token").waitFor();
      await accessible(page, "sign-in");
      await close();
    }
  });
}

async function connection(checks, browser, fixture) {
  await checks.check("a change is there within 2 s", async () => {
    fixture.set({ state: "healthy" });
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    const times = [];
    for (const state of ["paused", "healthy", "failing", "healthy"]) {
      const began = performance.now();
      fixture.set({ state });
      await until(state, async () => (await level(page)) === state, 5000);
      times.push(performance.now() - began);
    }
    checks.figure("update after a change, made-up states", times.map((ms) => `${Math.round(ms)} ms`).join(", "));
    must(Math.max(...times) < 2000, `it took ${Math.max(...times)} ms`);
    await close();
  });
  await checks.check(
    "silence: what is seen is marked with its age, tried again, and fresh again without a reload",
    async () => {
      fixture.set({ state: "healthy", isSilent: false });
      const { page, close } = await open(browser, fixture.url);
      await signIn(page, "operator");
      fixture.set({ isSilent: true });
      await page.getByText(/^What you see is \d+\ss old/).waitFor();
      must(await page.locator("body.stale").count(), "it does not look old");
      await accessible(page, "stale");
      await page.getByText(/As it was at .* ago/).waitFor();
      fixture.set({ isSilent: false });
      await page.locator("body:not(.stale)").waitFor();
      await close();
    },
  );
  await checks.check("the server goes away and comes back", async () => {
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    fixture.set({ isDown: true });
    await page.getByText(/^Reconnecting/).waitFor();
    await until(
      "buttons wait",
      async () => (await page.getByRole("button", { name: "Back up now" }).getAttribute("title")) === "not connected",
    );
    fixture.set({ isDown: false });
    await page.getByText("Live", { exact: true }).waitFor();
    await close();
  });
  await checks.check("a token that has ended: signed out, told why, and nothing of the state is left", async () => {
    const { page, close } = await open(browser, fixture.url);
    await page.locator("#token").fill("ended");
    await page.keyboard.press("Enter");
    await page
      .getByRole("main")
      .getByText(/You were signed out: .* it has ended/)
      .waitFor();
    must((await page.locator("#verdict").count()) === 0, "the verdict is still there");
    must((await page.evaluate(() => sessionStorage.length)) === 0, "the token is still there");
    await close();
  });
  await checks.check("too many streams: the page says so, and comes in once there is room", async () => {
    fixture.set({ isBusy: true });
    const { page, close } = await open(browser, fixture.url);
    await page.locator("#token").fill("operator");
    await page.keyboard.press("Enter");
    await page.getByText(/No state has come yet: too many streams are open; close some/).waitFor();
    fixture.set({ isBusy: false });
    await page.locator("#verdict").waitFor();
    await close();
  });
  await checks.check("without JavaScript the page says what to do", async () => {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(`${fixture.url}/console/`);
    const told = await page.locator("body").innerText();
    must(told.includes("/v1/summary") && told.includes("penstock top"), told);
    await context.close();
  });
}

/** In the page: how long each of the next so many updates took to draw. */
function drawn(count) {
  return new Promise((done) => {
    const all = [];
    const observer = new PerformanceObserver((list) => {
      all.push(...list.getEntriesByName("penstock-draw").map((entry) => entry.duration));
      if (all.length < count) return;
      observer.disconnect();
      done(all.slice(0, count));
    });
    observer.observe({ entryTypes: ["measure"] });
  });
}

async function hands(checks, browser, fixture) {
  await checks.check(
    "200 partitions at 1 Hz: below 16 ms a frame, focus and scroll stay, rows do not move under them",
    async () => {
      fixture.set({ state: "many" });
      const { page, close } = await open(browser, fixture.url);
      await signIn(page, "operator");
      await until("200 rows", async () => (await page.locator("#partitions tbody tr").count()) === 200);
      await page.keyboard.press("4");
      await tabTo(page, "a row", () => document.activeElement.matches("#partitions tbody tr"));
      for (let n = 0; n < 30; n += 1) await page.keyboard.press("ArrowDown");
      const before = await page.evaluate(() => [
        document.activeElement.cells[0].innerText,
        document.activeElement.cells[1].innerText,
        document.activeElement.rowIndex,
        document.querySelector("#partitions .scroll").scrollTop,
      ]);
      const session = await page.context().newCDPSession(page);
      await session.send("Performance.enable");
      const metrics = async () =>
        Object.fromEntries((await session.send("Performance.getMetrics")).metrics.map((one) => [one.name, one.value]));
      const first = await metrics();
      const draws = await page.evaluate(drawn, 8);
      const last = await metrics();
      const spent = (name) => last[name] - first[name];
      draws.sort((a, b) => a - b);
      // Durations are of the clock, and other processes have their share of it; the thread's own time says how large that is.
      const clock =
        ((spent("ScriptDuration") + spent("LayoutDuration") + spent("RecalcStyleDuration")) * 1000) / draws.length;
      const each = (clock * spent("ThreadTime")) / spent("TaskDuration");
      checks.figure(
        "200 partitions",
        `draw ${draws[4].toFixed(1)} ms median, ${draws.at(-1).toFixed(1)} ms at most; script, style and layout of an update ${each.toFixed(1)} ms of the processor, ${clock.toFixed(1)} ms by the clock`,
      );
      const after = await page.evaluate(() => [
        document.activeElement.cells[0].innerText,
        document.activeElement.cells[1].innerText,
        document.activeElement.rowIndex,
        document.querySelector("#partitions .scroll").scrollTop,
      ]);
      must(String(before) === String(after), `the focus was on ${before} and is on ${after}`);
      must(each < 16, `${each.toFixed(1)} ms an update`);
      await close();
    },
  );
  await checks.check("keys: sections, help, Esc and the focus that comes back, filter, theme, skip link", async () => {
    fixture.set({ state: "healthy" });
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    await page.keyboard.press("7");
    must(await page.evaluate(() => document.activeElement.id === "dead-letters"), "7 does not go to the dead letters");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
    must(await page.evaluate(() => document.activeElement.id === "dead-letters"), "the focus did not come back");
    await page.keyboard.press("/");
    await page.keyboard.type("orders");
    await until("only orders", async () =>
      (await page.locator("#partitions tbody th").allTextContents()).every((name) => name === "orders"),
    );
    await page.keyboard.press("Escape");
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("t");
    must((await page.locator("html").getAttribute("data-theme")) === "light", "t does not turn the theme");
    await page.reload();
    await page.locator("#verdict").waitFor();
    must((await page.locator("html").getAttribute("data-theme")) === "light", "the theme is forgotten");
    await page.goto(`${fixture.url}/console/`);
    await page.locator("#verdict").waitFor();
    await page.keyboard.press("Tab");
    must(
      await page.evaluate(() => document.activeElement.classList.contains("skip")),
      "the first stop is not the skip link",
    );
    await page.keyboard.press("Enter");
    must(await page.evaluate(() => document.activeElement.id === "main"), "the skip link leads nowhere");
    await close();
  });
  await checks.check("Tab comes through the whole page and to its end", async () => {
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    await page.evaluate(() => document.activeElement.blur());
    const seen = new Set();
    const step = () =>
      page.evaluate(
        () => document.activeElement?.closest("section, header, nav, footer")?.id || document.activeElement?.tagName,
      );
    for (let presses = 0; presses < 140; presses += 1) {
      await page.keyboard.press("Tab");
      seen.add(await step());
      if (seen.has("timeline")) break;
    }
    for (const id of [
      "totals",
      "partitions",
      "tables",
      "pods",
      "dead-letters",
      "jobs",
      "backups",
      "operate",
      "migrations",
      "access",
      "timeline",
    ])
      must(seen.has(id), `Tab passes ${id} by: ${[...seen]}`);
    await close();
  });
  await checks.check("each problem's link is a stop, also of the second", async () => {
    fixture.set({ state: "failing" });
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    await page.locator('#problems a[href^="#dead-letters?"]').waitFor();
    await page.keyboard.press("1");
    await tabTo(page, "the link", () => document.activeElement.matches('#problems a[href^="#dead-letters?"]'), 8);
    await page.keyboard.press("Enter");
    await until("the focus is in the groups", () =>
      page.evaluate(() => document.activeElement.matches("#dead-letters tbody tr")),
    );
    await close();
  });
  await checks.check("a number is copied as curl, and the token stays a variable", async () => {
    const { page, close } = await open(browser, fixture.url);
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await signIn(page, "operator");
    await page.locator(".tile .figure").first().click();
    await page.locator("#toast").waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    must(
      copied.includes("$TOKEN") && !copied.includes("operator") && copied.includes(".totals.in_records_per_s"),
      copied,
    );
    await close();
  });
}

async function work(checks, browser, fixture) {
  await checks.check("a viewer sees what needs another role, and why; pressing does nothing", async () => {
    fixture.set({ state: "attention" });
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "viewer");
    const button = page.getByRole("button", { name: "Back up now" });
    must((await button.getAttribute("aria-disabled")) === "true", "it is not disabled");
    await page.getByText("needs the permission backup_create; you are viewer").waitFor();
    await page.getByRole("button", { name: "Count by what is wrong" }).click();
    const replay = page.getByRole("button", { name: /^Replay clicks/ });
    await replay.waitFor();
    must(
      (await replay.getAttribute("title")) === "needs the permission dead_letter_replay; you are viewer",
      "no reason is given",
    );
    await replay.focus();
    await page.keyboard.press("Enter");
    must((await page.locator("dialog").count()) === 0, "a dialog opened");
    must(!fixture.requests.some((one) => one.method === "POST"), "something was sent");
    await close();
  });
  await checks.check("read-only: a banner, and every button that changes something says so", async () => {
    fixture.set({ readOnly: true });
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "admin");
    await page.getByText(/^Read-only: this console/).waitFor();
    await until("it says so", async () =>
      (await page.getByRole("button", { name: "Back up now" }).getAttribute("title"))?.includes("read-only"),
    );
    await close();
  });
  await checks.check("a problem leads to its letters; values need a reason and stay text", async () => {
    fixture.set({ state: "attention" });
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    await page.getByRole("link", { name: "Open dead letters" }).click();
    await page.getByRole("button", { name: /^Letters of clicks/ }).click();
    await page.locator(".letters tbody tr").first().waitFor();
    must((await page.locator(".letters").innerText()).includes("masked"), "values are not masked");
    await page.getByRole("button", { name: "Show values…" }).click();
    const before = fixture.requests.length;
    await page.keyboard.press("Enter");
    must(fixture.requests.length === before, "it asked without a reason");
    await page.getByLabel("Reason").fill("ticket 4711");
    await page.keyboard.press("Enter");
    await page.getByText("onerror=alert(1)").first().waitFor();
    must((await page.locator(".letters img").count()) === 0, "a value became a part of the page");
    must(
      fixture.requests.some((one) => one.url.includes("why=ticket+4711")),
      "the reason was not sent",
    );
    await close();
  });
  await checks.check("purge: what goes is shown, the topic is typed, once", async () => {
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "admin");
    await page.getByRole("button", { name: "Count by what is wrong" }).click();
    await page.getByRole("button", { name: /^Purge clicks/ }).click();
    await page.getByRole("button", { name: "Count first" }).click();
    await page.getByText(/partition 0: everything before offset/).waitFor();
    const sent = () => fixture.requests.filter((one) => one.method === "POST" && one.url === "/v1/dead-letters/purge");
    await page.getByLabel(/^Type the topic clicks/).fill("click");
    await page.keyboard.press("Enter");
    must(sent().length === 0, "it was sent with another topic");
    await page.getByLabel(/^Type the topic clicks/).fill("clicks");
    await page.keyboard.press("Enter");
    await page.getByText("Done.", { exact: true }).waitFor();
    must(sent().length === 1 && sent()[0].key?.length === 32, "not once, or without a key");
    await page.keyboard.press("Escape");
    await close();
  });
  await checks.check("a job is cancelled, a backup is begun, each by one press", async () => {
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    await page.getByRole("button", { name: "Cancel backup.create" }).click();
    await page.getByText("backup.create was asked to end").first().waitFor();
    await page.getByLabel("Policy").selectOption("hourly");
    await page.getByRole("button", { name: "Back up now" }).click();
    await page.locator("#backups").getByText("Done.", { exact: true }).waitFor();
    must(
      fixture.requests.some((one) => one.url === "/v1/backups" && one.body === '{"policy":"hourly"}'),
      "another policy was sent",
    );
    await close();
  });
}
