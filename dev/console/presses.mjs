// Presses that something comes into, against made-up states: a state or an answer between pointer down and up, a press that
// never ends, one that is made twice. Whatever comes, the click is about what was pressed.

import { level, must, open, signIn, tabTo, until } from "./harness.mjs";

export async function presses(checks, browser, fixture) {
  await checks.check(
    "a state comes between pointer down and up: what was pressed is done, and the state is drawn right after",
    () => mouse(browser, fixture),
  );
  await checks.check("the same with a finger, which never moves before it is down", () => finger(browser, fixture));
  await checks.check("an answer comes between pointer down and up: what was pressed is done", () =>
    answered(browser, fixture),
  );
  await checks.check("a press whose end is never told: the page goes on, and a click that is late does nothing", () =>
    endless(browser, fixture),
  );
  await checks.check(
    "keys: a space bar that is held, a row that moves behind its dialog, a section whose row is gone",
    () => keys(browser, fixture),
  );
  await checks.check(
    "a double click and an Enter that is held are one press; an answer to what is asked no more is not shown",
    () => twice(browser, fixture),
  );
}

const cancelled = (fixture) =>
  fixture.requests.filter((one) => one.url.endsWith("/cancel")).map((one) => one.url.split("/").at(-2));
const cancelOf = (page, action) => page.getByRole("button", { name: `Cancel ${action}`, exact: true });

async function middle(locator) {
  await locator.scrollIntoViewIfNeeded();
  const { x, y, width, height } = await locator.boundingBox();
  return { x: x + width / 2, y: y + height / 2 };
}

async function pressDown(page, locator) {
  const { x, y } = await middle(locator);
  await page.mouse.move(x, y);
  await page.mouse.down();
}

/** The page with two jobs, of which the lower one's button is down. */
async function withCancelDown(browser, fixture) {
  const { page, close } = await open(browser, fixture.url);
  await signIn(page, "operator");
  fixture.begin("schema.diff");
  await cancelOf(page, "schema.diff").waitFor();
  await pressDown(page, cancelOf(page, "backup.create"));
  return { page, close };
}

/** Lets `change` happen, and waits until the page has it, and could have drawn it twice. */
async function comes(page, fixture, change) {
  await page.evaluate(() => {
    const { parse } = JSON;
    globalThis.isThere = false;
    JSON.parse = (text, ...rest) => {
      if (text.includes('"verdict"'))
        requestAnimationFrame(() => requestAnimationFrame(() => (globalThis.isThere = true)));
      return parse(text, ...rest);
    };
  });
  change();
  fixture.tell();
  await page.waitForFunction(() => globalThis.isThere);
}

/** Above the job that is pressed one goes and others come, and a problem moves the whole page. */
function upset(fixture) {
  fixture.jobs.splice(0, 1);
  for (const action of ["table.optimize", "migrate.drift", "backup.verify"]) fixture.begin(action);
  fixture.set({ state: "attention" });
}

async function mouse(browser, fixture) {
  const { page, close } = await withCancelDown(browser, fixture);
  await comes(page, fixture, () => upset(fixture));
  const during = await level(page);
  fixture.set({ isSilent: true });
  await page.mouse.up();
  await page.getByText("backup.create was asked to end").first().waitFor({ timeout: 3000 });
  must(String(cancelled(fixture)) === "j-1", `cancelled: ${cancelled(fixture)}`);
  must(during === "healthy", "the page moved while it was pressed");
  await until("the newest state is drawn", async () => (await level(page)) === "attention", 500);
  await close();
}

async function finger(browser, fixture) {
  const { page, close } = await open(browser, fixture.url, { width: 360, height: 740, hasTouch: true });
  await signIn(page, "operator");
  const right = await cancelOf(page, "backup.create").evaluate((node) => node.getBoundingClientRect().right);
  must(right <= 360, `it is beyond the edge: ${right} px`);
  const point = await middle(cancelOf(page, "backup.create"));
  const session = await page.context().newCDPSession(page);
  await session.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [point] });
  await comes(page, fixture, () => fixture.begin("backup.verify"));
  await session.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await until("something is cancelled", () => cancelled(fixture).length > 0, 3000);
  must(String(cancelled(fixture)) === "j-1", `cancelled: ${cancelled(fixture)}`);
  await cancelOf(page, "backup.verify").waitFor();
  await close();
}

async function answered(browser, fixture) {
  const { page, close } = await open(browser, fixture.url);
  await signIn(page, "admin");
  fixture.set({ holds: true });
  await page.getByRole("button", { name: "How they stand" }).click();
  await until("it is asked for", () => fixture.requests.some((one) => one.url === "/v1/migrations"));
  await pressDown(page, page.getByRole("button", { name: "Plan", exact: true }));
  const answer = page.waitForResponse(/migrations$/);
  fixture.set({ holds: false });
  await (await answer).finished();
  await comes(page, fixture, () => {});
  await page.mouse.up();
  await until("the plan is asked for", () => fixture.requests.some((one) => one.url === "/v1/lifecycle/plan"), 3000);
  await page.locator("#migrations tbody tr").first().waitFor();
  await close();
}

async function endless(browser, fixture) {
  const { page, close } = await withCancelDown(browser, fixture);
  const began = performance.now();
  await comes(page, fixture, () => upset(fixture));
  await until("the page goes on", async () => (await level(page)) === "attention", 6000);
  must(performance.now() - began > 2000, "the page did not hold still");
  await page.mouse.up();
  await page.getByText("Pressed for too long").first().waitFor();
  must(cancelled(fixture).length === 0 && (await page.locator("dialog").count()) === 0, "something was done");
  await cancelOf(page, "backup.verify").click();
  await until("a press does something again", () => cancelled(fixture).length === 1);
  await close();
}

async function keys(browser, fixture) {
  const { page, close } = await open(browser, fixture.url);
  await signIn(page, "operator");
  const focused = () => page.evaluate(() => document.activeElement.closest("tr, section")?.innerText ?? "");
  await page.keyboard.press("8");
  await tabTo(page, "the job", () => document.activeElement.matches("#jobs tbody tr"));
  must((await focused()).includes("backup.create"), await focused());
  await page.keyboard.press("Enter");
  await page.locator("dialog").waitFor();
  await comes(page, fixture, () => fixture.begin("backup.verify"));
  must((await page.locator("#jobs tbody tr").first().innerText()).includes("backup.verify"), "it is not drawn");
  await page.keyboard.press("Escape");
  await until("the dialog is gone", async () => (await page.locator("dialog").count()) === 0);
  must((await focused()).includes("backup.create"), `the focus came back to ${await focused()}`);

  await cancelOf(page, "backup.create").focus();
  await page.keyboard.down(" ");
  await comes(page, fixture, () => fixture.jobs.splice(1, 1));
  await page.keyboard.up(" ");
  await until("it is asked to end", () => cancelled(fixture).length > 0, 3000);
  must(String(cancelled(fixture)) === "j-1", `cancelled: ${cancelled(fixture)}`);

  await cancelOf(page, "backup.verify").focus();
  await page.keyboard.press("Enter");
  await until("its button is gone", async () => (await cancelOf(page, "backup.verify").count()) === 0);
  await until("the focus is in its row", async () => (await focused()).includes("backup.verify"), 2000);

  // The list is read again after the deed; where the row is still there, its button has the focus, and else the section.
  await page.getByRole("button", { name: "List backups" }).click();
  const [verify, box] = [page.getByRole("button", { name: "Verify nightly-2" }), page.locator("dialog")];
  for (const isLeft of [true, false]) {
    await verify.focus();
    await page.keyboard.press("Enter");
    const lists = () => fixture.requests.filter((one) => one.url.startsWith("/v1/backups?")).length;
    const before = lists();
    await box.getByRole("button", { name: "Verify", exact: true }).click();
    if (!isLeft) fixture.set({ backups: [] });
    await box.locator(".outcome").waitFor();
    await until("the list is read again", async () => lists() > before && (isLeft || (await verify.count()) === 0));
    await page.keyboard.press("Escape");
    const there = () =>
      page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.id);
    const wanted = isLeft ? "Verify nightly-2" : "backups";
    await until(`the focus is at ${wanted}`, async () => (await there()) === wanted, 2000);
  }
  await close();
}

async function twice(browser, fixture) {
  const { page, close } = await open(browser, fixture.url);
  await signIn(page, "operator");
  const sent = (path) => fixture.requests.filter((one) => one.method === "POST" && one.url === path).length;
  await page.getByRole("button", { name: "Flush now" }).dblclick();
  await page.getByRole("button", { name: "Reload files" }).focus();
  for (let repeats = 0; repeats < 5; repeats += 1) await page.keyboard.down("Enter");
  await page.keyboard.up("Enter");
  await page.locator("#operate .outcome").getByText("read again").first().waitFor();
  must(sent("/v1/line/flush") === 1 && sent("/v1/line/reload") === 1, "it was sent more than once");

  await page.getByRole("button", { name: "Count by what is wrong" }).click();
  await page.getByRole("button", { name: /^Replay clicks/ }).click();
  fixture.set({ holds: true });
  await page.getByRole("button", { name: "Count first" }).click();
  await until("it is asked for", () => fixture.requests.some((one) => one.url.includes("replay?dry_run")));
  await page.getByLabel("Letters at most").fill("3");
  fixture.set({ holds: false });
  const typed = page.getByLabel(/^Type the topic/);
  await comes(page, fixture, () => {});
  must((await typed.count()) === 0 || !(await typed.isVisible()), "what was asked before can be confirmed");
  await page.getByRole("button", { name: "Count first" }).click();
  await typed.fill("clicks ");
  await page.keyboard.press("Enter");
  await page.locator("dialog .outcome").waitFor();
  const body = fixture.requests.find((one) => one.url === "/v1/dead-letters/replay").body;
  must(JSON.parse(body).limit === 3, body);
  await close();
}
