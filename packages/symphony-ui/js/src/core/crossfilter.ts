// Which rows are seen, and by which view. A row's counter says how many brushes (and the filter) reject it:
// visible where it is 0; in the context of view v where only v's own brush rejects it.
// While a brush is dragged, counts come from prefix sums made at its start: O(columns x bins), whatever N.

import type { Codes } from "./bins.ts";

export interface Binned {
  codes: Codes;
  /** bins with other and missing */
  size: number;
}

export type Counts = Uint32Array;

export class Crossfilter {
  readonly rows: number;
  /** how many of the filter and the brushes reject a row */
  readonly fail: Uint8Array;
  private rejects = new Map<string, Uint8Array>();

  constructor(rows: number) {
    this.rows = rows;
    this.fail = new Uint8Array(rows);
  }

  /** Sets which rows `key` (a view, or "" for the filter) keeps; null keeps all. */
  set(key: string, keep: Uint8Array | null): void {
    const { fail } = this;
    const old = this.rejects.get(key);
    if (!keep) {
      if (old) for (let i = 0; i < fail.length; i++) fail[i] -= old[i];
      this.rejects.delete(key);
      return;
    }
    const reject = old ?? new Uint8Array(fail.length);
    for (let i = 0; i < fail.length; i++) {
      const r = keep[i] ^ 1;
      fail[i] += r - reject[i];
      reject[i] = r;
    }
    this.rejects.set(key, reject);
  }

  has(key: string): boolean {
    return this.rejects.has(key);
  }

  /** A byte a row: 0 where the row is in the context of `view`. */
  hiddenFrom(view: string, out: Uint8Array = new Uint8Array(this.rows)): Uint8Array {
    const own = this.rejects.get(view);
    const { fail } = this;
    if (!own) out.set(fail);
    else for (let i = 0; i < fail.length; i++) out[i] = fail[i] - own[i];
    return out;
  }

  /** Counts over all rows that `hidden` does not mark; over all rows without it. */
  count(binned: Binned, hidden: Uint8Array | null): Counts {
    const out = new Uint32Array(binned.size);
    const { codes } = binned;
    if (!hidden) for (let i = 0; i < codes.length; i++) out[codes[i]]++;
    else for (let i = 0; i < codes.length; i++) out[codes[i]] += hidden[i] === 0 ? 1 : 0;
    return out;
  }

  visible(): number {
    let n = 0;
    const { fail } = this;
    for (let i = 0; i < fail.length; i++) n += fail[i] === 0 ? 1 : 0;
    return n;
  }

  /** What a drag in `view` along `along` needs to count every other view. */
  startDrag(view: string, along: Binned): Drag {
    const hidden = this.hiddenFrom(view);
    return new Drag(view, along, hidden, this.count(along, hidden), (other) => {
      const own = this.rejects.get(other);
      if (!own || other === view) return null;
      const less = new Uint8Array(hidden.length);
      for (let i = 0; i < less.length; i++) less[i] = hidden[i] - own[i];
      return less;
    });
  }
}

/** A cube: for each edge of the dragged bins, the counts of another view's bins before that edge. */
function cube(along: Binned, other: Binned, hidden: Uint8Array): Uint32Array {
  const width = other.size;
  const out = new Uint32Array((along.size + 1) * width);
  const a = along.codes;
  const b = other.codes;
  for (let i = 0; i < a.length; i++) if (hidden[i] === 0) out[(a[i] + 1) * width + b[i]]++;
  for (let k = width; k < out.length; k++) out[k] += out[k - width];
  return out;
}

export class Drag {
  readonly view: string;
  /** the dragged view's own context, by its bins */
  readonly context: Counts;
  private along: Binned;
  private hidden: Uint8Array;
  private without: (view: string) => Uint8Array | null;
  private cubes = new Map<string, { visible: Uint32Array; context: Uint32Array }>();

  constructor(
    view: string, along: Binned, hidden: Uint8Array, context: Counts, without: (view: string) => Uint8Array | null,
  ) {
    this.view = view;
    this.along = along;
    this.hidden = hidden;
    this.context = context;
    this.without = without;
  }

  /** Makes the cubes of `other`, whose bins are named `key`, if they are not there. */
  prepare(key: string, view: string, other: Binned) {
    let made = this.cubes.get(key);
    if (!made) {
      const visible = cube(this.along, other, this.hidden);
      const less = this.without(view);
      made = { visible, context: less ? cube(this.along, other, less) : visible };
      this.cubes.set(key, made);
    }
    return made;
  }

  /** Visible and context counts of `other` when the brush keeps bins lo to hi - 1. */
  counts(key: string, view: string, other: Binned, lo: number, hi: number): { visible: Counts; context: Counts } {
    const { visible, context } = this.prepare(key, view, other);
    const seen = between(visible, other.size, lo, hi);
    return { visible: seen, context: context === visible ? seen : between(context, other.size, lo, hi) };
  }

  /** The dragged view's own visible counts: its context inside the brush. */
  own(lo: number, hi: number): Counts {
    return this.context.map((n, k) => (k >= lo && k < hi ? n : 0));
  }

  total(lo: number, hi: number): number {
    let n = 0;
    for (let k = lo; k < hi; k++) n += this.context[k];
    return n;
  }
}

function between(cube: Uint32Array, width: number, lo: number, hi: number): Counts {
  const out = new Uint32Array(width);
  for (let k = 0; k < width; k++) out[k] = cube[hi * width + k] - cube[lo * width + k];
  return out;
}
