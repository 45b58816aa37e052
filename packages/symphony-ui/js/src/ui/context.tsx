// What components share: the store, live answers, sizes.

import { useComputed, useSignal, type ReadonlySignal } from "@preact/signals";
import { createContext, type RefObject } from "preact";
import { useContext, useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { Store } from "../core/store.ts";
import type { Cell, ColumnSpec, GroupsAnswer, Query, Tree } from "../core/types.ts";

export const StoreContext = createContext<Store>(null as any);
export const useStore = (): Store => useContext(StoreContext);

/** A signal with the answer to `query` that follows the state. */
export function useLive<T>(query: Query): ReadonlySignal<T | null> {
  const { engine } = useStore();
  const key = JSON.stringify(query);
  const live = useMemo(() => engine.ask<T>(query), [engine, key]);
  useEffect(() => () => live.dispose(), [live]);
  return live.answer;
}

/** The answer itself; where a new one is on its way, the last one. */
export function useAnswer<T>(query: Query): T | null {
  const now = useLive<T>(query).value;
  const last = useRef<T | null>(null);
  if (now !== null) last.current = now;
  return last.current;
}

/** The size of an element, followed. */
export function useSize<E extends HTMLElement>(): [RefObject<E | null>, { width: number; height: number }] {
  const ref = useRef<E>(null);
  const size = useSignal({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return;
    const measure = () => {
      const { clientWidth: width, clientHeight: height } = element;
      const last = size.peek();
      if (width !== last.width || height !== last.height) size.value = { width, height };
    };
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    measure();
    return () => watch.disconnect();
  }, []);
  return [ref, size.value];
}

/** A function that keeps its identity and does what the last render's did. */
export function useLatest<F extends (...args: any[]) => any>(fn: F): F {
  const ref = useRef(fn);
  ref.current = fn;
  return useMemo(() => ((...args: any[]) => ref.current(...args)) as F, []);
}

export const keyText = (key: Cell): string => (key === null ? "missing" : String(key));

/** The most frequent values of a column over all rows, at most `limit`, without missing. */
export function useLevels(column: string | null, limit: number): { levels: string[]; keys: Cell[]; total: number } | null {
  const answer = useAnswer<GroupsAnswer>({ kind: "groups", by: column === null ? [] : [column], limit: limit + 1, scope: "all" });
  return useMemo(() => {
    if (!answer || column === null) return null;
    const keys = answer.groups.map((g) => g.key[0]).filter((k) => k !== null).slice(0, limit);
    return { levels: keys.map(String), keys, total: answer.total };
  }, [answer, column, limit]);
}

/** A tree for the rows of one group. */
export function groupTree(columns: (ColumnSpec | undefined)[], key: Cell[]): Tree {
  const tests = columns.map((column, k): Tree => {
    const value = key[k];
    if (value === null) return ["missing", column!.name];
    if (column!.kind === "time") return ["==", column!.name, { time: value as number }];
    if (column!.kind === "text" && column!.dtype?.endsWith("int64")) return ["==", column!.name, { int: String(value) }];
    return ["==", column!.name, value];
  });
  return tests.length === 1 ? tests[0] : ["and", ...tests];
}

export { useComputed, useSignal };

/** A style whose numbers are pixels. */
export const px = (style: Record<string, string | number | undefined>): Record<string, string | undefined> =>
  Object.fromEntries(Object.entries(style).map(([key, v]) => [key, typeof v === "number" ? `${v}px` : v]));
