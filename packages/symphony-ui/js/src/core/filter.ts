// The filter tree over columns: a byte a row, 1 where the row stays. Two-valued: missing compares false.

import { isBigInteger, type Column } from "./columns.ts";
import { insideRows } from "./lasso.ts";
import { decodeRows } from "./state.ts";
import { compareText, nearest } from "./text.ts";
import type { Tree, Value } from "./types.ts";

export class FilterError extends Error {
  pos: number | null;
  constructor(message: string, pos: number | null = null) {
    super(message);
    this.name = "FilterError";
    this.pos = pos;
  }
}

export interface Source {
  rows: number;
  find(name: string): Column | undefined;
  names(): string[];
}

type Mask = Uint8Array;
type Test = (order: number) => boolean;

const COMPARE: Record<string, Test> = {
  "==": (c) => c === 0,
  "!=": (c) => c !== 0,
  "<": (c) => c < 0,
  "<=": (c) => c <= 0,
  ">": (c) => c > 0,
  ">=": (c) => c >= 0,
};

export function unknownColumn(name: string, names: string[], pos: number | null = null): FilterError {
  const near = nearest(name, names);
  return new FilterError(`no column ${JSON.stringify(name)}${near ? `; did you mean ${JSON.stringify(near)}?` : ""}`, pos);
}

/** Throws where a tree cannot be evaluated: it is tried on none of the rows. */
export function check(tree: Tree, source: Source): void {
  const none = (col: Column | undefined) =>
    col && { ...col, length: 0, values: col.values && new Float64Array(0), codes: col.codes && new Int32Array(0) };
  evaluate(tree, { rows: 0, names: () => source.names(), find: (name) => none(source.find(name)) ?? undefined });
}

/** The rows that `tree` keeps. */
export function evaluate(tree: Tree, source: Source): Mask {
  const [op, ...args] = tree;
  const n = source.rows;
  if (op === "all") return new Uint8Array(n).fill(1);
  if (op === "and" || op === "or") {
    const out = evaluate(args[0], source);
    for (const child of args.slice(1)) {
      const other = evaluate(child, source);
      if (op === "and") for (let i = 0; i < n; i++) out[i] &= other[i];
      else for (let i = 0; i < n; i++) out[i] |= other[i];
    }
    return out;
  }
  if (op === "not") {
    const out = evaluate(args[0], source);
    for (let i = 0; i < n; i++) out[i] ^= 1;
    return out;
  }
  if (op === "rows") {
    const out = new Uint8Array(n);
    for (const row of decodeRows(args[0])) if (row < n) out[row] = 1;
    return out;
  }
  if (op === "lasso") {
    const [x, y] = [args[0], args[1]].map((name) => numeric(column(name, source), "lasso"));
    return insideRows(x, y, args[2]);
  }
  const col = column(args[0], source);
  if (op === "missing") return missing(col);
  if (op === "bin") return bin(col, args[1], args[2]);
  if (op === "between") {
    const low = compare(col, ">=", args[1]);
    const high = compare(col, "<=", args[2]);
    for (let i = 0; i < n; i++) low[i] &= high[i];
    return low;
  }
  if (op === "in") return membership(col, args[1]);
  if (op === "contains" || op === "startswith") return textual(col, op, args[1]);
  if (op in COMPARE) return compare(col, op, args[1]);
  throw new FilterError(`unknown operator ${JSON.stringify(op)}`);
}

function column(name: string, source: Source): Column {
  const found = source.find(name);
  if (!found) throw unknownColumn(name, source.names());
  return found;
}

function numeric(col: Column, op: string): ArrayLike<number> {
  if (col.values) return col.values;
  throw new FilterError(`${op} needs numbers, and ${JSON.stringify(col.name)} is ${col.kind}`);
}

function missing(col: Column): Mask {
  const out = new Uint8Array(col.length);
  const { values, codes, text } = col;
  for (let i = 0; i < out.length; i++) {
    out[i] = (codes ? codes[i] < 0 : values ? values[i] !== values[i] : text!(i) === null) ? 1 : 0;
  }
  return out;
}

function bin(col: Column, lo: number | { time: number } | null, hi: number | { time: number } | null): Mask {
  const values = numeric(col, "bin");
  const low = lo === null ? -Infinity : (scalar(col, lo) as number);
  const high = hi === null ? null : (scalar(col, hi) as number);
  const out = new Uint8Array(values.length);
  if (high === null) for (let i = 0; i < out.length; i++) out[i] = values[i] >= low ? 1 : 0;
  else for (let i = 0; i < out.length; i++) out[i] = values[i] >= low && values[i] < high ? 1 : 0;
  return out;
}

/** The comparable form of a value for a column; a FilterError where the two do not compare. */
export function scalar(col: Column, value: Value | null): number | string | bigint {
  const kind = col.kind;
  if (typeof value === "boolean") {
    if (kind === "bool") return value ? 1 : 0;
  } else if (typeof value === "number") {
    if (kind === "number") return value;
    if (kind === "time") throw new FilterError(`${quote(col)} is a time: write @2024-01-31, not ${value}`);
    if (isBigInteger(col.spec) && Number.isInteger(value)) return BigInt(value);
  } else if (typeof value === "string") {
    if (kind === "category" || (kind === "text" && !isBigInteger(col.spec))) return value;
  } else if (value && typeof value === "object" && "time" in value) {
    if (kind === "time") return value.time;
  } else if (value && typeof value === "object" && "int" in value) {
    if (kind === "number" || isBigInteger(col.spec)) return BigInt(value.int);
  }
  throw new FilterError(`${quote(col)} is ${kind} and cannot be compared with ${JSON.stringify(value)}`);
}

const quote = (col: Column) => JSON.stringify(col.name);
const sign = (a: any, b: any): number => (a < b ? -1 : a > b ? 1 : a == b ? 0 : NaN);

function compare(col: Column, op: string, value: Value): Mask {
  const against = scalar(col, value);
  const test = COMPARE[op];
  const n = col.length;
  const out = new Uint8Array(n);
  if (col.kind === "bool") {
    for (let i = 0; i < n; i++) out[i] = col.codes![i] >= 0 && test(col.codes![i] - (against as number)) ? 1 : 0;
  } else if (col.codes) {
    const keep = Uint8Array.from(col.labels, (label) => (test(compareText(label, against as string)) ? 1 : 0));
    for (let i = 0; i < n; i++) out[i] = col.codes[i] < 0 ? 0 : keep[col.codes[i]];
  } else if (col.values && typeof against === "number") numbersCompare(col.values, op, against, out);
  else if (col.values) {
    for (let i = 0; i < n; i++) out[i] = test(sign(col.values[i], against)) && col.values[i] === col.values[i] ? 1 : 0;
  } else {
    const big = typeof against === "bigint";
    for (let i = 0; i < n; i++) {
      const text = col.text!(i);
      if (text === null) continue;
      out[i] = test(big ? sign(BigInt(text), against) : compareText(text, against as string)) ? 1 : 0;
    }
  }
  return out;
}

function numbersCompare(values: ArrayLike<number>, op: string, v: number, out: Mask): void {
  const n = values.length;
  if (op === "==") for (let i = 0; i < n; i++) out[i] = values[i] === v ? 1 : 0;
  else if (op === "!=") for (let i = 0; i < n; i++) out[i] = values[i] !== v && values[i] === values[i] ? 1 : 0;
  else if (op === "<") for (let i = 0; i < n; i++) out[i] = values[i] < v ? 1 : 0;
  else if (op === "<=") for (let i = 0; i < n; i++) out[i] = values[i] <= v ? 1 : 0;
  else if (op === ">") for (let i = 0; i < n; i++) out[i] = values[i] > v ? 1 : 0;
  else for (let i = 0; i < n; i++) out[i] = values[i] >= v ? 1 : 0;
}

function membership(col: Column, list: (Value | null)[]): Mask {
  if (!Array.isArray(list)) throw new FilterError(`"in" needs a list of values, got ${JSON.stringify(list)}`);
  const wanted = new Set(list.filter((v) => v !== null).map((v) => scalar(col, v)));
  const n = col.length;
  const out = new Uint8Array(n);
  if (col.kind === "bool") for (let i = 0; i < n; i++) out[i] = wanted.has(col.codes![i]) ? 1 : 0;
  else if (col.codes) {
    const keep = Uint8Array.from(col.labels, (label) => (wanted.has(label) ? 1 : 0));
    for (let i = 0; i < n; i++) out[i] = col.codes[i] < 0 ? 0 : keep[col.codes[i]];
  } else if (col.values) {
    const bigs = [...wanted].filter((v) => typeof v === "bigint");
    for (let i = 0; i < n; i++) {
      const v = col.values[i];
      out[i] = v === v && (wanted.has(v) || bigs.some((big) => (big as any) == v)) ? 1 : 0;
    }
  } else {
    const big = isBigInteger(col.spec);
    for (let i = 0; i < n; i++) {
      const text = col.text!(i);
      out[i] = text !== null && wanted.has(big ? BigInt(text) : text) ? 1 : 0;
    }
  }
  return out;
}

function textual(col: Column, op: string, part: string): Mask {
  if (typeof part !== "string") throw new FilterError(`${op} needs text in quotes, got ${JSON.stringify(part)}`);
  if (col.kind !== "text" && col.kind !== "category") {
    throw new FilterError(`${op} needs text, and ${quote(col)} is ${col.kind}`);
  }
  const test = op === "contains" ? (s: string) => s.includes(part) : (s: string) => s.startsWith(part);
  const n = col.length;
  const out = new Uint8Array(n);
  if (col.codes) {
    const keep = Uint8Array.from(col.labels, (label) => (test(label) ? 1 : 0));
    for (let i = 0; i < n; i++) out[i] = col.codes[i] < 0 ? 0 : keep[col.codes[i]];
  } else {
    for (let i = 0; i < n; i++) {
      const text = col.text!(i);
      out[i] = text !== null && test(text) ? 1 : 0;
    }
  }
  return out;
}
