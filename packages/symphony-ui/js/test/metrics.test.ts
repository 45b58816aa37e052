import assert from "node:assert/strict";
import { test } from "node:test";
import { accuracy, cells, collapse, groupMetric, outline, perClass, wilson } from "../src/core/metrics.ts";
import { makeSeries } from "../src/core/series.ts";
import { random } from "./helpers.ts";

const pairs = [
  { label: "a", prediction: "a", count: 8 }, { label: "a", prediction: "b", count: 2 },
  { label: "b", prediction: "b", count: 5 }, { label: "b", prediction: "c", count: 5 },
];

test("metrics are those of the definition, with 0 where they are undefined", () => {
  const c = cells(pairs);
  assert.deepEqual(c.classes, ["a", "b", "c"]);
  const [a, b, never] = perClass(c);
  assert.deepEqual([a.precision, a.recall, a.support, a.predicted], [1, 0.8, 10, 8]);
  assert.ok(Math.abs(a.f1 - (2 * 0.8) / 1.8) < 1e-12);
  assert.deepEqual([b.precision, b.recall], [5 / 7, 0.5]);
  assert.deepEqual([never.precision, never.recall, never.f1, never.support], [0, 0, 0, 0]);
  assert.deepEqual(accuracy(c), { hits: 13, n: 20 });
});

test("Wilson's interval is the textbook's", () => {
  const { value, lo, hi } = wilson(8, 10);
  assert.equal(value, 0.8);
  assert.ok(Math.abs(lo - 0.4901624715) < 1e-9 && Math.abs(hi - 0.9433178485) < 1e-9);
  assert.deepEqual(wilson(0, 0), { value: 0, lo: 0, hi: 1, n: 0 });
});

test("a metric of a group has an interval about it, the same each time", () => {
  const c = cells(pairs);
  for (const metric of ["accuracy", "precision", "recall", "f1", "rate"] as const) {
    for (const positive of [null, "a"]) {
      const r = groupMetric(c, metric, positive);
      assert.ok(r.lo <= r.value && r.value <= r.hi, `${metric} ${positive}`);
      assert.deepEqual(groupMetric(c, metric, positive), r);
    }
  }
  assert.equal(groupMetric(c, "precision", "a").value, 1);
  assert.equal(groupMetric(c, "recall", "a").value, 0.8);
  assert.equal(groupMetric(c, "rate", "a").value, 8 / 20);
});

test("folding classes keeps the total and never lowers the accuracy", () => {
  const next = random(4);
  const classes = ["a:x", "a:y:1", "a:y:2", "b:x", "b", "c"];
  const c = cells(classes.flatMap((label) => classes.map((prediction) => ({ label, prediction, count: Math.floor(next() * 9) }))), classes);
  const total = accuracy(c).n;
  const rate = (open: string[]) => {
    const nodes = outline(classes, ":", new Set(open));
    const counts = collapse(c, nodes);
    assert.equal(counts.flatMap((row) => [...row]).reduce((x, y) => x + y), total);
    assert.equal(nodes.flatMap((n) => n.leaves).length, classes.length);
    return counts.reduce((t, row, k) => t + row[k], 0) / total;
  };
  const steps = [rate(["a", "a:y", "b"]), rate(["a", "b"]), rate(["b"]), rate([])];
  steps.slice(1).forEach((r, k) => assert.ok(r >= steps[k]));
  assert.equal(steps[0], accuracy(c).hits / total);
});

test("an opened path shows the classes below it", () => {
  const names = (open: string[]) => outline(["a:x", "a:y:1", "a:y:2", "b"], ":", new Set(open)).map((n) => n.path);
  assert.deepEqual(names([]), ["a", "b"]);
  assert.deepEqual(names(["a"]), ["a:x", "a:y", "b"]);
  assert.deepEqual(names(["a", "a:y"]), ["a:x", "a:y:1", "a:y:2", "b"]);
});

test("rows that share x are their mean and a band", () => {
  const row = (series: string, x: number, y: number, lo: number | null = null, hi: number | null = null) => ({ series, x, y, lo, hi });
  const rows = [row("s", 2, 5), row("s", 1, 1), row("s", 1, 3), row("t", 1, 7)];
  const [s, t] = makeSeries(rows, "minmax");
  assert.deepEqual(s.spots, [{ x: 1, y: 2, lo: 1, hi: 3, n: 2 }, { x: 2, y: 5, lo: 5, hi: 5, n: 1 }]);
  assert.equal(t.spots.length, 1);
  assert.ok(Math.abs(makeSeries(rows, "std")[0].spots[0].hi - (2 + Math.SQRT2)) < 1e-12);
  assert.deepEqual(makeSeries([row("s", 1, 2, 0, 9), row("s", 1, 4, 2, 11)], "minmax")[0].spots[0], { x: 1, y: 3, lo: 1, hi: 10, n: 2 });
});
