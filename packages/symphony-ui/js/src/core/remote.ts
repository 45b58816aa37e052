// The engine whose rows stay in Python: all live queries travel together, one message in flight.

import { signal, type Signal } from "@preact/signals";
import { binTree } from "./bins.ts";
import type { Engine, Live } from "./engine.ts";
import { emptyState } from "./state.ts";
import type { Linear, Query, State } from "./types.ts";

export type Post = (state: State, queries: Query[]) => Promise<unknown[]>;

interface Entry {
  query: Query;
  answer: Signal<any>;
  asked: number;
}

export class RemoteEngine implements Engine {
  readonly local = null;
  readonly problem = signal<string | null>(null);
  private post: Post;
  private ahead: boolean;
  private state: State = emptyState();
  private version = 1;
  private live = new Set<Entry>();
  private flying = false;
  private scheduled = false;
  private ready = "";

  /** `ahead`: the counts of a drag are worth asking for before it begins */
  constructor(post: Post, ahead = false) {
    this.post = post;
    this.ahead = ahead;
  }

  ask<T>(query: Query): Live<T> {
    const entry: Entry = { query, answer: signal(null), asked: 0 };
    this.live.add(entry);
    this.schedule();
    return { answer: entry.answer, dispose: () => this.live.delete(entry) };
  }

  apply(state: State): string[] {
    this.state = state;
    this.version++;
    this.schedule();
    return [];
  }

  /** Asks for the counts that a drag needs, as if all bins were brushed; nothing is shown of it. */
  prepare(view: string, column: string, bins: Linear): void {
    const key = view + column + this.version;
    if (!this.ahead || this.flying || this.ready === key) return;
    this.ready = key;
    const brushes = { ...this.state.brushes, [view]: binTree(column, bins, 0, bins.n) };
    const counts = [...this.live].map((entry) => entry.query).filter((q) => q.kind === "hist" || q.kind === "matrix");
    this.post({ ...this.state, brushes }, counts).catch(() => {});
  }

  drag(view: string, column: string, bins: Linear, lo: number, hi: number): void {
    this.apply({ ...this.state, brushes: { ...this.state.brushes, [view]: binTree(column, bins, lo, hi) } });
  }

  release(): void {}

  private schedule(): void {
    if (this.scheduled || this.flying) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      void this.send();
    });
  }

  private async send(): Promise<void> {
    const { version } = this;
    const due = [...this.live].filter((entry) => entry.asked < version);
    if (!due.length) return;
    for (const entry of due) entry.asked = version;
    this.flying = true;
    try {
      const answers = await this.post(this.state, due.map((entry) => entry.query));
      due.forEach((entry, k) => {
        if (this.live.has(entry)) entry.answer.value = answers[k];
      });
      this.problem.value = null;
    } catch (error) {
      this.problem.value = (error as Error).message;
    }
    this.flying = false;
    if ([...this.live].some((entry) => entry.asked < this.version)) this.schedule();
  }
}
