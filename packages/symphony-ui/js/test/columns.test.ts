import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bool, columnFromArray, dictionary, float32, float64, int32, tableFromColumns, tableToIPC, timestamp, TimeUnit, utf8,
} from "@uwdata/flechette";
import { cell, decodeColumns } from "../src/core/columns.ts";
import type { ColumnSpec } from "../src/core/types.ts";

const TYPES: Record<string, () => any> = {
  float32, float64, int32, bool, text: utf8, category: () => dictionary(utf8(), int32()), time: () => timestamp(TimeUnit.MILLISECOND, "UTC"),
};
const kinds: Record<string, ColumnSpec["kind"]> = { bool: "bool", text: "text", category: "category", time: "time" };

const table: Record<string, [string, any[]]> = {
  f: ["float32", [0.5, null, -1.25, NaN, Infinity]],
  d: ["float64", [0.1, 0.2, 0.3, 2 ** 53, -Infinity]],
  i: ["int32", [1, -2, null, 2147483647, 0]],
  j: ["int32", [1, 2, 3, 4, 5]],
  b: ["bool", [true, null, false, true, false]],
  c: ["category", ["x", null, "", "</script>", "x"]],
  t: ["time", [0, 1706659200000, null, -86400000, 253402300799000]],
  s: ["text", ["a\u0000b", "", null, "😀", "\"quoted\" & <b>"]],
};

function pack(batches?: number) {
  const columns = Object.fromEntries(Object.entries(table).map(([name, [type, values]]) => [name, columnFromArray(values, TYPES[type](), batches ? ({ maxBatchRows: batches } as any) : {})]));
  const specs: ColumnSpec[] = Object.entries(table).map(([name, [type]]) => ({ name, kind: kinds[type] ?? "number", dtype: type }));
  return { bytes: tableToIPC(tableFromColumns(columns), { format: "stream" })!, specs };
}

function check(batches?: number) {
  const { bytes, specs } = pack(batches);
  const columns = decodeColumns(bytes, specs, 5);
  columns.forEach((column) => {
    const [type, values] = table[column.name];
    const want = values.map((v) => (v === null || Number.isNaN(v) ? null : v === Infinity ? "Infinity" : v === -Infinity ? "-Infinity" : type === "float32" ? Math.fround(v) : v));
    assert.deepEqual(values.map((_, row) => cell(column, row)), want, column.name);
    if (type !== "text") assert.equal(column.missing, want.filter((v) => v === null).length, column.name);
  });
}

test("columns come out of Arrow as they went in, missing values too", () => check());
test("columns in several batches are one", () => check(2));

test("numbers without gaps are not copied", () => {
  const { bytes, specs } = pack();
  const [column] = decodeColumns(bytes, specs, 5).filter((c) => c.name === "j");
  assert.ok(column.values instanceof Int32Array);
  assert.equal(column.values.buffer, bytes.buffer);
});

test("a block that does not fit its spec is refused", () => {
  const { bytes, specs } = pack();
  assert.throws(() => decodeColumns(bytes, specs, 6), /5 rows, the page 6/);
  assert.throws(() => decodeColumns(bytes, [...specs, { name: "more", kind: "number" }], 5), /no column 8 for "more"/);
});

test("a page without columns has none", () => {
  assert.deepEqual(decodeColumns(new Uint8Array(0), [{ name: "image", kind: "media" }], 3), []);
});
