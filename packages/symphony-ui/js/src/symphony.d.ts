// What a custom component of symphony-ui is given. The component's file ends in one `export default {...}`.

/** A filter as JSON arrays, such as ["between", "score", 0.2, 0.8]. */
export type Tree = [string, ...unknown[]];

export type Cell = number | string | boolean | null;

export type Bins = { type: "linear"; lo: number; hi: number; n: number } | { type: "levels"; levels: (string | number)[] };

/** Counts by bin, then those in none of the bins, then those that are missing. */
export interface Histogram {
  bins: Bins;
  all: ArrayLike<number>;
  context: ArrayLike<number>;
  visible: ArrayLike<number>;
}

export type Column =
  | { kind: "category" | "bool"; codes: ArrayLike<number>; labels: string[]; missing(row: number): boolean }
  | { kind: "number" | "time"; values: ArrayLike<number>; missing(row: number): boolean }
  | { kind: "text"; values: { at(row: number): string | null }; missing(row: number): boolean };

/** A set of rows. */
export interface Rows {
  has(row: number): boolean;
  readonly count: number;
  rows(): number[];
}

export type Key = "filter" | "brushes" | "group_by" | "selection" | "sort" | "tab" | "views" | "show_unfiltered" | "hover" | "visible";

export interface Context {
  /** how many rows the page has */
  readonly rows: number;
  /** the arguments of the Python class */
  readonly options: Record<string, any>;
  /** Keeps what the component wants to remember in the page's state. */
  setOptions(options: object): void;
  viewState(): any;
  column(name: string): Column;
  /** the rows that the filter and every brush keep */
  visible(): Rows;
  /** the rows that the filter and every other view's brush keep */
  context(): Rows;
  groups(): { key: Cell[]; count: number; name: string }[];
  hist(column: string, options?: { bins?: number }): Histogram;
  /** Asks a query of PROTOCOL.md and follows its answer; works where the rows stay in Python. */
  ask<T>(query: object, fn: (answer: T) => void): () => void;
  /** This view's brush; null clears it. */
  brush(tree: Tree | null): void;
  select(rows: Iterable<number>, mode?: "replace" | "add" | "remove" | "toggle"): void;
  selected(): number[];
  hover(row: number): void;
  state(): any;
  /** An element with the image, sound or text of a row. */
  instance(row: number, options?: { column?: string; size?: number }): HTMLElement;
  /** Calls `fn` when one of the keys changes; ends by itself when the view goes. */
  subscribe(keys: Key[], fn: () => void): () => void;
}

export interface Component {
  render(given: { ctx: Context; el: HTMLElement; signal: AbortSignal }): void | Promise<void>;
}
