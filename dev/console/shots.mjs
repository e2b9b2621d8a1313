// The pictures of docs/console.md and the README, of made-up states.

import { execFileSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { level, must, open, signIn, until } from "./harness.mjs";

const FOLDER = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../docs/console");
const BYTES_MAX = 150_000;

const PICTURES = [
  { name: "healthy", state: "healthy", theme: "dark", width: 1280, height: 960 },
  { name: "paused", state: "paused", theme: "light", width: 1280, height: 700 },
  { name: "attention", state: "attention", theme: "light", width: 768, height: 760 },
  { name: "narrow", state: "failing", theme: "dark", width: 360, height: 780 },
  { name: "replay", state: "attention", theme: "light", width: 900, height: 860, act: replay },
  { name: "migrate", state: "healthy", theme: "dark", width: 900, height: 720, act: migrate },
];

async function replay(page) {
  await page.getByRole("button", { name: "Count by what is wrong" }).click();
  await page.getByRole("button", { name: /^Replay clicks/ }).click();
  await page.getByRole("button", { name: "Count first" }).click();
  await page.getByLabel(/^Type the topic/).fill("clicks");
}

async function migrate(page) {
  await page.getByRole("button", { name: "How they stand" }).click();
  await page.getByRole("button", { name: "Migrate up" }).click();
  await page.getByLabel(/^Type the version/).fill("9");
}

export async function shots(browser, fixture) {
  mkdirSync(FOLDER, { recursive: true });
  for (const { name, state, act, ...view } of PICTURES) {
    fixture.set({ state });
    const { page, close } = await open(browser, fixture.url, view);
    await signIn(page, act === migrate ? "admin" : "operator");
    await until(state, async () => (await level(page)) === state);
    await act?.(page);
    const file = path.join(FOLDER, `${name}.png`);
    await page.screenshot({ path: file, animations: "disabled" });
    execFileSync(
      "pngquant",
      ["--force", "--skip-if-larger", "--output", file, "--quality", "70-95", "--strip", "128", "--", file],
      { stdio: "inherit" },
    );
    const { size } = statSync(file);
    must(size < BYTES_MAX, `${name} has ${size} bytes`);
    console.log(`${name}.png ${(size / 1000).toFixed(0)} kB`);
    await close();
  }
}
