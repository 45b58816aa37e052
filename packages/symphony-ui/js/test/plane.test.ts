import assert from "node:assert/strict";
import { test } from "node:test";
import { insideRows, makeGrid, nearestRow, type Point } from "../src/core/lasso.ts";
import { draw, MARKS, type RGB, type Scene } from "../src/core/raster.ts";
import { random } from "./helpers.ts";

const next = random(9);
const points = (n: number) => [Float32Array.from({ length: n }, () => next() * 4 - 2), Float32Array.from({ length: n }, () => next() * 4 - 2)];

test("a lasso around everything keeps every finite point, an empty one none", () => {
  const [x, y] = points(500);
  x[3] = NaN;
  y[5] = Infinity;
  const all = insideRows(x, y, [[-9, -9], [9, -9], [9, 9], [-9, 9]]);
  all.forEach((keep, row) => assert.equal(keep, row === 3 || row === 5 ? 0 : 1));
  assert.equal(insideRows(x, y, []).reduce((a, b) => a + b, 0), 0);
  assert.equal(insideRows(x, y, [[0, 0], [1, 1]]).reduce((a, b) => a + b, 0), 0);
});

test("a lasso keeps what lies left of an odd number of sides", () => {
  const [x, y] = points(2000);
  const star: Point[] = Array.from({ length: 5 }, (_, k) => [1.8 * Math.cos((k * 4 * Math.PI) / 5), 1.8 * Math.sin((k * 4 * Math.PI) / 5)]);
  const mask = insideRows(x, y, star);
  for (let i = 0; i < x.length; i++) {
    let crossings = 0;
    for (let k = 0; k < 5; k++) {
      const [[ax, ay], [bx, by]] = [star[k], star[(k + 1) % 5]];
      if (ay > y[i] !== by > y[i] && x[i] < ax + ((y[i] - ay) / (by - ay)) * (bx - ax)) crossings++;
    }
    assert.equal(mask[i], crossings % 2);
  }
});

test("the nearest row is the nearest of all", () => {
  const [x, y] = points(3000);
  const grid = makeGrid(x, y, [[-2, -2], [2, 2]]);
  for (let k = 0; k < 200; k++) {
    const [a, b] = [next() * 4 - 2, next() * 4 - 2];
    let want = -1;
    let least = 0.1;
    for (let i = 0; i < x.length; i++) {
      if (i % 3 === 0) continue;
      const d = Math.hypot(x[i] - a, y[i] - b);
      if (d <= least) [want, least] = [i, d];
    }
    assert.equal(nearestRow(grid, x, y, a, b, 0.1, 0.1, (row) => row % 3 !== 0), want);
  }
});

test("a grid of points in one place finds one of them", () => {
  const x = new Float64Array(5).fill(7);
  const grid = makeGrid(x, x, [[7, 7], [7, 7]]);
  assert.notEqual(nearestRow(grid, x, x, 7, 7, 1, 1, () => true), -1);
});

const white: RGB = [255, 255, 255];
function scene(n: number, hide: (row: number) => boolean): Scene {
  const [x, y] = points(n);
  const hidden = Uint8Array.from({ length: n }, (_, row) => (hide(row) ? 1 : 0));
  return { x, y, hidden, pale: null, shade: { type: "codes", codes: new Uint8Array(n), colors: [[0, 0, 200]] }, background: white, ghost: [200, 200, 200], ratio: 1 };
}
const painted = (pixels: Uint8ClampedArray) => {
  let n = 0;
  for (let at = 0; at < pixels.length; at += 4) if (pixels[at] !== 255 || pixels[at + 1] !== 255 || pixels[at + 2] !== 255) n++;
  return n;
};

for (const [name, n] of [["marks", 900], ["densities", MARKS + 5000]] as const) {
  test(`${name}: what is drawn is the visible points inside the window`, () => {
    const s = scene(n, (row) => row % 4 === 0);
    (s.x as Float32Array)[1] = NaN;
    const view = { x: [-1, 1.5] as [number, number], y: [-1.5, 1] as [number, number], width: 120, height: 80 };
    const pixels = new Uint8ClampedArray(4 * 120 * 80);
    const { drawn } = draw(pixels, view, s);
    let want = 0;
    for (let i = 0; i < n; i++) if (i % 4 && s.x[i] >= -1 && s.x[i] <= 1.5 && s.y[i] >= -1.5 && s.y[i] <= 1) want++;
    assert.equal(drawn, want);
    assert.ok(painted(pixels) > 0);
  });
}

test("nothing visible paints nothing", () => {
  const pixels = new Uint8ClampedArray(4 * 50 * 50);
  assert.equal(draw(pixels, { x: [-2, 2], y: [-2, 2], width: 50, height: 50 }, scene(300, () => true)).drawn, 0);
  assert.equal(painted(pixels), 0);
});

test("a point lands on its pixel, with y upwards", () => {
  const n = MARKS + 1;
  const x = new Float64Array(n).fill(0.25);
  const y = new Float64Array(n).fill(0.75);
  const pixels = new Uint8ClampedArray(4 * 100 * 100);
  draw(pixels, { x: [0, 1], y: [0, 1], width: 100, height: 100 }, { ...scene(n, () => false), x, y });
  const at = 4 * (25 * 100 + 25);
  assert.ok(pixels[at] < 255);
  assert.equal(pixels[at + 2], 200);
  draw(pixels, { x: [0, 1], y: [0, 1], width: 100, height: 100 }, { ...scene(1, () => false), x: [0.25], y: [0.75] });
  assert.ok(pixels[at] < 60 && pixels[4 * (75 * 100 + 25)] === 255, "a mark too");
});
