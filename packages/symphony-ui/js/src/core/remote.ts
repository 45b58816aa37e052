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
  private state: State = emptyState();
  private version = 1;
  private live = new Set<Entry>();
  private flying = false;
  private scheduled = false;

  constructor(post: Post) {
    this.post = post;
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

  prepare(): void {}

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
