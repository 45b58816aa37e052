// Drives a saved page in Chromium as a person would, and runs axe in light, dark and forced colours.
//   node dev/check.mjs
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch, open } from "./browser.mjs";
import { demo, kinds, wide } from "./data.mjs";
import { livePage, widgetPage } from "./hosts.mjs";
import { savedPage } from "./make_page.mjs";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "symphony-check-"));
const file = (name, made) => {
  const path = join(folder, name);
  writeFileSync(path, savedPage(made));
  return `file://${path}`;
};
const ROWS = 1797;
const address = file("demo.html", demo(ROWS));
const browser = await launch();
const visible = (page) => page.waitForTimeout(80).then(() => page.locator("[data-visible]").getAttribute("data-visible")).then(Number);
const tab = (page, name) => page.getByRole("tab", { name }).click();
const state = (page) => page.evaluate(async () => {
  await new Promise((done) => setTimeout(done, 500));
  const text = location.hash.slice(3).replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text());
});
const drag = async (page, box, x0, y0, x1, y1) => {
  await page.mouse.move(box.x + x0, box.y + y0);
  await page.mouse.down();
  await page.mouse.move(box.x + (x0 + x1) / 2, box.y + (y0 + y1) / 2, { steps: 4 });
  await page.mouse.move(box.x + x1, box.y + y1, { steps: 4 });
  await page.mouse.up();
};
/** Waits until `test` holds, at most three seconds: this machine may be busy. */
const until = async (test) => {
  for (let k = 0; k < 60 && !(await test()); k++) await new Promise((done) => setTimeout(done, 50));
};
const counts = (page, view) => page.locator(`[data-view="${view}"] .sym-bars`).first().locator(".sym-bar-count").allTextContents();

const checks = {
  async "a saved page makes one request, no complaint, and shows its rows"() {
    const page = await open(browser, address);
    assert.equal(await page.locator(".sym-count > span").first().textContent(), "1,797 of 1,797 rows");
    for (const name of ["Quality", "Model", "Results", "Data"]) {
      await tab(page, name);
      await page.waitForTimeout(200);
    }
    assert.deepEqual(page.requests, [address]);
    assert.deepEqual(page.complaints, []);
    assert.equal(await page.locator("b", { hasText: "bold" }).filter({ hasText: /^bold$/ }).count(), 0);
    await page.context().close();
  },
  async "a brush changes every other chart, not its own, and undo brings all back"() {
    const page = await open(browser, address);
    const svg = page.locator('svg[data-column="score"]');
    const before = await counts(page, "summary-1");
    const own = await svg.locator(".sym-bar-context").getAttribute("d");
    const box = await svg.boundingBox();
    await drag(page, box, box.width * 0.55, 20, box.width * 0.8, 20);
    const n = await visible(page);
    assert.ok(n > 0 && n < ROWS);
    assert.equal(await svg.locator(".sym-bar-context").getAttribute("d"), own);
    const after = await counts(page, "summary-1");
    assert.notDeepEqual(after, before);
    assert.equal(after.reduce((t, c) => t + Number(c.replace(",", "")), 0), n);
    const [op, column, lo, hi] = Object.values((await state(page)).brushes)[0];
    assert.deepEqual([op, column], ["bin", "score"]);
    assert.ok(lo < hi);
    await page.keyboard.press("Control+z");
    assert.equal(await visible(page), ROWS);
    assert.deepEqual(await counts(page, "summary-1"), before);
    await page.keyboard.press("Control+Shift+z");
    assert.equal(await visible(page), n);
    await page.context().close();
  },
  async "the filter box filters, says what is wrong where, and the address keeps the state"() {
    const page = await open(browser, address);
    const box = page.getByRole("textbox", { name: "Filter" });
    await box.fill('label == "two" and scor > 0.5');
    await page.getByRole("alert").waitFor();
    assert.match(await page.getByRole("alert").textContent(), /did you mean "score"/);
    await box.fill("age == \"x\"");
    await page.waitForTimeout(450);
    assert.match(await page.getByRole("alert").textContent(), /cannot be compared/);
    await box.fill('label == "two" and score > 0.5');
    await box.press("Enter");
    const n = await visible(page);
    assert.ok(n > 0 && n < 300);
    await page.waitForTimeout(500);
    const again = await open(browser, await page.evaluate(() => location.href));
    assert.equal(await visible(again), n);
    assert.equal(await again.getByRole("textbox", { name: "Filter" }).inputValue(), 'label == "two" and score > 0.5');
    await again.context().close();
    await page.context().close();
  },
  async "a lasso selects the points inside it, and keep only filters by them"() {
    const page = await open(browser, address);
    const scatter = page.locator('[data-view="scatter-1"] .sym-scatter');
    const box = await scatter.boundingBox();
    await page.mouse.move(box.x + 60, box.y + 30);
    await page.mouse.down();
    for (const [x, y] of [[box.width / 2, 30], [box.width / 2, box.height - 45], [60, box.height - 45], [60, 30]]) await page.mouse.move(box.x + x, box.y + y, { steps: 6 });
    await page.mouse.up();
    const n = Number((await page.locator(".sym-selection b").textContent()).replace(",", ""));
    assert.ok(n > 300 && n < 1500, String(n));
    await page.getByRole("button", { name: "Keep only" }).click();
    assert.equal(await visible(page), n);
    assert.equal(Number(await scatter.locator("canvas").getAttribute("data-drawn")) > 0, true);
    await page.context().close();
  },
  async "keys alone filter, brush, select and group"() {
    const page = await open(browser, address);
    await page.locator('svg[data-column="age"]').focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Shift+ArrowRight");
    await page.keyboard.press("Shift+ArrowRight");
    const n = await visible(page);
    assert.ok(n > 0 && n < ROWS);
    await page.keyboard.press("Escape");
    assert.equal(await visible(page), ROWS);
    await page.locator('[data-view="table-1"] [role=grid]').focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press(" ");
    await page.keyboard.press("Shift+ArrowDown");
    await page.keyboard.press("Shift+ArrowDown");
    assert.equal(await page.locator(".sym-selection b").textContent(), "3");
    await page.locator(".sym-select select").selectOption("split");
    await page.waitForTimeout(200);
    assert.deepEqual(await page.locator('[data-view="instances-1"] .sym-section h4').evaluateAll((all) => all.slice(0, 1).map((e) => e.textContent)), ["train 1,458"]);
    await page.context().close();
  },
  async "annotations of an offline page are in the copy that it saves"() {
    const page = await open(browser, address);
    await tab(page, "Quality");
    const form = page.locator('[data-view="annotate-1"] .sym-annotate');
    await form.focus();
    for (const key of ["1", "2", "3", "1", "2"]) await page.keyboard.press(key);
    assert.match(await page.locator('[data-view="annotate-1"]').textContent(), /5 annotated/);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save page" }).click()]);
    const path = join(folder, "copy.html");
    await download.saveAs(path);
    const copy = await open(browser, `file://${path}`);
    await tab(copy, "Quality");
    assert.match(await copy.locator('[data-view="annotate-1"]').textContent(), /5 annotated/);
    assert.deepEqual(copy.complaints, []);
    const spec = await copy.evaluate(() => JSON.parse(document.getElementById("symphony-spec").textContent));
    assert.deepEqual(spec.annotations, { row: [0, 1, 2, 3, 4], label: ["good", "blurred", "wrong label", "good", "blurred"], note: ["", "", "", "", ""] });
    await copy.context().close();
    await page.context().close();
  },
  async "a slider is a brush on its column"() {
    const page = await open(browser, address);
    await tab(page, "Results");
    await page.locator('[data-view="compare-1"] input[type=range]').focus();
    await page.keyboard.press("ArrowRight");
    assert.equal(await visible(page), Math.floor((ROWS - 1 + 4) / 5));
    assert.deepEqual((await state(page)).brushes["compare-1:slider"], ["==", "strength", 0.25]);
    await page.context().close();
  },
  async "an empty table and a table of nothing but gaps are pages"() {
    for (const rows of [0, 1]) {
      const page = await open(browser, file(`rows-${rows}.html`, demo(rows)));
      for (const name of ["Quality", "Model", "Results", "Data"]) {
        await tab(page, name);
        await page.waitForTimeout(150);
      }
      assert.deepEqual(page.complaints, []);
      await page.context().close();
    }
  },
  async "a live page follows its server and tells it what changes"() {
    const server = await livePage(demo(ROWS));
    const page = await open(browser, server.url);
    assert.equal(await visible(page), ROWS);
    const box = page.getByRole("textbox", { name: "Filter" });
    await box.fill('label == "two"');
    await box.press("Enter");
    await until(() => server.got.length);
    await page.waitForTimeout(500);
    const sent = server.got.filter((g) => g.path === "/state");
    assert.equal(sent.length, 1);
    assert.deepEqual(sent[0].body.state.filter, ["==", "label", "two"]);
    server.say("state", { state: { ...sent[0].body.state, filter: ["==", "label", "one"] }, origin: "python", seq: 1 });
    server.say("state", { state: sent[0].body.state, origin: "python", seq: 0 });
    await page.waitForTimeout(300);
    assert.equal(await box.inputValue(), 'label == "one"');
    assert.equal(server.got.filter((g) => g.path === "/state").length, 1, "what came is not sent back");
    await tab(page, "Quality");
    await page.locator('[data-view="annotate-1"] .sym-annotate').focus();
    await page.keyboard.press("2");
    await page.waitForTimeout(200);
    assert.deepEqual(server.got.find((g) => g.path === "/annotations").body.label, ["blurred"]);
    server.say("annotations", { row: [7], label: ["good"], note: ["from elsewhere"] });
    await page.waitForTimeout(200);
    assert.match(await page.locator('[data-view="annotate-1"]').textContent(), /from elsewhere/);
    await tab(page, "Results");
    await page.waitForTimeout(200);
    assert.match(await page.locator('[data-type="violin"]').textContent(), /rows of 1797/);
    assert.deepEqual(page.complaints, []);
    await server.close();
    await page.waitForTimeout(500);
    assert.match(await page.locator(".sym-notice").first().textContent(), /lost its server/);
    await page.context().close();
  },
  async "a page whose rows stay in Python asks for all it shows in one message a change"() {
    const server = await livePage(demo(ROWS), { remote: true });
    const page = await open(browser, server.url);
    for (const name of ["Quality", "Model", "Results", "Data"]) {
      await tab(page, name);
      await page.waitForTimeout(250);
    }
    assert.deepEqual(page.complaints, []);
    assert.equal(await visible(page), ROWS);
    const before = server.got.length;
    const svg = page.locator('svg[data-column="score"]');
    await svg.focus();
    await page.keyboard.press("End");
    await page.waitForTimeout(400);
    const asked = server.got.slice(before).filter((g) => g.path === "/query");
    assert.ok(asked.length >= 1 && asked.length <= 2, String(asked.length));
    assert.ok(await visible(page) < ROWS);
    await page.context().close();
    await server.close();
  },
  async "a widget gets its blocks in parts, syncs by its trait, and cleans up"() {
    const path = join(folder, "widget.html");
    writeFileSync(path, widgetPage(demo(ROWS)));
    const page = await open(browser, `file://${path}`);
    assert.equal(await visible(page), ROWS);
    assert.equal(await page.locator('[data-view="instances-1"] img').first().evaluate((e) => e.complete && e.naturalWidth), 16);
    await page.evaluate(() => globalThis.model.push({ state: { ...globalThis.model.state().state, filter: ["<", "age", 30] }, origin: "python", seq: 1 }));
    const n = await visible(page);
    assert.ok(n > 0 && n < ROWS);
    assert.equal(await page.evaluate(() => globalThis.model.saves), 0);
    await page.getByRole("button", { name: "Select visible" }).first().click();
    await page.waitForTimeout(200);
    assert.equal(await page.evaluate(() => globalThis.model.saves), 1);
    await page.evaluate(() => globalThis.again());
    await page.waitForTimeout(600);
    assert.equal(await page.locator(".sym-page").count(), 2);
    assert.deepEqual(await page.locator("[data-visible]").evaluateAll((all) => all.map((e) => Number(e.dataset.visible))), [n, n], "a second view starts where the first is");
    await page.evaluate(() => globalThis.stop());
    assert.equal(await page.locator(".sym-page").count(), 0);
    assert.equal(await page.evaluate(() => globalThis.model.listeners()), 0);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  },
  async "sound, text, addresses, log axes and the user's own modules are shown, and nothing of them is run"() {
    const page = await open(browser, file("kinds.html", kinds(480)));
    await page.waitForTimeout(300);
    assert.equal(await page.title(), "Kinds <b>and</b> options");
    assert.ok(await page.locator("audio[src^='blob:']").count());
    assert.deepEqual(await page.locator('[data-view="table-1"] a').evaluateAll((all) => [...new Set(all.map((a) => a.protocol + a.rel))]), ["https:noopener noreferrer nofollow"]);
    assert.equal(await page.locator('[data-view="vega-1"] .sym-custom').textContent(), "480 rows for bar");
    assert.match(await page.locator('[data-view="table-2"]').textContent(), /no column “nowhere”/);
    assert.equal(await page.locator("i", { hasText: "not slanted" }).filter({ hasText: /^not slanted$/ }).count(), 0);
    await page.locator('[data-view="lines-3"] input[type=range]').focus();
    await page.keyboard.press("End");
    assert.equal(await visible(page), 120);
    const plot = await page.locator('[data-view="lines-1"] .sym-scatter').boundingBox();
    await drag(page, plot, plot.width * 0.5, 100, plot.width * 0.8, 100);
    assert.ok(await visible(page) < 120);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  },
  async "what is drawn of a million points is all of them"() {
    const page = await open(browser, file("wide.html", wide(200_000)));
    await page.waitForTimeout(600);
    assert.equal(await page.locator("canvas").first().getAttribute("data-drawn"), "200000");
    await page.context().close();
  },
  async "axe finds nothing serious in light, dark and forced colours"() {
    for (const scheme of [{ colorScheme: "light" }, { colorScheme: "dark" }, { forcedColors: "active" }]) {
      const page = await open(browser, address, { ...scheme, bypassCSP: true });
      for (const name of ["Data", "Quality", "Model", "Results"]) {
        await tab(page, name);
        await page.waitForTimeout(500);
        if (name === "Data") await page.locator(".sym-select select").selectOption("split");
        await page.evaluate(axeSource);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        const bad = violations.filter((v) => v.impact === "serious" || v.impact === "critical");
        const lines = bad.map((v) => `${v.id} (${v.nodes.length}): ${v.nodes[0].html.slice(0, 160)} ${v.nodes[0].failureSummary.slice(0, 200)}`);
        assert.deepEqual(lines, [], `${JSON.stringify(scheme)} ${name}`);
      }
      await page.context().close();
      const other = await open(browser, file("kinds.html", kinds(480)), { ...scheme, bypassCSP: true });
      await other.waitForTimeout(500);
      await other.evaluate(axeSource);
      const { violations } = await other.evaluate(() => globalThis.axe.run());
      assert.deepEqual(violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 200)} ${v.nodes[0].failureSummary.slice(0, 200)}`), [], `${JSON.stringify(scheme)} kinds`);
      await other.context().close();
    }
  },
};

let failed = 0;
const only = process.argv[2];
for (const [name, check] of Object.entries(checks)) {
  if (only && !name.includes(only)) continue;
  try {
    await check();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}\n${error.message}\n${error.stack.split("\n").filter((l) => l.includes("check.mjs")).slice(0, 2).join("\n")}`);
  }
}
await browser.close();
rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
