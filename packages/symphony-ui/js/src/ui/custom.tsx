// A component of the user's own: one ES module, the same in every host. See static/symphony.d.ts.

import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { render as mount } from "preact";
import { extent, niceBins } from "../core/bins.ts";
import type { Store } from "../core/store.ts";
import type { Bins, GroupsAnswer, HistAnswer, Query, State, Tree, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { keyText, StoreContext, useSignal, useStore } from "./context.tsx";
import { Instance, mediaColumn } from "./media.tsx";

export function Custom({ view }: { view: ViewSpec }) {
  const store = useStore();
  const field = useRef<HTMLDivElement>(null);
  const problem = useSignal<string | null>(null);
  useEffect(() => {
    const gone = new AbortController();
    const host = document.createElement("div");
    field.current!.append(host);
    store.host.component(view.type).then(
      async (made) => {
        const component = typeof made === "function" ? await made() : made;
        if (gone.signal.aborted) return;
        if (typeof component?.render !== "function") throw new Error("its module must end in `export default { render({ctx, el, signal}) {...} }`");
        await component.render({ ctx: makeContext(store, view, gone.signal), el: host, signal: gone.signal });
      },
    ).catch((error) => (problem.value = `${view.type}: ${error?.message ?? error}`));
    return () => {
      gone.abort();
      host.remove();
    };
  }, [store, view]);
  return (
    <Card view={view} title={view.type}>
      {problem.value && <Message>{problem.value}</Message>}
      <div ref={field} class="sym-custom" />
    </Card>
  );
}

type Key = keyof State | "hover" | "visible";

/** The contract of notes section 7, for one view. */
function makeContext(store: Store, view: ViewSpec, signal: AbortSignal) {
  const engine = store.engine.local;
  const local = () => {
    if (!engine) throw new Error("the rows of this page stay in Python: use ctx.ask");
    return engine;
  };
  const bits = (hidden: () => Uint8Array) => ({
    has: (row: number) => hidden()[row] === 0,
    get count() {
      return hidden().reduce((n, h) => n + (h === 0 ? 1 : 0), 0);
    },
    rows() {
      const mask = hidden();
      const out: number[] = [];
      for (let i = 0; i < mask.length; i++) if (mask[i] === 0) out.push(i);
      return out;
    },
  });
  const binsOf = (name: string, n: number): Bins => {
    const column = store.column(name);
    const found = local().column(name);
    if (found.codes) return { type: "levels", levels: found.labels.slice(0, n) };
    return niceBins(column?.extent ?? extent(found.values ?? []) ?? [0, 1], !!column?.integer, n, column?.kind === "time");
  };
  return {
    rows: store.spec.rows,
    options: view.options,
    setOptions: (options: object) => store.setView(view.id, { ...store.state.peek().views[view.id], ...options }),
    viewState: () => store.state.peek().views[view.id],
    column(name: string) {
      const c = local().column(name);
      return c.codes
        ? { kind: c.kind, codes: c.codes, labels: c.labels, missing: (row: number) => c.codes![row] < 0 }
        : c.values ? { kind: c.kind, values: c.values, missing: (row: number) => Number.isNaN(c.values![row]) }
        : { kind: c.kind, values: { at: (row: number) => c.text!(row) }, missing: (row: number) => c.text!(row) === null };
    },
    visible: () => bits(() => local().cross.fail),
    context: () => {
      const hidden = local().cross.hiddenFrom(view.id);
      return bits(() => hidden);
    },
    groups: () => {
      const by = store.state.peek().group_by;
      const answer = local().answer({ kind: "groups", by, limit: 1000 }) as GroupsAnswer;
      return answer.groups.map((g) => ({ ...g, name: g.key.map(keyText).join(", ") }));
    },
    hist: (name: string, { bins = 20 }: { bins?: number } = {}) => {
      const made = binsOf(name, bins);
      return { bins: made, ...(local().answer({ kind: "hist", view: view.id, column: name, bins: made }) as HistAnswer) };
    },
    ask: <T,>(query: Query, fn: (answer: T) => void) => {
      const live = store.engine.ask<T>(query);
      const stop = live.answer.subscribe((answer) => answer !== null && fn(answer));
      const end = () => {
        stop();
        live.dispose();
      };
      signal.addEventListener("abort", end);
      return end;
    },
    brush: (tree: Tree | null) => store.brush(view.id, tree),
    select: (rows: Iterable<number>, mode?: "replace" | "add" | "remove" | "toggle") => store.select(rows, mode),
    selected: () => store.selected.peek(),
    hover: (row: number) => (store.hover.value = row),
    state: () => store.state.peek(),
    instance(row: number, options: { column?: string; size?: number } = {}): HTMLElement {
      const element = document.createElement("span");
      const column = mediaColumn(store, options.column);
      if (column) mount(<StoreContext.Provider value={store}><Instance column={column} row={row} size={options.size} /></StoreContext.Provider>, element);
      signal.addEventListener("abort", () => mount(null, element));
      return element;
    },
    subscribe(keys: Key[], fn: () => void) {
      let last = "";
      const stop = effect(() => {
        const seen = keys.map((key) => (key === "hover" ? store.hover.value : key === "visible" ? (engine ? engine.epoch.value : store.state.value.brushes) : store.state.value[key]));
        const text = JSON.stringify(seen);
        if (last && text !== last) queueMicrotask(() => !signal.aborted && fn());
        last = text;
      });
      signal.addEventListener("abort", stop);
      return stop;
    },
  };
}

