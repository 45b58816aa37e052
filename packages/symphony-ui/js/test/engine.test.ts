import assert from "node:assert/strict";
import { test } from "node:test";
import { binCodes, binCount, binTree } from "../src/core/bins.ts";
import { BrowserEngine } from "../src/core/engine.ts";
import { evaluate } from "../src/core/filter.ts";
import { sortRows } from "../src/core/sort.ts";
import { emptyState } from "../src/core/state.ts";
import type { Bins, GroupsAnswer, HistAnswer, Linear, MatrixAnswer, RowsAnswer, State, Tree } from "../src/core/types.ts";
import { column, random } from "./helpers.ts";

const next = random(7);
const N = 400;
const fill = <T>(make: () => T, gaps = 0.05) => Array.from({ length: N }, () => (next() < gaps ? null : make()));
const columns = [
  column({ name: "a", kind: "number", dtype: "float32", values: fill(() => next()) }),
  column({ name: "b", kind: "number", dtype: "float64", values: fill(() => Math.round(next() * 20) - 10) }),
  column({ name: "c", kind: "category", values: fill(() => ["x", "y", "z", "w"][Math.floor(next() ** 2 * 4)]) }),
  column({ name: "d", kind: "bool", values: fill(() => next() < 0.3) }),
];
const BINS: Record<string, Bins> = {
  a: { type: "linear", lo: 0, hi: 1, n: 10 },
  b: { type: "linear", lo: -10.5, hi: 8.5, n: 19 },
  c: { type: "levels", levels: ["x", "y"] },
  d: { type: "levels", levels: ["false", "true"] },
};
const make = () => new BrowserEngine(columns, N);
const state = (filter: Tree | null, brushes: Record<string, Tree>): State => ({ ...emptyState(), filter, brushes });

/** Counts by the definition, a row at a time. */
function looped(engine: BrowserEngine, s: State, view: string, name: string) {
  const masks = Object.entries(s.brushes).map(([key, tree]) => ({ key, mask: evaluate(tree, engine) }));
  const filter = s.filter ? evaluate(s.filter, engine) : null;
  const codes = binCodes(engine.column(name), BINS[name]);
  const out = [0, 1, 2].map(() => Array(binCount(BINS[name]) + 2).fill(0));
  for (let i = 0; i < N; i++) {
    out[0][codes[i]]++;
    if (filter && !filter[i]) continue;
    if (masks.every(({ key, mask }) => key === view || mask[i])) out[1][codes[i]]++;
    if (masks.every(({ mask }) => mask[i])) out[2][codes[i]]++;
  }
  return out;
}

const plain = (a: HistAnswer) => [a.all, a.context, a.visible].map((c) => Array.from(c));

test("every view counts its own context and the visible rows", () => {
  const engine = make();
  const views = Object.keys(BINS).map((c) => ({ view: `v-${c}`, c, live: engine.ask<HistAnswer>({ kind: "hist", view: `v-${c}`, column: c, bins: BINS[c] }) }));
  const states = [
    state(null, {}),
    state(null, { "v-a": ["bin", "a", 0.2, 0.6] }),
    state([">", "b", -4], { "v-a": ["bin", "a", 0.2, 0.6], "v-c": ["in", "c", ["x"]] }),
    state([">", "b", -4], { "v-c": ["in", "c", ["x", "z"]], other: ["==", "d", false] }),
    state(null, { "v-b": ["missing", "b"] }),
  ];
  for (const s of states) {
    engine.apply(s);
    for (const { view, c, live } of views) assert.deepEqual(plain(live.answer.value!), looped(engine, s, view, c));
  }
});

test("a drag by cubes equals the recount for every pair of edges", () => {
  const s = state(["!=", "c", "w"], { "v-c": ["in", "c", ["x", "y"]], lasso: [">", "b", -8] });
  const engine = make();
  engine.apply(s);
  const views = Object.keys(BINS).map((c) => ({ view: `v-${c}`, c, live: engine.ask<HistAnswer>({ kind: "hist", view: `v-${c}`, column: c, bins: BINS[c] }) }));
  const count = engine.ask<{ visible: number }>({ kind: "count" });
  const before = Uint8Array.from(engine.cross.fail);
  const bins = BINS.a as Linear;
  for (let lo = 0; lo < bins.n; lo++) {
    for (let hi = lo + 1; hi <= bins.n; hi++) {
      engine.drag("v-a", "a", bins, lo, hi);
      const moved = state(s.filter, { ...s.brushes, "v-a": binTree("a", bins, lo, hi) });
      for (const { view, c, live } of views) assert.deepEqual(plain(live.answer.value!), looped(engine, moved, view, c));
      assert.equal(count.answer.value!.visible, looped(engine, moved, "", "a")[2].reduce((x, y) => x + y));
    }
  }
  engine.release();
  engine.apply(s);
  assert.deepEqual(engine.cross.fail, before, "clearing a brush restores the counters");
});

test("the order of brushes does not matter", () => {
  const brushes: [string, Tree][] = [["p", ["bin", "a", 0.1, 0.9]], ["q", ["in", "c", ["x"]]], ["r", [">", "b", 0]]];
  const one = make();
  const two = make();
  for (let k = 1; k <= 3; k++) {
    one.apply(state(null, Object.fromEntries(brushes.slice(0, k))));
    two.apply(state(null, Object.fromEntries(brushes.slice(3 - k))));
  }
  assert.deepEqual(one.cross.fail, two.cross.fail);
});

test("a brush that cannot be evaluated is named and keeps all rows", () => {
  const engine = make();
  const wrong = engine.apply(state(["==", "nope", 1], { "v-a": ["==", "a", "text"] }));
  assert.equal(wrong.length, 2);
  assert.equal(engine.cross.visible(), N);
});

test("groups share out the visible rows, by size, then by name, missing on its own", () => {
  const engine = make();
  engine.apply(state([">", "a", 0.3], {}));
  const { groups, total } = engine.ask<GroupsAnswer>({ kind: "groups", by: ["c", "d"], limit: 1000 }).answer.value!;
  const want = new Map<string, number>();
  const codes = columns[2].codes!;
  for (let i = 0; i < N; i++) {
    if (engine.cross.fail[i]) continue;
    const d = columns[3].codes![i];
    const key = JSON.stringify([codes[i] < 0 ? null : columns[2].labels[codes[i]], d < 0 ? null : d === 1]);
    want.set(key, (want.get(key) ?? 0) + 1);
  }
  assert.equal(total, want.size);
  for (const g of groups) assert.equal(want.get(JSON.stringify(g.key)), g.count);
  groups.slice(1).forEach((g, k) => assert.ok(groups[k].count >= g.count));
});

test("a matrix holds the context, and where there is a value its sums", () => {
  const engine = make();
  engine.apply(state(null, { m: ["in", "c", ["x"]], other: [">", "a", 0.5] }));
  const query = { kind: "matrix", view: "m", x: "c", xbins: BINS.c, y: "d", ybins: BINS.d } as const;
  const { counts } = engine.ask<MatrixAnswer>({ ...query, value: null }).answer.value!;
  const all = counts.reduce((t, row) => t + Array.from(row).reduce((x, y) => x + y), 0);
  assert.equal(all, evaluate([">", "a", 0.5], engine).reduce((x, y) => x + y));
  const { counts: n, sum } = engine.ask<MatrixAnswer>({ ...query, value: "b" }).answer.value!;
  let total = 0;
  let seen = 0;
  for (let i = 0; i < N; i++) {
    const b = columns[1].values![i];
    if (!(columns[0].values![i] > 0.5) || b !== b) continue;
    total += b;
    seen++;
  }
  const add = (rows: ArrayLike<number>[]) => rows.reduce((t, row) => t + Array.from(row).reduce((x, y) => x + y), 0);
  assert.equal(add(sum!), total);
  assert.equal(add(n), seen);
});

test("rows come sorted, missing last, with ties in the order of rows", () => {
  for (const descending of [false, true]) {
    for (const names of [["b"], ["c", "b"], ["d", "a"]]) {
      const keys = names.map((n) => ({ column: columns.find((c) => c.name === n)!, descending }));
      const value = (name: string, i: number): any => {
        const c = columns.find((x) => x.name === name)!;
        if (c.values) return Number.isNaN(c.values[i]) ? null : c.values[i];
        return c.codes![i] < 0 ? null : c.labels[c.codes![i]];
      };
      const want = Array.from({ length: N }, (_, i) => i).sort((i, j) => {
        for (const name of names) {
          const [x, y] = [value(name, i), value(name, j)];
          if (x === y) continue;
          if (x === null || y === null) return x === null ? 1 : -1;
          return (x < y ? -1 : 1) * (descending ? -1 : 1);
        }
        return i - j;
      });
      assert.deepEqual(Array.from(sortRows(N, keys)), want);
    }
  }
});

test("a page of rows is a slice of the visible rows", () => {
  const engine = make();
  engine.apply(state(["<", "a", 0.5], {}));
  const query = { kind: "rows", view: "t", columns: ["b", "c", "d"], sort: [["b", "desc"]], offset: 5, limit: 10, scope: "visible" } as any;
  const { rows, index, total } = engine.ask<RowsAnswer>(query).answer.value!;
  assert.equal(total, engine.cross.visible());
  assert.equal(rows.length, 10);
  Array.from(index).forEach((row, k) => {
    assert.ok(columns[0].values![row] < 0.5);
    assert.equal(rows[k][0], columns[1].values![row]);
  });
  const narrowed = engine.ask<RowsAnswer>({ ...query, where: ["==", "d", true], offset: 0, limit: 1000 }).answer.value!;
  assert.equal(narrowed.total, evaluate(["and", ["<", "a", 0.5], ["==", "d", true]], engine).reduce((x, y) => x + y));
});

test("minus zero and zero tie when sorted", () => {
  const zeros = column({ name: "z", kind: "number", dtype: "float64", values: [0, -0, 1, -0, 0, -1] });
  assert.deepEqual(Array.from(sortRows(6, [{ column: zeros, descending: false }])), [5, 0, 1, 3, 4, 2]);
  assert.deepEqual(Array.from(sortRows(6, [{ column: zeros, descending: true }])), [2, 0, 1, 3, 4, 5]);
});
