// Who answers the queries of PROTOCOL.md: here from columns in the browser, in remote.ts from Python.

import { batch, computed, signal, type ReadonlySignal } from "@preact/signals";
import { binCodes, binCount, binTree, type Codes } from "./bins.ts";
import { cell, factor, type Column, type Factor } from "./columns.ts";
import { Crossfilter, type Drag } from "./crossfilter.ts";
import { check, evaluate, unknownColumn, type Source } from "./filter.ts";
import { sortRows } from "./sort.ts";
import { compareText } from "./text.ts";
import type { Bins, Cell, Group, GroupsAnswer, HistAnswer, Linear, MatrixAnswer, Query, RowsAnswer, State, Tree } from "./types.ts";

/** A query that follows the state until it is disposed of. */
export interface Live<T> {
  answer: ReadonlySignal<T | null>;
  dispose(): void;
}

export interface Engine {
  /** the columns, where they are in the browser */
  readonly local: BrowserEngine | null;
  readonly problem: ReadonlySignal<string | null>;
  ask<T>(query: Query): Live<T>;
  /** Follows a new state; what of it cannot be evaluated is in the answer, one sentence each. */
  apply(state: State): string[];
  /** The brush of `view` is being moved over bins lo to hi - 1. */
  drag(view: string, column: string, bins: Linear, lo: number, hi: number): void;
  /** Makes ready for a drag; may be called early and often. */
  prepare(view: string, column: string, bins: Linear): void;
  release(): void;
}

interface Cached {
  codes: Codes;
  size: number;
  all: ArrayLike<number> | null;
}

type HistQuery = Extract<Query, { kind: "hist" }>;
type MatrixQuery = Extract<Query, { kind: "matrix" }>;
type RowsQuery = Extract<Query, { kind: "rows" }>;
type GroupsQuery = Extract<Query, { kind: "groups" }>;

/** up to this many rows every view follows each step of a drag, beyond it when the pointer rests */
const FOLLOW = 50_000;
const REST_MS = 120;

export class BrowserEngine implements Engine, Source {
  readonly local = this;
  readonly problem = signal<string | null>(null);
  readonly rows: number;
  readonly cross: Crossfilter;
  /** rises whenever other rows are visible */
  readonly epoch = signal(0);
  readonly dragging = signal<{ drag: Drag; lo: number; hi: number } | null>(null);
  private columns: Map<string, Column>;
  private binned = new Map<string, Cached>();
  private factors = new Map<string, Factor>();
  private orders = new Map<string, Uint32Array>();
  private lists = new Map<string, Uint32Array>();
  private wheres = new Map<string, Uint8Array>();
  /** what is on the screen: the same query is answered once */
  private asked = new Map<string, { query: Query; answer: ReadonlySignal<unknown>; views: number }>();
  private applied = new Map<string, string>();
  private ready: { key: string; drag: Drag } | null = null;
  private rest: ReturnType<typeof setTimeout> | undefined;
  private visibleCount = computed(() => {
    this.epoch.value;
    return this.cross.visible();
  });

  constructor(columns: Column[], rows: number) {
    this.rows = rows;
    this.columns = new Map(columns.map((c) => [c.name, c]));
    this.cross = new Crossfilter(rows);
  }

  find(name: string): Column | undefined {
    return this.columns.get(name);
  }
  names(): string[] {
    return [...this.columns.keys()];
  }
  column(name: string): Column {
    const found = this.columns.get(name);
    if (!found) throw unknownColumn(name, this.names());
    return found;
  }

  /** Throws a FilterError where a tree cannot be evaluated. */
  test(tree: Tree): void {
    check(tree, this);
  }

  cellAt(column: string, row: number): Cell {
    return cell(this.column(column), row);
  }

  apply(state: State): string[] {
    const wrong: string[] = [];
    const wanted = new Map<string, Tree>(Object.entries(state.brushes));
    if (state.filter) wanted.set("", state.filter);
    let changed = false;
    for (const key of [...this.applied.keys()]) {
      if (wanted.has(key)) continue;
      this.cross.set(key, null);
      this.applied.delete(key);
      changed = true;
    }
    for (const [key, tree] of wanted) {
      const text = JSON.stringify(tree);
      if (this.applied.get(key) === text) continue;
      try {
        this.cross.set(key, evaluate(tree, this));
      } catch (error) {
        wrong.push(`${key ? `the brush of ${key}` : "the filter"}: ${(error as Error).message}`);
        this.cross.set(key, null);
      }
      this.applied.set(key, text);
      changed = true;
    }
    if (changed) this.touch();
    return wrong;
  }

  private touch(): void {
    this.lists.clear();
    this.ready = null;
    this.epoch.value++;
  }

  ask<T>(query: Query): Live<T> {
    const key = JSON.stringify(query);
    let entry = this.asked.get(key);
    if (!entry) {
      entry = { query, answer: computed(() => this.answer(query)), views: 0 };
      this.asked.set(key, entry);
    }
    const shared = entry;
    shared.views++;
    return {
      answer: shared.answer as ReadonlySignal<T | null>,
      dispose: () => {
        if (--shared.views === 0 && this.asked.get(key) === shared) this.asked.delete(key);
      },
    };
  }

  answer(query: Query): unknown {
    if (query.kind === "count") {
      const moving = this.dragging.value;
      return { all: this.rows, visible: moving ? moving.drag.total(moving.lo, moving.hi) : this.visibleCount.value };
    }
    if (query.kind === "hist") return this.hist(query);
    if (query.kind !== "groups" || query.scope !== "all") this.epoch.value; // all rows never change
    if (query.kind === "matrix") return this.matrix(query);
    if (query.kind === "rows") return this.page(query);
    return this.groups(query);
  }

  // --- counts

  bins(column: string, bins: Bins): Cached {
    const key = binKey(column, bins);
    let made = this.binned.get(key);
    if (!made) {
      made = { codes: binCodes(this.column(column), bins), size: binCount(bins) + 2, all: null };
      this.binned.set(key, made);
    }
    return made;
  }

  private hist(query: HistQuery): HistAnswer {
    const { view, column, bins, where } = query;
    const binned = this.bins(column, bins);
    const all = (binned.all ??= this.cross.count(binned, null));
    const moving = this.dragging.value;
    if (moving && !where) {
      const { drag, lo, hi } = moving;
      if (drag.view === view) return { all, context: drag.context, visible: drag.own(lo, hi) };
      return { all, ...drag.counts(binKey(column, bins) + view, view, binned, lo, hi) };
    }
    this.epoch.value;
    const visible = this.cross.count(binned, this.narrowed(this.cross.fail, where));
    if (!this.cross.has(view)) return { all, context: visible, visible };
    return { all, context: this.cross.count(binned, this.narrowed(this.cross.hiddenFrom(view), where)), visible };
  }

  /** `hidden` and the rows that `where` rejects. */
  private narrowed(hidden: Uint8Array, where: Tree | undefined): Uint8Array {
    if (!where) return hidden;
    const keep = this.where(where);
    const out = new Uint8Array(hidden.length);
    for (let i = 0; i < out.length; i++) out[i] = keep[i] && !hidden[i] ? 0 : 1;
    return out;
  }

  private where(tree: Tree): Uint8Array {
    const key = JSON.stringify(tree);
    let keep = this.wheres.get(key);
    if (!keep) {
      if (this.wheres.size > 32) this.wheres.clear();
      keep = evaluate(tree, this);
      this.wheres.set(key, keep);
    }
    return keep;
  }

  private matrix(query: MatrixQuery): MatrixAnswer {
    const x = this.bins(query.x, query.xbins);
    const y = this.bins(query.y, query.ybins);
    const value = query.value === null ? null : this.column(query.value).values;
    const hidden = this.narrowed(this.cross.hiddenFrom(query.view), query.where);
    const counts = new Float64Array(x.size * y.size);
    const sums = value ? new Float64Array(x.size * y.size) : null;
    for (let i = 0; i < this.rows; i++) {
      if (hidden[i]) continue;
      const at = y.codes[i] * x.size + x.codes[i];
      if (value) {
        const v = value[i];
        if (v !== v) continue;
        sums![at] += v;
      }
      counts[at]++;
    }
    const split = (flat: Float64Array) => Array.from({ length: y.size }, (_, k) => flat.subarray(k * x.size, (k + 1) * x.size));
    return { counts: split(counts), sum: sums && split(sums) };
  }

  // --- rows

  /** The rows of a scope in the order of `sort`, made once for each change of the visible rows. */
  list(query: Pick<RowsQuery, "view" | "sort" | "scope" | "where">): Uint32Array {
    const { view, sort, scope, where } = query;
    const key = JSON.stringify([scope === "context" && this.cross.has(view) ? view : null, sort, where ?? null]);
    let list = this.lists.get(key);
    if (list) return list;
    const order = this.order(sort);
    const base = scope === "context" ? this.cross.hiddenFrom(view) : this.cross.fail;
    const hidden = this.narrowed(base, where);
    const out = new Uint32Array(this.rows);
    let n = 0;
    for (let i = 0; i < out.length; i++) {
      const row = order ? order[i] : i;
      if (hidden[row] === 0) out[n++] = row;
    }
    list = out.subarray(0, n);
    this.lists.set(key, list);
    return list;
  }

  private order(sort: RowsQuery["sort"]): Uint32Array | null {
    if (!sort.length) return null;
    const key = JSON.stringify(sort);
    let order = this.orders.get(key);
    if (!order) {
      if (this.orders.size > 8) this.orders.clear();
      order = sortRows(this.rows, sort.map(([name, way]) => ({ column: this.column(name), descending: way === "desc" })));
      this.orders.set(key, order);
    }
    return order;
  }

  private page(query: RowsQuery): RowsAnswer {
    const list = this.list(query);
    const index = list.subarray(query.offset, query.offset + query.limit);
    const columns = query.columns.map((name) => this.columns.get(name));
    return {
      rows: Array.from(index, (row) => columns.map((c) => (c ? cell(c, row) : null))),
      index,
      total: list.length,
    };
  }

  factor(name: string): Factor {
    let made = this.factors.get(name);
    if (!made) {
      made = factor(this.column(name));
      this.factors.set(name, made);
    }
    return made;
  }

  private groups(query: GroupsQuery): GroupsAnswer {
    const parts = query.by.map((name) => this.factor(name));
    const none = query.scope === "all" ? new Uint8Array(this.rows) : this.cross.fail;
    const hidden = this.narrowed(none, query.where);
    const widths = parts.map((p) => p.keys.length + 1);
    const space = widths.reduce((a, b) => a * b, 1);
    const counts: Map<number, number> | Uint32Array = space <= 1 << 22 ? new Uint32Array(space) : new Map();
    for (let i = 0; i < this.rows; i++) {
      if (hidden[i]) continue;
      let at = 0;
      for (let p = 0; p < parts.length; p++) at = at * widths[p] + parts[p].codes[i] + 1;
      if (counts instanceof Map) counts.set(at, (counts.get(at) ?? 0) + 1);
      else counts[at]++;
    }
    const found: { at: number; count: number }[] = [];
    counts.forEach((count, at) => count && found.push({ at, count }));
    const decode = (at: number): Cell[] => {
      const key: Cell[] = [];
      for (let p = parts.length - 1; p >= 0; p--) {
        const code = at % widths[p];
        key[p] = code ? parts[p].keys[code - 1] : null;
        at = Math.floor(at / widths[p]);
      }
      return key;
    };
    const groups: Group[] = found.map(({ at, count }) => ({ key: decode(at), count }));
    groups.sort((a, b) => b.count - a.count || compareKeys(a.key, b.key));
    return { groups: groups.slice(0, query.limit), total: groups.length };
  }

  // --- drags

  prepare(view: string, column: string, bins: Linear): void {
    this.start(view, column, bins);
  }

  private start(view: string, column: string, bins: Linear): Drag {
    const key = view + binKey(column, bins);
    if (this.ready?.key !== key) {
      this.ready = { key, drag: this.cross.startDrag(view, this.bins(column, bins)) };
    }
    const { drag } = this.ready;
    for (const { query: q } of this.asked.values()) {
      if (q.kind === "hist" && q.view !== view && !q.where) drag.prepare(binKey(q.column, q.bins) + q.view, q.view, this.bins(q.column, q.bins));
    }
    return drag;
  }

  drag(view: string, column: string, bins: Linear, lo: number, hi: number): void {
    const moving = this.dragging.peek();
    const drag = moving?.drag.view === view ? moving.drag : this.start(view, column, bins);
    batch(() => {
      this.dragging.value = { drag, lo, hi };
      const tree = binTree(column, bins, lo, hi);
      if (this.rows <= FOLLOW) this.follow(view, tree);
      else {
        clearTimeout(this.rest);
        this.rest = setTimeout(() => this.follow(view, tree), REST_MS);
      }
    });
  }

  private follow(view: string, tree: Tree): void {
    this.cross.set(view, evaluate(tree, this));
    this.applied.set(view, JSON.stringify(tree));
    this.lists.clear();
    this.epoch.value++;
  }

  release(): void {
    clearTimeout(this.rest);
    this.dragging.value = null;
  }
}

const binKey = (column: string, bins: Bins) => JSON.stringify([column, bins]);

/** Groups in the order of their names; missing last. */
export function compareKeys(a: Cell[], b: Cell[]): number {
  for (let k = 0; k < a.length; k++) {
    const [x, y] = [a[k], b[k]];
    if (x === y) continue;
    if (x === null || y === null) return x === null ? 1 : -1;
    const order = typeof x === "string" && typeof y === "string" ? compareText(x, y) : Number(x) - Number(y);
    if (order) return order;
  }
  return 0;
}
