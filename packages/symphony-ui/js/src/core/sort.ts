// Orders of rows: stable, missing last in both directions.

import { factor, type Column } from "./columns.ts";

/** Row numbers in the order of `sort`; ties keep the order of rows. */
export function sortRows(rows: number, keys: { column: Column; descending: boolean }[]): Uint32Array {
  let order = new Uint32Array(rows);
  for (let i = 0; i < rows; i++) order[i] = i;
  for (const { column, descending } of [...keys].reverse()) {
    order = column.values ? byNumber(order, column.values, descending) : byCode(order, column, descending);
  }
  return order;
}

/** Counting sort by the rank of a row's code. */
function byCode(order: Uint32Array, column: Column, descending: boolean): Uint32Array<ArrayBuffer> {
  const { codes, keys } = factor(column);
  const n = keys.length;
  const rank = (code: number) => (code < 0 ? n : descending ? n - 1 - code : code);
  const start = new Uint32Array(n + 2);
  for (let i = 0; i < order.length; i++) start[rank(codes[order[i]]) + 1]++;
  for (let k = 0; k <= n; k++) start[k + 1] += start[k];
  const out = new Uint32Array(order.length);
  for (let i = 0; i < order.length; i++) out[start[rank(codes[order[i]])]++] = order[i];
  return out;
}

/** Radix sort on the bits of float64, 16 at a time. */
function byNumber(order: Uint32Array, values: ArrayLike<number>, descending: boolean): Uint32Array<ArrayBuffer> {
  const n = order.length;
  const keys = new Float64Array(n);
  for (let i = 0; i < n; i++) keys[i] = values[i] === 0 ? 0 : values[i]; // -0 is 0
  const words = new Uint32Array(keys.buffer);
  for (let i = 0; i < n; i++) {
    const missing = keys[i] !== keys[i];
    const flip = words[2 * i + 1] >>> 31 ? 0xffffffff : 0;
    let hi = words[2 * i + 1] ^ (flip || 0x80000000);
    let lo = words[2 * i] ^ flip;
    if (descending) {
      hi = ~hi;
      lo = ~lo;
    }
    words[2 * i + 1] = missing ? 0xffffffff : hi;
    words[2 * i] = missing ? 0xffffffff : lo;
  }
  let from = Uint32Array.from(order);
  let to = new Uint32Array(n);
  const digits = new Uint16Array(keys.buffer);
  for (let place = 0; place < 4; place++) {
    const start = new Uint32Array(65537);
    for (let i = 0; i < n; i++) start[digits[4 * i + place] + 1]++;
    if (start.some((count) => count === n)) continue; // all rows share this digit
    for (let k = 0; k < 65536; k++) start[k + 1] += start[k];
    for (let i = 0; i < n; i++) to[start[digits[4 * from[i] + place]]++] = from[i];
    [from, to] = [to, from];
  }
  return from;
}
