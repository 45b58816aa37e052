// Pictures of a page in headless Chromium: node dev/look.mjs PAGE.html OUT_PREFIX [tab...] [--dark] [--width N]
import { launch } from "./browser.mjs";
import { resolve } from "node:path";

const args = process.argv.slice(2);
const dark = args.includes("--dark");
const at = args.indexOf("--width");
const width = at >= 0 ? Number(args[at + 1]) : 1360;
const [page, prefix, ...tabs] = args.filter((a, k) => !a.startsWith("--") && !(at >= 0 && k === at + 1));
const browser = await launch();
const context = await browser.newContext({ offline: true, viewport: { width, height: 900 }, colorScheme: dark ? "dark" : "light" });
const tab = await context.newPage();
tab.on("console", (m) => ["error", "warning"].includes(m.type()) && console.log("console:", m.text()));
tab.on("pageerror", (e) => console.log("page error:", e.stack));
tab.on("request", (r) => !r.url().startsWith("blob:") && console.log("request:", r.url().slice(0, 90)));
await tab.goto(`file://${resolve(page)}`);
await tab.waitForSelector("[data-ready=true]", { timeout: 20000 }).catch((e) => console.log(e.message));
for (const name of tabs.length ? tabs : [null]) {
  if (name) await tab.getByRole("tab", { name }).click();
  await tab.waitForTimeout(700);
  await tab.screenshot({ path: `${prefix}${name ? `-${name}` : ""}.png`, fullPage: true });
}
await browser.close();
