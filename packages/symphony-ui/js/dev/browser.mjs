// Chromium for the dev scripts.
import { chromium } from "playwright-core";

const FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split(" ");

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });

/** Opens a page and keeps what it complains about in `complaints` and what it asks for in `requests`. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ offline: url.startsWith("file:"), viewport: { width: 1360, height: 900 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.requests = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && page.complaints.push(m.text()));
  page.on("pageerror", (e) => page.complaints.push(e.stack));
  page.on("request", (r) => !r.url().startsWith("blob:") && page.requests.push(r.url()));
  await page.goto(url);
  await page.waitForSelector("[data-ready=true]", { timeout: 60_000 });
  return page;
}
