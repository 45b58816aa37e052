// Columns out of plain lists, and vectors off the disk.
import { readFileSync } from "node:fs";
import type { Column } from "../src/core/columns.ts";
import type { Source } from "../src/core/filter.ts";

declare const VECTORS: string;

export const vectors = (name: string) => JSON.parse(readFileSync(`${VECTORS}/${name}.json`, "utf8"));

export function column(spec: { name: string; kind: any; dtype?: string; values: any[] }): Column {
  const { values, ...rest } = spec;
  const made: Column = {
    name: spec.name, kind: spec.kind, spec: rest, length: values.length,
    values: null, codes: null, labels: [], text: null, missing: values.filter((v) => v === null).length,
  };
  if (spec.kind === "number" || spec.kind === "time") {
    const Typed = spec.dtype === "float32" ? Float32Array : spec.dtype === "int32" ? Int32Array : Float64Array;
    made.values = (Typed as any).from(values, (v: any) => (v === null ? NaN : Number(v)));
  } else if (spec.kind === "bool") {
    made.labels = ["false", "true"];
    made.codes = Int8Array.from(values, (v) => (v === null ? -1 : Number(v)));
  } else if (spec.kind === "category") {
    made.labels = [...new Set(values.filter((v) => v !== null))];
    made.codes = Int32Array.from(values, (v) => (v === null ? -1 : made.labels.indexOf(v)));
  } else made.text = (row) => values[row];
  return made;
}

export const source = (columns: Column[]): Source => ({
  rows: columns[0]?.length ?? 0,
  find: (name) => columns.find((c) => c.name === name),
  names: () => columns.map((c) => c.name),
});

/** A small generator of numbers in [0, 1) that gives the same ones each time. */
export function random(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
