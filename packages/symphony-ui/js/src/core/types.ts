// The shapes of PROTOCOL.md: page spec, filter tree, state, queries.

export type Kind = "number" | "category" | "bool" | "time" | "text" | "media";

export interface ColumnSpec {
  name: string;
  kind: Kind;
  dtype?: string;
  integer?: boolean;
  zone?: string | null;
  url?: boolean;
  levels?: number | null;
  extent?: [number, number] | null;
  media?: { type: "image" | "audio" | "text"; size?: number } | null;
}

export type Options = Record<string, any>;

export interface ViewSpec {
  id: string;
  type: string;
  options: Options;
}

export interface TabSpec {
  tab: string;
  rows: ViewSpec[][];
}

export interface Annotations {
  row: number[];
  label: string[];
  note: string[];
}

export interface Spec {
  v: number;
  title: string;
  id: string | null;
  rows: number;
  host: "saved" | "live" | "widget";
  engine: "browser" | "remote";
  columns: ColumnSpec[];
  layout: TabSpec[];
  state: State;
  annotations?: Annotations;
  custom?: Record<string, { esm: string }>;
  toolbar?: boolean;
  notes?: string[];
  /** remote: counts of a drag are cheaper when they are asked for before it begins */
  ahead?: boolean;
}

export type Value = number | string | boolean | { time: number } | { int: string };
export type Tree = [string, ...any[]];

export interface State {
  v: 1;
  filter: Tree | null;
  brushes: Record<string, Tree>;
  group_by: string[];
  selection: { rows: string };
  sort: [string, "asc" | "desc"][];
  tab: string | null;
  views: Record<string, any>;
  show_unfiltered: boolean;
}

export interface StateMessage {
  state: State;
  origin: string;
  seq: number;
}

export interface Linear {
  type: "linear";
  lo: number;
  hi: number;
  n: number;
}

export interface Levels {
  type: "levels";
  levels: (string | number)[];
}

export type Bins = Linear | Levels;

export type Query =
  | { kind: "count" }
  | { kind: "hist"; view: string; column: string; bins: Bins; where?: Tree }
  | { kind: "matrix"; view: string; x: string; xbins: Bins; y: string; ybins: Bins; value: string | null; where?: Tree }
  | {
      kind: "rows";
      view: string;
      columns: string[];
      sort: [string, "asc" | "desc"][];
      offset: number;
      limit: number;
      scope: "visible" | "context";
      where?: Tree;
    }
  | { kind: "groups"; by: string[]; limit: number; scope?: "visible" | "all"; where?: Tree };

export interface CountAnswer {
  all: number;
  visible: number;
}

export interface HistAnswer {
  all: ArrayLike<number>;
  context: ArrayLike<number>;
  visible: ArrayLike<number>;
}

export interface MatrixAnswer {
  counts: ArrayLike<number>[];
  sum: ArrayLike<number>[] | null;
}

/** A cell as it travels: a time is epoch milliseconds. */
export type Cell = number | string | boolean | null;

export interface RowsAnswer {
  rows: Cell[][];
  index: ArrayLike<number>;
  total: number;
}

export interface Group {
  key: Cell[];
  count: number;
}

export interface GroupsAnswer {
  groups: Group[];
  total: number;
}
