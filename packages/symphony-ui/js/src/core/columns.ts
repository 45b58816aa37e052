// Arrow IPC to typed columns. In memory a missing number is NaN and a missing code is -1.

import { tableFromIPC } from "@uwdata/flechette";
import type { Cell, ColumnSpec, Kind } from "./types.ts";
import { compareText } from "./text.ts";

export type Numbers = Float32Array | Float64Array | Int32Array;

export interface Column {
  name: string;
  kind: Kind;
  spec: ColumnSpec;
  length: number;
  /** number and time (epoch ms) */
  values: Numbers | null;
  /** category and bool: index into labels, -1 where missing */
  codes: Int32Array | Int8Array | null;
  labels: string[];
  /** text: the string of a row, null where missing */
  text: ((row: number) => string | null) | null;
  missing: number;
}

interface Batch {
  length: number;
  nullCount: number;
  validity?: Uint8Array;
  values: any;
  at(i: number): any;
  dictionary?: { toArray(): ArrayLike<any> };
}

const isNull = (batch: Batch, i: number) => (batch.validity![i >> 3] >> (i & 7) & 1) === 0;
const hasNulls = (batch: Batch) => batch.nullCount > 0 && !!batch.validity?.length;

/** The columns of an Arrow stream, in the order of `specs`; those of kind media are left out. */
export function decodeColumns(bytes: Uint8Array, specs: ColumnSpec[], rows: number): Column[] {
  const wanted = specs.filter((spec) => spec.kind !== "media");
  if (!wanted.length) return [];
  if (!rows) return wanted.map((spec) => makeColumn(spec, [], 0)); // flechette reads no batch without a body
  const table = tableFromIPC(bytes, {});
  return wanted.map((spec, k) => {
    const source = table.getChildAt(k) as any;
    if (!source) throw new Error(`the data block has no column ${k} for ${JSON.stringify(spec.name)}`);
    if (source.length !== rows) {
      throw new Error(`column ${JSON.stringify(spec.name)} has ${source.length} rows, the page ${rows}`);
    }
    return makeColumn(spec, source.data as Batch[], rows);
  });
}

function makeColumn(spec: ColumnSpec, batches: Batch[], length: number): Column {
  const column: Column = {
    name: spec.name, kind: spec.kind, spec, length,
    values: null, codes: null, labels: [], text: null, missing: 0,
  };
  if (spec.kind === "number") column.values = numbers(batches, length);
  else if (spec.kind === "time") column.values = times(batches, length);
  else if (spec.kind === "bool") {
    column.codes = bools(batches, length);
    column.labels = ["false", "true"];
  } else if (spec.kind === "category") {
    column.labels = Array.from(batches[0]?.dictionary?.toArray() ?? [], String);
    column.codes = codes(batches, length);
  } else column.text = texts(batches);
  column.missing = countMissing(column);
  return column;
}

function numbers(batches: Batch[], length: number): Numbers {
  const only = batches.length === 1 ? batches[0] : null;
  if (only && !hasNulls(only)) return only.values;
  const nulls = batches.some(hasNulls);
  const first = batches[0]?.values;
  const out: Numbers =
    first instanceof Float32Array ? new Float32Array(length)
    : first instanceof Int32Array && !nulls ? new Int32Array(length)
    : new Float64Array(length);
  let at = 0;
  for (const batch of batches) {
    out.set(batch.values.subarray(0, batch.length), at);
    if (hasNulls(batch)) for (let i = 0; i < batch.length; i++) if (isNull(batch, i)) out[at + i] = NaN;
    at += batch.length;
  }
  return out;
}

function times(batches: Batch[], length: number): Float64Array {
  const out = new Float64Array(length);
  let at = 0;
  for (const batch of batches) {
    const raw = batch.values as BigInt64Array;
    const halves = new Int32Array(raw.buffer, raw.byteOffset, 2 * batch.length); // reading BigInts is slow
    const nulls = hasNulls(batch);
    for (let i = 0; i < batch.length; i++) {
      out[at + i] = nulls && isNull(batch, i) ? NaN : halves[2 * i + 1] * 4294967296 + (halves[2 * i] >>> 0);
    }
    at += batch.length;
  }
  return out;
}

function bools(batches: Batch[], length: number): Int8Array {
  const out = new Int8Array(length);
  let at = 0;
  for (const batch of batches) {
    const bits = batch.values as Uint8Array;
    const nulls = hasNulls(batch);
    for (let i = 0; i < batch.length; i++) {
      out[at + i] = nulls && isNull(batch, i) ? -1 : bits[i >> 3] >> (i & 7) & 1;
    }
    at += batch.length;
  }
  return out;
}

function codes(batches: Batch[], length: number): Int32Array {
  const only = batches.length === 1 ? batches[0] : null;
  if (only && !hasNulls(only) && only.values instanceof Int32Array) return only.values.subarray(0, length);
  const out = new Int32Array(length);
  let at = 0;
  for (const batch of batches) {
    const nulls = hasNulls(batch);
    for (let i = 0; i < batch.length; i++) out[at + i] = nulls && isNull(batch, i) ? -1 : batch.values[i];
    at += batch.length;
  }
  return out;
}

function texts(batches: Batch[]): (row: number) => string | null {
  const starts: number[] = [];
  let at = 0;
  for (const batch of batches) {
    starts.push(at);
    at += batch.length;
  }
  return (row) => {
    let b = batches.length - 1;
    while (b > 0 && starts[b] > row) b--;
    const value = batches[b]?.at(row - starts[b]);
    return value === null || value === undefined ? null : String(value);
  };
}

function countMissing(column: Column): number {
  let count = 0;
  const { values, codes } = column;
  if (codes) for (let i = 0; i < codes.length; i++) count += codes[i] < 0 ? 1 : 0;
  else if (values && !(values instanceof Int32Array)) {
    for (let i = 0; i < values.length; i++) count += values[i] !== values[i] ? 1 : 0;
  }
  return count;
}

/** What a row holds, as it travels: null where missing. */
export function cell(column: Column, row: number): Cell {
  if (column.values) {
    const v = column.values[row];
    return v !== v ? null : v === Infinity ? "Infinity" : v === -Infinity ? "-Infinity" : v;
  }
  if (column.codes) {
    const code = column.codes[row];
    return code < 0 ? null : column.kind === "bool" ? code === 1 : column.labels[code];
  }
  return column.text ? column.text(row) : null;
}

export const isBigInteger = (spec: ColumnSpec) =>
  spec.kind === "text" && (spec.dtype === "int64" || spec.dtype === "uint64");

/** Dense codes of any column (-1 missing) with the value of each code, in the order of the values. */
export interface Factor {
  codes: Int32Array | Int8Array;
  keys: Cell[];
}

export function factor(column: Column): Factor {
  if (column.codes) {
    const keys: Cell[] = column.kind === "bool" ? [false, true] : column.labels;
    if (column.kind === "bool") return { codes: column.codes, keys };
    const order = column.labels.map((_, i) => i).sort((a, b) => compareText(column.labels[a], column.labels[b]));
    return recode(column.codes, order, keys);
  }
  const seen = new Map<number | string, number>();
  const keys: (number | string)[] = [];
  const raw = new Int32Array(column.length);
  for (let i = 0; i < column.length; i++) {
    const key = column.values ? column.values[i] : column.text!(i);
    if (key === null || key !== key) {
      raw[i] = -1;
      continue;
    }
    let code = seen.get(key);
    if (code === undefined) {
      code = keys.length;
      seen.set(key, code);
      keys.push(key);
    }
    raw[i] = code;
  }
  const order = keys.map((_, i) => i);
  if (column.values) order.sort((a, b) => (keys[a] as number) - (keys[b] as number));
  else order.sort((a, b) => compareText(keys[a] as string, keys[b] as string));
  return recode(raw, order, keys);
}

function recode(codes: ArrayLike<number>, order: number[], keys: Cell[]): Factor {
  const rank = new Int32Array(order.length + 1);
  order.forEach((old, at) => (rank[old + 1] = at));
  rank[0] = -1;
  const out = new Int32Array(codes.length);
  for (let i = 0; i < out.length; i++) out[i] = rank[codes[i] + 1];
  return { codes: out, keys: order.map((old) => keys[old]) };
}
