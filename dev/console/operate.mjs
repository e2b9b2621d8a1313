// What changes something, against made-up answers: each dialog shows what it would do, asks for what it must, sends it
// once, and says what came of it; by keyboard, at 360 pixels, in the eyes of axe.

import { accessible, must, open, overflow, signIn, tabTo, until, widest } from "./harness.mjs";

export async function operate(checks, browser, fixture) {
  await line(checks, browser, fixture);
  await refusals(checks, browser, fixture);
  await broken(checks, browser, fixture);
  await dialogs(checks, browser, fixture);
  await others(checks, browser, fixture);
}

const sent = (fixture, path) =>
  fixture.requests.filter((one) => one.method === "POST" && one.url.split("?")[0] === path);
const real = (fixture, path) => sent(fixture, path).filter((one) => !one.url.includes("dry_run"));

async function line(checks, browser, fixture) {
  await checks.check(
    "a topic is paused for a reason and a time, by keyboard alone; the row says until when; resumed",
    async () => {
      const { page, close } = await open(browser, fixture.url);
      await signIn(page, "operator");
      await page.keyboard.press("o");
      await tabTo(page, "the topics", () => document.activeElement.matches("#operate tbody tr"));
      await page.keyboard.press("ArrowDown");
      await tabTo(page, "Pause events", () => document.activeElement.getAttribute("aria-label") === "Pause events");
      await page.keyboard.press("Enter");
      await until("the reason is asked for", () =>
        page.evaluate(() => document.activeElement.matches("dialog input:required")),
      );
      await page.keyboard.press("Enter");
      must(sent(fixture, "/v1/line/pause").length === 0, "it was sent without a reason");
      await accessible(page, "the pause dialog", "dialog");
      await page.keyboard.type("a bad deploy");
      await page.keyboard.press("Enter");
      await page.locator("dialog .outcome").waitFor();
      must(
        real(fixture, "/v1/line/pause")[0].body === '{"topic":"events","for_s":900,"reason":"a bad deploy"}',
        real(fixture, "/v1/line/pause")[0].body,
      );
      await page.keyboard.press("Escape");
      const row = page.locator("#operate tbody tr").filter({ hasText: "events" });
      await row.getByText(/by operator until .*: a bad deploy/).waitFor();
      await page.getByRole("button", { name: "Resume events" }).click();
      await page.locator("dialog").getByRole("button", { name: "Resume" }).click();
      await page.locator("dialog .outcome").getByText("10.0.0.3:9464").waitFor();
      await page.keyboard.press("Escape");
      await until("the row is free", async () => !(await row.innerText()).includes("a bad deploy"));
      await close();
    },
  );
  await checks.check("flush, reload and a probe of a shut gate; an open one says why not", async () => {
    fixture.set({ state: "paused" });
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    for (const [name, said] of [
      ["Flush now", "2 batches sealed"],
      ["Reload files", "read again"],
    ]) {
      await page.getByRole("button", { name }).click();
      await page.locator("#operate .outcome").getByText(said).first().waitFor();
    }
    await page.getByRole("button", { name: "Probe now 10.0.3.7:8123" }).click();
    await page.getByLabel("Reason").fill("it was started again");
    await page.keyboard.press("Enter");
    await page.locator("dialog .outcome").waitFor();
    must(real(fixture, "/v1/line/probe").length === 1, "not once");
    await page.keyboard.press("Escape");
    fixture.set({ state: "healthy" });
    await until("it says why not", async () =>
      (await page.getByRole("button", { name: "Probe now 10.0.3.7:8123" }).getAttribute("title"))?.includes("open"),
    );
    await close();
  });
}

async function refusals(checks, browser, fixture) {
  await checks.check("who acts is told; without a key, or without the right, buttons of the line say why", async () => {
    fixture.set({ control: false });
    const { page, close } = await open(browser, fixture.url);
    await signIn(page, "operator");
    await page.getByText("You act as ann, operator").waitFor();
    const pause = page.getByRole("button", { name: "Pause events" });
    must((await pause.getAttribute("title")).includes("no key"), await pause.getAttribute("title"));
    await pause.focus();
    await page.keyboard.press("Enter");
    must((await page.locator("dialog").count()) === 0, "a dialog opened");
    await accessible(page, "no control");
    fixture.set({ control: true });
    await until("it can be pressed", async () => (await pause.getAttribute("aria-disabled")) === null);
    const rights = {
      "Optimise d.orders": null,
      "Materialise TTL d.orders": "lifecycle",
      "Migrate up": "migrate_up",
      "Erase a subject": "erase",
      "Take a token back": "token_revoke",
      "Verify the trail": "audit_read",
    };
    for (const [name, right] of Object.entries(rights)) {
      const title = await page.getByRole("button", { name }).first().getAttribute("title");
      must(right ? title?.includes(`permission ${right};`) : title === null, `${name}: ${title}`);
    }
    must(!fixture.requests.some((one) => one.method === "POST"), "something was sent");
    await close();
  });
}

async function broken(checks, browser, fixture) {
  await checks.check(
    "a connection breaks while something is sent: it is sent again by pressing again, under the same key",
    async () => {
      const { page, close } = await open(browser, fixture.url);
      await signIn(page, "operator");
      await page.getByRole("button", { name: "Pause events" }).click();
      await page.getByLabel("Reason").fill("a bad deploy");
      fixture.set({ isDown: true });
      await page.keyboard.press("Enter");
      await page.locator("dialog .refusal").getByText("cannot be reached").waitFor();
      fixture.set({ isDown: false });
      await page.locator("dialog").getByRole("button", { name: "Pause", exact: true }).click();
      await page.locator("dialog .outcome").waitFor();
      const all = real(fixture, "/v1/line/pause").map((one) => one.key);
      // A browser may have sent it once more by itself.
      must(all.length >= 2 && all[0] && all.every((key) => key === all[0]), all.join());
      await close();
    },
  );
}

/** Every dialog that looks first: how it is opened, what it must show, what is typed, what is sent. */
const DEEDS = [
  {
    name: "optimise",
    press: ["Optimise d.events"],
    fill: async (page) => page.getByRole("button", { name: "See what it costs" }).click(),
    shows: ["640 parts", "58.0 GiB", "default: 312 GiB free"],
    path: "/v1/tables/events/optimize",
    body: '{"final":false}',
    verb: "Optimise",
  },
  {
    name: "materialise TTL",
    press: ["Materialise TTL d.events"],
    shows: ["3.00 GiB", "IN PARTITION ID '202611'"],
    path: "/v1/lifecycle/materialize",
    body: '{"table":"events"}',
    verb: "Materialise TTL",
  },
  {
    name: "lifecycle apply",
    press: ["Plan", "Apply the rules of events"],
    shows: ["3f1c9a7be2d04581", "1 partition", "MODIFY TTL"],
    types: "events",
    path: "/v1/lifecycle/apply",
    body: '{"tables":["events"],"plan":"3f1c9a7be2d04581"}',
    verb: "Apply",
  },
  {
    name: "erasure",
    press: ["Erase a subject"],
    fill: async (page) => {
      await page.getByLabel("Column").fill("user_id");
      await page.getByLabel("Value").fill("u-17");
      await page.keyboard.press("Enter");
    },
    shows: ["17 rows in 2 partitions"],
    reason: "ticket 9",
    types: "u-17",
    path: "/v1/erasures",
    body: '{"column":"user_id","value":"u-17","lightweight":false,"reason":"ticket 9"}',
    verb: "Erase",
  },
  {
    name: "migrate up",
    press: ["How they stand", "Migrate up"],
    shows: ["V8__add_note.sql", "danger: drop", "DROP COLUMN old"],
    types: "9",
    path: "/v1/migrations/up",
    body: '{"plan":"3f1c9a7be2d04581","allow":["drop"]}',
    verb: "Migrate up",
  },
  {
    name: "migrate down",
    press: ["Take back…"],
    fill: async (page) => {
      await page.getByLabel("Stay at version").fill("7");
      await page.keyboard.press("Enter");
    },
    shows: ["danger: drop"],
    types: "9",
    path: "/v1/migrations/down",
    body: '{"to":"7","plan":"3f1c9a7be2d04581","allow":["drop"]}',
    verb: "Take back",
  },
  {
    name: "restore",
    press: ["List backups", "Restore nightly-2"],
    fill: async (page) => page.getByRole("button", { name: "Look first" }).click(),
    shows: ["nightly-2 ← nightly-1", "d.events to d_restored.events"],
    types: "nightly-2",
    path: "/v1/backups/nightly-2/restore",
    body: '{"database":"d_restored","tables":[]}',
    verb: "Restore",
  },
  {
    name: "delete a backup",
    press: ["List backups", "Delete nightly-2"],
    shows: ["Nothing needs it"],
    types: "nightly-2",
    path: "/v1/backups/nightly-2/delete",
    body: "",
    verb: "Delete",
  },
  {
    name: "prune",
    press: ["Prune…"],
    shows: ["nightly-1", "nightly-2: last 7"],
    types: "nightly",
    path: "/v1/backups/prune",
    body: '{"policy":"nightly","plan":"3f1c9a7be2d04581"}',
    verb: "Prune",
  },
];

async function dialogs(checks, browser, fixture) {
  await checks.check(
    "each dialog shows what it would do, wants what must be typed, and sends what was looked at, once",
    async () => {
      const { page, close } = await open(browser, fixture.url, { width: 360, height: 740, theme: "dark" });
      await signIn(page, "admin");
      for (const one of DEEDS) await tryOne(page, fixture, one);
      await close();
    },
  );
}

async function tryOne(page, fixture, { name, press, fill, shows, reason, types, path, body, verb }) {
  for (const button of press) await page.getByRole("button", { name: button }).first().click();
  await fill?.(page);
  const box = page.locator("dialog");
  for (const words of shows) await box.getByText(words).first().waitFor();
  const go = box.getByRole("button", { name: verb, exact: true });
  await go.waitFor();
  await accessible(page, name, "dialog");
  must((await overflow(page)) <= 0, `${name} is too wide: ${await widest(page)}`);
  must(real(fixture, path).length === 0, `${name} was sent before it was confirmed`);
  must(sent(fixture, path).length === 1, `${name} was not tried first`);
  if (reason) await box.getByLabel("Reason").fill(reason);
  if (types) {
    must((await go.getAttribute("aria-disabled")) === "true", `${name} does not want anything typed`);
    await box.getByLabel(/^Type /).fill(`${types}x`);
    await page.keyboard.press("Enter");
    must(real(fixture, path).length === 0, `${name} was sent though something else was typed`);
    await box.getByLabel(/^Type /).fill(types);
    await page.keyboard.press("Enter");
  } else {
    await go.click();
  }
  await box.locator(".outcome").getByText("Done.", { exact: true }).waitFor();
  const all = real(fixture, path);
  must(all.length === 1 && all[0].key?.length === 32, `${name}: sent ${all.length} times, or without a key`);
  must(all[0].body === body, `${name} sent ${all[0].body}`);
  await page.keyboard.press("Escape");
}

async function others(checks, browser, fixture) {
  await checks.check(
    "a backup that others add to is not deleted, and which is said; verifying and drift tell their result",
    async () => {
      const { page, close } = await open(browser, fixture.url);
      await signIn(page, "admin");
      await page.getByRole("button", { name: "List backups" }).click();
      await page.getByText("full; 1 other adds to it").waitFor();
      await page.getByRole("button", { name: "Delete nightly-1" }).click();
      await page.locator("dialog .refusal").getByText("nightly-2 adds to it").waitFor();
      must(
        await page.locator("dialog").getByRole("button", { name: "Delete", exact: true }).isHidden(),
        "it can be sent",
      );
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Verify nightly-2" }).click();
      await page.locator("dialog").getByRole("button", { name: "Verify", exact: true }).click();
      await page.locator("dialog .outcome").waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Look for drift" }).click();
      await page.locator("#migrations .refusal").getByText("events: column note is not there").waitFor();
      await close();
    },
  );
  await checks.check(
    "a schedule is run now and its runs are listed; a token is taken back by its id; the trail is verified",
    async () => {
      const { page, close } = await open(browser, fixture.url);
      await signIn(page, "operator");
      await page.getByRole("button", { name: "List schedules" }).click();
      await page.getByRole("button", { name: "Last runs of rules" }).click();
      await page.locator("dialog").getByText("a rule cannot be carried out").waitFor();
      await accessible(page, "runs", "dialog");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Run now rules" }).click();
      await page.locator("dialog").getByRole("button", { name: "Run now", exact: true }).click();
      await page.locator("dialog .outcome").waitFor();
      must(real(fixture, "/v1/schedules/rules/run")[0].body === "", "a body was sent");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Sign out" }).click();
      await signIn(page, "security");
      await page.getByRole("button", { name: "Take a token back" }).click();
      await page.getByLabel("Id of the token").fill("5f0c");
      await page.keyboard.press("Enter");
      await page.getByLabel("Reason").fill("laptop lost");
      await page.getByLabel(/^Type the id 5f0c/).fill("5f0c");
      await page.keyboard.press("Enter");
      await page.locator("dialog .outcome").waitFor();
      must(real(fixture, "/v1/tokens/revoke")[0].body === '{"id":"5f0c","reason":"laptop lost"}', "another body");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Sign out" }).click();
      await signIn(page, "auditor");
      await page.getByRole("button", { name: "Verify the trail" }).click();
      await page
        .locator("#access .outcome")
        .getByText(/lines 4711/)
        .waitFor();
      await page.getByRole("button", { name: "Last lines of the trail" }).click();
      await page.locator("#access tbody").getByText("refused").waitFor();
      await accessible(page, "auditor");
      await close();
    },
  );
}
