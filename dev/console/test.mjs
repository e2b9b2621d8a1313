// The checks of the console's page: `dev/test-console [--update] [--only WORDS] [--fixture]`.

import { start } from "./fixture.mjs";
import { Checks, launch } from "./harness.mjs";
import { operate } from "./operate.mjs";
import { presses } from "./presses.mjs";
import { pure } from "./pure.mjs";
import { shots } from "./shots.mjs";
import { states } from "./states.mjs";

const option = (name) => process.argv.includes(`--${name}`);
const only = process.argv[process.argv.indexOf("--only") + 1];

const checks = new Checks(option("only") ? only : null);
const browser = await launch();
const fixture = await start();
try {
  if (option("update")) {
    await shots(browser, fixture);
  } else {
    await pure(checks);
    if (!option("fixture")) {
      const { real } = await import("./real.mjs");
      await real(checks, browser);
    }
    await states(checks, browser, fixture);
    await presses(checks, browser, fixture);
    await operate(checks, browser, fixture);
  }
} finally {
  await browser.close();
  await fixture.stop();
}
if (!option("update") && !checks.close()) process.exitCode = 1;
