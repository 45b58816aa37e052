// One page: its spec, its one state with undo, its engine, and what a host must do for it.

import { batch, computed, signal } from "@preact/signals";
import type { Engine } from "./engine.ts";
import { decodeRows, emptyState, encodeRows, fitState, readState } from "./state.ts";
import type { Annotations, ColumnSpec, Spec, State, StateMessage, Tree } from "./types.ts";

export interface Media {
  /** An address for an img or audio element, or null where the row has none. */
  url(column: string, row: number): Promise<string | null>;
  /** The text of a row's media of type text. */
  text(column: string, row: number): Promise<string | null>;
}

export interface Host {
  media: Media;
  /** Loads the module of a custom component: its default export. */
  component(name: string): Promise<any>;
  /** Sends changed annotations home; absent where they can only be downloaded. */
  annotate?: (changed: Annotations) => void;
  /** A copy of this page with the given spec, where the page is a file. */
  copy?: (spec: Spec) => Blob;
}

export interface Note {
  label: string;
  note: string;
}

const UNDONE: (keyof State)[] = ["filter", "brushes", "group_by", "selection", "sort"];
const UNDO_LIMIT = 200;

export class Store {
  readonly spec: Spec;
  readonly engine: Engine;
  readonly host: Host;
  readonly origin = Math.random().toString(36).slice(2, 12);
  readonly state = signal<State>(emptyState());
  /** the last state that came from elsewhere: hosts do not send it back */
  received: State | null = null;
  readonly hover = signal(-1);
  /** what the page has to say about itself, by topic */
  readonly notices = signal<Record<string, string>>({});
  readonly notes = signal<Map<number, Note>>(new Map());
  readonly canUndo = signal(false);
  readonly canRedo = signal(false);
  readonly selected = computed(() => {
    try {
      return decodeRows(this.state.value.selection.rows);
    } catch {
      return [];
    }
  });
  readonly selectedSet = computed(() => new Set(this.selected.value));
  private past: State[] = [];
  private future: State[] = [];
  private seq = 0;
  private seen = new Map<string, number>();
  private anchor: number | null = null;
  private run: string | null = null;

  constructor(spec: Spec, engine: Engine, host: Host, state?: State) {
    this.spec = spec;
    this.engine = engine;
    this.host = host;
    const start = fitState(readState(state ?? spec.state ?? emptyState()), spec);
    this.put(start);
    this.received = start;
    const { row = [], label = [], note = [] } = spec.annotations ?? {};
    this.notes.value = new Map(row.map((r, k) => [r, { label: label[k] ?? "", note: note[k] ?? "" }]));
  }

  /** An id that no other page in the same document has. */
  uid(id: string): string {
    return `sym-${this.origin}-${id}`;
  }

  column(name: string): ColumnSpec | undefined {
    return this.spec.columns.find((c) => c.name === name);
  }

  notify(topic: string, text: string | null): void {
    const next = { ...this.notices.value };
    if (text) next[topic] = text;
    else delete next[topic];
    this.notices.value = next;
  }

  private put(state: State): void {
    batch(() => {
      this.engine.release();
      const wrong = this.engine.apply(state);
      this.notify("filter", wrong.join("; ") || null);
      this.state.value = state;
    });
  }

  /** Changes the state; what a person would want back can be undone. Changes with the same `run` in a row are one. */
  set(patch: Partial<State>, run: string | null = null): void {
    const before = this.state.peek();
    const next = { ...before, ...patch };
    if (JSON.stringify(next) === JSON.stringify(before)) {
      this.engine.release();
      return;
    }
    if (UNDONE.some((key) => key in patch)) {
      if (!run || run !== this.run) this.past.push(before);
      this.run = run;
      if (this.past.length > UNDO_LIMIT) this.past.shift();
      this.future = [];
    }
    this.put(next);
    this.marks();
  }

  undo(): void {
    this.travel(this.past, this.future);
  }
  redo(): void {
    this.travel(this.future, this.past);
  }
  private travel(from: State[], to: State[]): void {
    const target = from.pop();
    if (!target) return;
    const now = this.state.peek();
    to.push(now);
    this.run = null;
    this.put({ ...target, tab: now.tab, views: now.views, show_unfiltered: now.show_unfiltered });
    this.marks();
  }
  private marks(): void {
    this.canUndo.value = this.past.length > 0;
    this.canRedo.value = this.future.length > 0;
  }

  brush(view: string, tree: Tree | null, run: string | null = null): void {
    const brushes = { ...this.state.peek().brushes };
    if (tree) brushes[view] = tree;
    else delete brushes[view];
    this.set({ brushes }, run);
  }

  view<T>(id: string): T | undefined {
    return this.state.value.views[id];
  }
  setView(id: string, value: unknown): void {
    this.set({ views: { ...this.state.peek().views, [id]: value } });
  }

  select(rows: Iterable<number>, mode: "replace" | "add" | "remove" | "toggle" = "replace"): void {
    let all = rows;
    if (mode !== "replace") {
      const next = new Set(this.selected.peek());
      for (const row of rows) {
        if (mode === "remove" || (mode === "toggle" && next.has(row))) next.delete(row);
        else next.add(row);
      }
      all = next;
    }
    this.set({ selection: { rows: encodeRows(all) } });
  }

  /** A click on a row of an ordered list: alone, with Control added or taken away, with Shift up to the last. */
  pick(row: number, event: { shiftKey: boolean; ctrlKey: boolean; metaKey: boolean }, order?: ArrayLike<number>): void {
    if (event.shiftKey && order && this.anchor !== null) {
      const list = Array.from(order);
      const [a, b] = [list.indexOf(this.anchor), list.indexOf(row)];
      if (a >= 0 && b >= 0) {
        this.select(list.slice(Math.min(a, b), Math.max(a, b) + 1), event.ctrlKey || event.metaKey ? "add" : "replace");
        return;
      }
    }
    this.anchor = row;
    if (event.ctrlKey || event.metaKey) this.select([row], "toggle");
    else {
      const now = this.selected.peek();
      this.select(now.length === 1 && now[0] === row ? [] : [row]);
    }
  }

  clear(): void {
    this.set({ filter: null, brushes: {}, selection: { rows: "" } });
  }

  // --- between views of the same page

  message(): StateMessage {
    return { state: this.state.peek(), origin: this.origin, seq: ++this.seq };
  }

  /** A state from elsewhere; our own and late ones are ignored. */
  receive(message: StateMessage): void {
    const { state, origin, seq } = message;
    if (origin === this.origin || seq <= (this.seen.get(origin) ?? -1)) return;
    this.seen.set(origin, seq);
    try {
      const next = fitState(readState(state), this.spec);
      if (JSON.stringify(next) === JSON.stringify(this.state.peek())) return;
      this.received = next;
      this.past.push(this.state.peek());
      this.put(next);
      this.marks();
    } catch (error) {
      this.notify("state", (error as Error).message);
    }
  }

  annotate(rows: Iterable<number>, change: Partial<Note>): void {
    const next = new Map(this.notes.peek());
    const changed: Annotations = { row: [], label: [], note: [] };
    for (const row of rows) {
      const now = { label: "", note: "", ...next.get(row), ...change };
      if (now.label || now.note) next.set(row, now);
      else next.delete(row);
      changed.row.push(row);
      changed.label.push(now.label);
      changed.note.push(now.note);
    }
    this.notes.value = next;
    this.host.annotate?.(changed);
  }

  receiveAnnotations(changed: Annotations): void {
    const next = new Map(this.notes.peek());
    changed.row.forEach((row, k) => {
      const now = { label: changed.label[k] ?? "", note: changed.note[k] ?? "" };
      if (now.label || now.note) next.set(row, now);
      else next.delete(row);
    });
    this.notes.value = next;
  }

  annotations(): Annotations {
    const rows = [...this.notes.peek().keys()].sort((a, b) => a - b);
    const all = rows.map((row) => this.notes.peek().get(row)!);
    return { row: rows, label: all.map((n) => n.label), note: all.map((n) => n.note) };
  }
}
