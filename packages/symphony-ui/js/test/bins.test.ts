import assert from "node:assert/strict";
import { test } from "node:test";
import { binCodes, binCount, binTree, edge, extent, niceBins, treeBins } from "../src/core/bins.ts";
import { evaluate } from "../src/core/filter.ts";
import type { Bins, Linear } from "../src/core/types.ts";
import { column, random, source, vectors } from "./helpers.ts";

const { linear, levels } = vectors("binning");

function counts(values: any[], bins: Bins, kind = "number") {
  const out = Array(binCount(bins) + 2).fill(0);
  for (const code of binCodes(column({ name: "x", kind, values }), bins)) out[code]++;
  return out;
}

test("linear bins count as the vectors say", () => {
  for (const { values, bins, counts: want } of linear) assert.deepEqual(counts(values, bins), want);
});

test("levels count as the vectors say", () => {
  for (const { values, levels: names, counts: want } of levels) {
    const kind = typeof values[0] === "number" ? "number" : "category";
    assert.deepEqual(counts(values, { type: "levels", levels: names }, kind), want);
  }
});

test("a brush along edges keeps whole bins", () => {
  const next = random(3);
  for (let round = 0; round < 40; round++) {
    const values = Array.from({ length: 300 }, () => (next() < 0.1 ? null : Math.round(next() * 100) / 10 ** Math.floor(next() * 3)));
    const col = column({ name: "x", kind: "number", values, dtype: round % 2 ? "float32" : "float64" });
    const bins = niceBins(extent(col.values!)!, false, 5 + Math.floor(next() * 40));
    const codes = binCodes(col, bins);
    const i = Math.floor(next() * bins.n);
    const j = i + 1 + Math.floor(next() * (bins.n - i));
    const tree = binTree("x", bins, i, j);
    const mask = evaluate(tree, source([col]));
    codes.forEach((code, row) => assert.equal(mask[row] === 1, code >= i && code < j));
    assert.deepEqual(treeBins(tree, "x", bins), [i, j]);
  }
});

test("nice bins hold the extent, also of constants, huge ranges, denormals and small integers", () => {
  const cases: [[number, number], boolean][] = [
    [[0, 1], false], [[-3.3, 17.2], false], [[5, 5], false], [[0, 0], true], [[-1.7e308, 1.7e308], false],
    [[0, 1.5e-323], false], [[1e9, 1e9 + 1e-6], false], [[0, 9], true], [[0, 1e6], true], [[-1e-9, 3e-9], false],
  ];
  for (const [span, integer] of cases) {
    const bins: Linear = niceBins(span, integer, 20);
    assert.ok(bins.lo <= span[0] && bins.hi >= span[1] && bins.n >= 1 && bins.n <= 80, JSON.stringify([span, bins]));
    const col = column({ name: "x", kind: "number", values: span });
    for (const code of binCodes(col, bins)) assert.ok(code < bins.n, JSON.stringify([span, bins]));
    for (let k = 0; k < bins.n; k++) assert.ok(edge(bins, k) <= edge(bins, k + 1));
  }
});

test("integers in a small range have a bin each", () => {
  assert.deepEqual(niceBins([0, 9], true, 20), { type: "linear", lo: -0.5, hi: 9.5, n: 10 });
});
