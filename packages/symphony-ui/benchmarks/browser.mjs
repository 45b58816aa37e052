// Times saved pages in headless Chromium, and a brush step against arquero's:
//   npm ci --prefix js && node benchmarks/browser.mjs [--rows 100000,1000000] [--steps 40] [--json FILE]
// Prints medians, 95th percentiles and ratios, and whether each bar is held; exits 1 where one is not.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { open } from "../js/dev/browser.mjs";
import { wide } from "../js/dev/data.mjs";
import { savedPage } from "../js/dev/make_page.mjs";

const js = fileURLToPath(new URL("../js/", import.meta.url));
const need = createRequire(join(js, "package.json"));
const { chromium } = need("playwright-core");
const { build } = need("esbuild");

const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
const sizes = option("rows", "100000,1000000").split(",").map(Number);
const steps = Number(option("steps", 40));
const flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-frame-rate-limit --disable-gpu-vsync".split(" ");

const at = (share, values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
};
const summary = (values) => ({ median: at(0.5, values), p95: at(0.95, values), n: values.length });
const show = (s) => `${s.median.toFixed(2).padStart(9)} ${s.p95.toFixed(2).padStart(9)}`;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
const folder = mkdtempSync(join(tmpdir(), "symphony-bench-"));
const results = { chromium: browser.version(), cores: availableParallelism(), load: loadavg()[0], node: process.version, pages: {}, race: {} };
console.log(`Chromium ${results.chromium}, ${results.cores} cores, load ${results.load.toFixed(2)}, ${steps} steps; milliseconds: median, 95th percentile`);

/** Inside the page: a drag over the bins of column `a`, each step timed from the event to the next frame. */
async function dragSteps(n) {
  const svg = document.querySelector('svg[data-column="a"]');
  const box = svg.getBoundingClientRect();
  const frame = () => new Promise(requestAnimationFrame);
  const fire = (type, share) => svg.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: 1, isPrimary: true, button: 0, buttons: 1, clientX: box.left + share * box.width, clientY: box.top + box.height / 2 }));
  svg.setPointerCapture = () => {};
  const start = performance.now();
  fire("pointerdown", 0.2);
  fire("pointermove", 0.3);
  const prepare = performance.now() - start;
  await frame();
  await frame();
  const script = [];
  const drawn = [];
  const before = document.querySelector("[data-visible]").dataset.visible;
  for (let k = 0; k < n; k++) {
    await frame();
    const t = performance.now();
    fire("pointermove", 0.32 + 0.6 * ((k * 7) % n) / n);
    script.push(performance.now() - t);
    await frame();
    drawn.push(performance.now() - t);
  }
  const after = document.querySelector("[data-visible]").dataset.visible;
  const t = performance.now();
  fire("pointerup", 0.5);
  await frame();
  await frame();
  return { prepare, script, drawn, moved: before !== after, release: performance.now() - t };
}

/** Inside the page: redraws of the scatter by moving its window. */
async function redraws(n) {
  const scatter = document.querySelector(".sym-scatter");
  const canvas = scatter.querySelector("canvas");
  const frame = () => new Promise(requestAnimationFrame);
  const raster = [];
  const whole = [];
  for (let k = 0; k < n; k++) {
    await frame();
    delete canvas.dataset.ms;
    const t = performance.now();
    scatter.dispatchEvent(new KeyboardEvent("keydown", { key: k % 2 ? "ArrowLeft" : "ArrowRight", bubbles: true }));
    while (canvas.dataset.ms === undefined) await frame();
    await frame();
    whole.push(performance.now() - t);
    raster.push(Number(canvas.dataset.ms));
  }
  return { raster, whole, size: [canvas.width, canvas.height] };
}

for (const rows of sizes) {
  const path = join(folder, `${rows}.html`);
  const made = wide(rows);
  const raw = made.blocks.data.length;
  writeFileSync(path, savedPage(made));
  const starts = [];
  let page;
  for (let k = 0; k < 5; k++) {
    if (page) await page.context().close();
    const t = performance.now();
    page = await open(browser, `file://${path}`);
    starts.push(performance.now() - t);
  }
  await page.waitForTimeout(1500);
  const drag = await page.evaluate(dragSteps, steps);
  if (!drag.moved) throw new Error("the drag moved nothing");
  await page.waitForTimeout(800);
  const scatter = await page.evaluate(redraws, Math.max(20, steps / 2));
  const heap = await page.evaluate(() => performance.memory?.usedJSHeapSize ?? 0);
  await page.context().close();
  const r = { start: summary(starts), prepare: drag.prepare, script: summary(drag.script), step: summary(drag.drawn), release: drag.release, raster: summary(scatter.raster), redraw: summary(scatter.whole), size: scatter.size, heap, raw };
  results.pages[rows] = r;
  console.log(`\n${rows.toLocaleString("en")} rows x 10 columns, ${(raw / 1e6).toFixed(0)} MB`);
  console.log(`  file to interactive        ${show(r.start)}`);
  console.log(`  start of a drag            ${r.prepare.toFixed(2).padStart(9)}`);
  console.log(`  brush step, script         ${show(r.script)}`);
  console.log(`  brush step, drawn          ${show(r.step)}`);
  console.log(`  release                    ${r.release.toFixed(2).padStart(9)}`);
  console.log(`  scatter raster ${scatter.size.join("x").padEnd(11)} ${show(r.raster)}`);
  console.log(`  scatter redraw, drawn      ${show(r.redraw)}`);
}

const bundled = await build({ entryPoints: [fileURLToPath(new URL("race.ts", import.meta.url))], bundle: true, write: false, format: "iife", nodePaths: [join(js, "node_modules")], logLevel: "error", define: { "process.env.NODE_ENV": '"production"', global: "globalThis" }, alias: { "node:zlib": join(js, "dev/no-zlib.mjs") } });
const arena = await (await browser.newContext()).newPage();
await arena.goto("about:blank");
await arena.addScriptTag({ content: bundled.outputFiles[0].text });
for (const rows of sizes) {
  const timed = await arena.evaluate(([n, s, p]) => globalThis.race(n, s, p), [rows, steps, rows > 500_000 ? 20 : 24]);
  const r = { ours: summary(timed.ours), arquero: summary(timed.arquero) };
  r.ratio = r.arquero.median / r.ours.median;
  results.race[rows] = r;
  console.log(`\nbrush step over ten columns, ${rows.toLocaleString("en")} rows, counts only (equal)`);
  console.log(`  ours                       ${r.ours.median.toFixed(4).padStart(9)} ${r.ours.p95.toFixed(4).padStart(9)}`);
  console.log(`  arquero ${need("arquero/package.json").version.padEnd(19)}${show(r.arquero)}`);
  console.log(`  ratio                      ${r.ratio.toFixed(0).padStart(9)}`);
}
await browser.close();
rmSync(folder, { recursive: true });

const bars = [];
const bar = (what, value, limit, more = false) => bars.push({ what, value, [more ? "at_least" : "at_most"]: limit });
const held = (b) => b.value >= (b.at_least ?? -Infinity) && b.value <= (b.at_most ?? Infinity);
for (const rows of sizes) {
  const r = results.pages[rows];
  bar(`saved page, ${rows} rows: ms until interactive`, r.start.median, rows >= 1e6 ? 3000 : 1000);
  bar(`saved page, ${rows} rows: ms of a brush step, p95`, r.step.p95, 16);
  bar(`saved page, ${rows} rows: ms of a scatter's redraw`, r.redraw.median, 60);
}
if (sizes.length > 1) {
  const [small, large] = [sizes[0], sizes[sizes.length - 1]];
  bar("time of a brush step, 1,000,000 rows / 100,000", results.pages[large].step.median / results.pages[small].step.median, 1.5);
  bar("time of a brush step of arquero / ours, 1,000,000 rows", results.race[large].ratio, 50, true);
}
results.bars = bars;
console.log("");
for (const b of bars) console.log(`${held(b) ? "held  " : "MISSED"} ${b.what}: ${b.value.toFixed(2)} (bar ${b.at_least ?? b.at_most})`);
const file = option("json", null);
if (file) writeFileSync(file, JSON.stringify(results, null, 1));
process.exit(bars.every(held) ? 0 : 1);
