// Which bin a row falls into. Bins are decided by their edges, so that a brush along edges keeps whole bins.

import { nice, niceTimes, range } from "./ticks.ts";
import type { Column } from "./columns.ts";
import type { Bins, Linear, Tree } from "./types.ts";

/** Edge k of linear bins, as PROTOCOL.md defines it. */
export function edge(b: Linear, k: number): number {
  if (k <= 0) return b.lo;
  if (k >= b.n) return b.hi;
  const t = k / b.n;
  const width = b.hi - b.lo;
  return Number.isFinite(width) ? b.lo + width * t : b.lo * (1 - t) + b.hi * t;
}

export const binCount = (b: Bins): number => (b.type === "linear" ? b.n : b.levels.length);

export type Codes = Uint8Array | Uint16Array;

/** The bin of every row: 0..n-1, then n for other, n + 1 for missing. */
export function binCodes(column: Column, b: Bins): Codes {
  const n = binCount(b);
  const out: Codes = n + 2 <= 256 ? new Uint8Array(column.length) : new Uint16Array(column.length);
  if (b.type === "levels") levelCodes(column, b.levels, out, n);
  else linearCodes(column.values ?? new Float64Array(column.length).fill(NaN), b, out, n);
  return out;
}

function linearCodes(values: ArrayLike<number>, b: Linear, out: Codes, n: number): void {
  const edges = Float64Array.from({ length: n + 1 }, (_, k) => edge(b, k));
  const { lo, hi } = b;
  const width = hi - lo;
  const scale = Number.isFinite(width) ? n / width : 0;
  const half = n / (hi / 2 - lo / 2) / 2; // where hi - lo overflows
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (!(v >= lo && v <= hi)) {
      out[i] = v !== v ? n + 1 : n;
      continue;
    }
    let k = (scale ? (v - lo) * scale : (v / 2 - lo / 2) * 2 * half) | 0;
    if (k >= n) k = n - 1;
    while (k > 0 && v < edges[k]) k--;
    while (k < n - 1 && v >= edges[k + 1]) k++;
    out[i] = k;
  }
}

function levelCodes(column: Column, levels: (string | number)[], out: Codes, n: number): void {
  const place = new Map(levels.map((level, k) => [level, k]));
  if (column.codes) {
    const table = new Uint16Array(column.labels.length + 1);
    table[0] = n + 1;
    column.labels.forEach((label, code) => (table[code + 1] = place.get(label) ?? n));
    const { codes } = column;
    for (let i = 0; i < codes.length; i++) out[i] = table[codes[i] + 1];
    return;
  }
  for (let i = 0; i < column.length; i++) {
    const v = column.values ? column.values[i] : column.text!(i);
    out[i] = v === null || v !== v ? n + 1 : (place.get(v) ?? n);
  }
}

/** The least and the greatest finite value, or null where there is none. */
export function extent(values: ArrayLike<number>): [number, number] | null {
  let lo = Infinity;
  let hi = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (v < lo && v !== -Infinity) lo = v;
    if (v > hi && v !== Infinity) hi = v;
  }
  return lo <= hi ? [lo, hi] : null;
}

/** Round bins over an extent: one a value for small ranges of integers, else about `count` with nice edges. */
export function niceBins([lo, hi]: [number, number], integer: boolean, count: number, time = false): Linear {
  if (integer && hi - lo < 50) return { type: "linear", lo: lo - 0.5, hi: hi + 0.5, n: hi - lo + 1 };
  if (lo === hi) {
    const pad = Math.abs(lo) * 2 ** -20 || 0.5;
    return { type: "linear", lo: Math.max(lo - pad, -Number.MAX_VALUE), hi: Math.min(hi + pad, Number.MAX_VALUE), n: 1 };
  }
  const [a, b, n] = time ? niceTimes(lo, hi, count) : nice(lo, hi, count);
  return { type: "linear", lo: a, hi: b, n };
}

/** The tree that keeps the bins from `i` to before `j`. */
export function binTree(column: string, b: Linear, i: number, j: number): Tree {
  return j >= b.n ? ["between", column, edge(b, i), b.hi] : ["bin", column, edge(b, i), edge(b, j)];
}

/** The bins [i, j) of a tree made by `binTree`, or null for any other tree. */
export function treeBins(tree: Tree | undefined, column: string, b: Linear): [number, number] | null {
  if (!tree || (tree[0] !== "bin" && tree[0] !== "between") || tree[1] !== column) return null;
  const at = (v: number) => range(b.n + 1).find((k) => edge(b, k) >= v) ?? b.n;
  const lo = tree[2] === null ? 0 : at(tree[2]);
  const hi = tree[3] === null ? b.n : at(tree[3]);
  return hi > lo ? [lo, hi] : null;
}
