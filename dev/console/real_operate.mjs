// What changes something, from the page, against real processes; what came of it is asked of ClickHouse.

import { must, open, signIn, until } from "./harness.mjs";

const JOB_MS = 60_000;

export async function operateReal(checks, browser, line) {
  const admin = await line.token("data_admin");
  const as = async (work) => {
    const { page, close } = await open(browser, line.url);
    await signIn(page, admin);
    await work(page);
    await close();
  };
  await until("there are rows", async () => (await line.rows()) > 0, 30_000);
  // First, while rows of the subject were committed a moment ago: later the audit of the line must not miss them.
  await checks.check("a subject is counted and erased; its rows are gone", () => as((page) => erase(page, line)));
  await checks.check("a replay is cancelled while it runs, and what is left is purged", () =>
    as((page) => cancelAndPurge(page, line)),
  );
  await checks.check("a table is optimised: parts before, room, parts after", () => as((page) => optimise(page, line)));
  await checks.check("a TTL is materialised, rules of age are applied", () => as((page) => rules(page, line)));
  await checks.check("migrations are run and taken back, and drift is shown; the version of the one that drops is typed", () =>
    as((page) => migrate(page, line)),
  );
  await checks.check("a topic is paused: nothing is taken in, the row says by whom and why; resumed: it goes on", () =>
    as((page) => pause(page, line)),
  );
  await checks.check("a schedule is run by hand, and its run is listed", () => as((page) => schedule(page)));
  await checks.check("a token is renewed before it ends, and one is taken back by its id", () => tokens(browser, line));
  await checks.check("an auditor reads the end of the trail, and verifies it", () => audit(browser, line));
  await checks.check("backups are made, verified, restored under another name, pruned by their rules, and deleted", () =>
    as((page) => backUp(page, line)),
  );
}

const press = (place, name) => place.getByRole("button", { name, exact: true }).click();
const pressLike = (place, name) => place.getByRole("button", { name }).first().click();

async function confirmed(page, typed) {
  const box = page.locator("dialog");
  await box.getByLabel(/^Type /).fill(typed);
  await page.keyboard.press("Enter");
  return ended(box);
}

/** What the dialog says at the end; what was refused fails here with its words. */
async function ended(box) {
  const end = box.locator(".outcome, .refusal").first();
  await end.waitFor({ timeout: JOB_MS });
  const text = await end.innerText();
  must(text.startsWith("Done."), text);
  return text;
}

async function cancelAndPurge(page, line) {
  const reloads = await line.reloads();
  if (line.writeTable(399))
    await until("the table is read again", async () => (await line.reloads()) > reloads, 20_000);
  const before = await line.refused();
  await line.publish(400, 11);
  await until("some are refused", async () => (await line.refused()) > before + 20, 30_000);
  await press(page, "Count by what is wrong");
  await pressLike(page, /^Replay clicks/);
  await page.getByLabel("Records per second at most").fill("1");
  await press(page, "Count first");
  await page.getByLabel(/^Type the topic/).fill("clicks");
  await page.keyboard.press("Enter");
  await page.getByText(/^Job .* is running/).waitFor();
  await page.keyboard.press("Escape");
  await press(page, "Cancel dead_letter.replay");
  await page.getByText("dead_letter.replay was asked to end").first().waitFor();
  const list = page.locator("#jobs tbody");
  await until("the job is cancelled", async () => (await list.innerText()).includes("cancelled"), 20_000).catch(
    async (error) => {
      throw new Error(`${error.message}: ${await list.innerText()}`);
    },
  );

  await pressLike(page, /^Purge clicks/);
  await press(page, "Count first");
  await confirmed(page, "clicks");
  await page.keyboard.press("Escape");
  await press(page, "Count by what is wrong");
  await page.getByText("No dead letter is there.").waitFor();
  line.writeTable(599);
}

async function optimise(page, line) {
  const parts = async () =>
    (
      await line.query(
        `SELECT count(), uniqExact(partition) FROM system.parts WHERE active AND database = '${line.database}' AND table = 'clicks'`,
      )
    )
      .split("\t")
      .map(Number);
  for (let n = 0; n < 2; n += 1)
    await line.query(
      `INSERT INTO ${line.database}.clicks SETTINGS insert_deduplicate = 0 SELECT * FROM ${line.database}.clicks LIMIT 1`,
    );
  const [before, partitions] = await parts();
  must(before > partitions, `${before} parts in ${partitions} partitions`);
  await pressLike(page, /^Optimise .*clicks/);
  await page.getByLabel(/^Each partition into one part/).check();
  await press(page, "See what it costs");
  await page
    .locator("dialog")
    .getByText(/default: .* free of/)
    .waitFor();
  await press(page.locator("dialog"), "Optimise");
  await ended(page.locator("dialog"));
  const [after] = await parts();
  must(after === partitions, `${after} parts in ${partitions} partitions`);
}

async function pause(page, line) {
  const [box, row] = [page.locator("dialog"), page.locator("#operate tbody tr").filter({ hasText: "clicks" })];
  await press(page, "Flush now");
  await ended(page.locator("#operate"));
  await press(page, "Reload files");
  await ended(page.locator("#operate"));
  await press(page, "Pause clicks");
  await page.getByLabel("Reason").fill("ticket 812");
  await page.keyboard.press("Enter");
  await ended(box);
  await page.keyboard.press("Escape");
  await row.getByText(/by data_admin-of-the-checks until .*: ticket 812/).waitFor();
  const decided = async () => (await line.rows()) + (await line.refused());
  const before = await decided();
  await line.publish(50, 13);
  // The lag grows by what was published, so that it is the pause that holds it back.
  const behind = page.locator('[data-key="lag_s"] .beside');
  await until("the lag is told", async () => (await behind.innerText()) === "50 records", 30_000);
  must((await decided()) === before, "records were taken in");
  await press(page, "Resume clicks");
  await press(box, "Resume");
  await ended(box);
  await page.keyboard.press("Escape");
  await until("records are taken in again", async () => (await decided()) === before + 50, 30_000);
  await until("the row is free", async () => !(await row.innerText()).includes("ticket 812"));
}

async function rules(page, line) {
  const box = page.locator("dialog");
  await pressLike(page, /^Materialise TTL .*clicks/);
  await box.getByText(/MATERIALIZE TTL IN PARTITION/).waitFor();
  await press(box, "Materialise TTL");
  await ended(box);
  await page.keyboard.press("Escape");
  line.writeTable(599, 4100);
  await press(page, "Plan");
  await page.locator("#lifecycle").getByText("differs from its rules").waitFor();
  await press(page, "Apply the rules of clicks");
  await confirmed(page, "clicks");
  await page.locator("#lifecycle").getByText("as its rules say").waitFor();
  const ddl = await line.query(
    `SELECT engine_full FROM system.tables WHERE database = '${line.database}' AND name = 'clicks'`,
  );
  must(ddl.includes(`${4100 * 86_400}`) || ddl.includes("4100"), ddl);
}

async function erase(page, line) {
  const user = await line.query(`SELECT user_id FROM ${line.database}.clicks LIMIT 1`);
  const rows = async () =>
    Number(await line.query(`SELECT countIf(user_id = ${user}) FROM ${line.database}.clicks`));
  const [before, all] = [await rows(), await line.rows()];
  await press(page, "Erase a subject…");
  await page.getByLabel("Column").fill("user_id");
  await page.getByLabel("Value").fill(user);
  await press(page, "Count first");
  await page
    .locator("dialog")
    .getByText(new RegExp(`clicks: ${before} rows? in \\d+ partition`))
    .waitFor();
  await page.getByLabel("Reason").fill("ticket 9");
  await confirmed(page, user);
  must(before > 0 && (await rows()) === 0, `${await rows()} rows are left of ${before}`);
  must((await line.rows()) === all - before, "rows of others are gone");
}

async function migrate(page, line) {
  await press(page, "How they stand");
  const told = page.locator("#migrations .soft").first();
  await told.getByText("2 pending of 2 migrations.").waitFor();
  await pressLike(page, "Migrate up");
  await page.locator("dialog").getByText("danger: drop").waitFor();
  await confirmed(page, "2");
  await told.getByText("0 pending of 2 migrations.").waitFor();
  const columns = await line.query(
    `SELECT groupArray(name) FROM system.columns WHERE database = '${line.database}' AND table = 'notes'`,
  );
  must(columns === "['id']", columns);
  await page.keyboard.press("Escape");
  const drift = page.locator("#migrations");
  await line.query(`ALTER TABLE ${line.database}.notes ADD COLUMN by_hand UInt8`);
  await press(page, "Look for drift");
  await drift
    .locator(".refusal")
    .getByText(/notes: .*by_hand/)
    .waitFor({ timeout: JOB_MS });
  await line.query(`ALTER TABLE ${line.database}.notes DROP COLUMN by_hand`);
  await press(page, "Take back…");
  await page.getByLabel("Stay at version").fill("1");
  await page.keyboard.press("Enter");
  await confirmed(page, "1");
  await told.getByText("1 pending of 2 migrations.").waitFor();
}

/** Makes one by the policy, and gives its id. */
async function backedUp(page, line) {
  await page.getByLabel("Policy").selectOption("all");
  const before = await page.getByRole("button", { name: /^Verify all-/ }).count();
  await press(page, "Back up now");
  await ended(page.locator("#backups"));
  await press(page, "List backups");
  const verify = page.getByRole("button", { name: /^Verify all-/ });
  await until("it is listed", async () => (await verify.count()) === before + 1);
  return (await verify.first().getAttribute("aria-label")).replace("Verify ", "");
}

async function verified(page, id) {
  await press(page, `Verify ${id}`);
  await press(page.locator("dialog"), "Verify");
  await ended(page.locator("dialog"));
  await page.keyboard.press("Escape");
  const row = page.locator("#backups tbody tr").filter({ hasText: id });
  await row.getByText(/^whole at /).waitFor();
}

async function backUp(page, line) {
  const box = page.locator("dialog");
  const id = await backedUp(page, line);
  await verified(page, id);
  await press(page, `Restore ${id}`);
  await page.getByLabel("Under the name").fill("clicks_again");
  await press(page, "Look first");
  await box.getByText(`to ${line.database}_restored.clicks_again`).waitFor();
  await confirmed(page, id);
  const [rows, restored] = [
    await line.rows(),
    Number(await line.query(`SELECT count() FROM ${line.database}_restored.clicks_again`)),
  ];
  must(rows === restored && rows > 0, `${restored} rows of ${rows} came back`);
  await page.keyboard.press("Escape");
  await press(page, "Prune…");
  await box.getByText("the rules keep every backup").waitFor();
  await page.keyboard.press("Escape");
  // The policy keeps one, if that is known to be good.
  const next = await backedUp(page, line);
  await verified(page, next);
  await press(page, "Prune…");
  await box.getByText(`${next}: `).waitFor();
  must(/is deleted/.test(await confirmed(page, "all")), "it does not say what was deleted");
  await page.keyboard.press("Escape");
  const left = page.getByRole("button", { name: /^Verify all-/ });
  await until("one is left", async () => (await left.count()) === 1);
  must((await left.getAttribute("aria-label")) === `Verify ${next}`, await left.getAttribute("aria-label"));
  await press(page, `Delete ${next}`);
  await confirmed(page, next);
  await page.locator("#backups").getByText("There is no backup.").waitFor();
}

async function schedule(page) {
  await press(page, "List schedules");
  await press(page, "Run now files");
  await press(page.locator("dialog"), "Run now");
  await ended(page.locator("dialog"));
  await page.keyboard.press("Escape");
  await press(page, "Last runs of files");
  await page.locator("dialog tbody tr").filter({ hasText: "done" }).waitFor();
}

async function tokens(browser, line) {
  const [security, lost] = [await line.token("security_admin", "--life", "10m"), await line.token("viewer")];
  const { id, asked } = {
    id: JSON.parse(Buffer.from(lost.split(".")[1], "base64url")).jti,
    asked: () => fetch(`${line.url}/v1/self`, { headers: { Authorization: `Bearer ${lost}` } }),
  };
  must((await asked()).status === 200, "the token does not hold");
  const { page, close } = await open(browser, line.url);
  await signIn(page, security);
  await page.getByText(/^Your token ends in/).waitFor();
  await press(page, "Renew the token");
  await page.locator("#toast").getByText("The token was renewed.").waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await pressLike(page, "Take a token back");
  await page.getByLabel("Id of the token").fill(id);
  await page.keyboard.press("Enter");
  await page.getByLabel("Reason").fill("laptop lost");
  await confirmed(page, id);
  must((await asked()).status === 401, "the token still holds");
  await close();
}

async function audit(browser, line) {
  const { page, close } = await open(browser, line.url);
  await signIn(page, await line.token("auditor"));
  await press(page, "Verify the trail");
  must(/lines \d{2,}/.test(await ended(page.locator("#access"))), "no lines");
  await press(page, "Last lines of the trail");
  const row = page.locator("#access tbody tr").filter({ hasText: "audit.verify" }).first();
  must((await row.innerText()).includes("auditor-of-the-checks"), await row.innerText());
  await close();
}
