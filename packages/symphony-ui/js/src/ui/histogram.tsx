// A histogram with a brush. The bars are three paths bound to signals: a drag step renders no component.

import { computed, useComputed, useSignal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { binTree, edge, treeBins } from "../core/bins.ts";
import type { ColumnSpec, HistAnswer, Linear } from "../core/types.ts";
import { useLatest, useLive, useSize, useStore } from "./context.tsx";
import { axisNumber } from "./format.ts";

interface Props {
  view: string;
  column: ColumnSpec;
  bins: Linear;
  height?: number;
}

/** The outline of the first `n` counts as bars on a w x h field. */
export function barsPath(counts: ArrayLike<number>, n: number, width: number, height: number, most: number): string {
  if (!(most > 0) || !(width > 0)) return "";
  const step = width / n;
  const gap = step > 5 ? 1 : step > 2.5 ? 0.5 : 0;
  let d = "";
  for (let k = 0; k < n; k++) {
    const c = counts[k];
    if (!c) continue;
    const tall = Math.max(1, (c / most) * height);
    d += `M${(k * step + gap / 2).toFixed(1)} ${height}v${(-tall).toFixed(1)}h${(step - gap).toFixed(1)}v${tall.toFixed(1)}z`;
  }
  return d;
}

export function most(counts: ArrayLike<number>, n: number): number {
  let top = 0;
  for (let k = 0; k < n; k++) if (counts[k] > top) top = counts[k];
  return top;
}

const label = (column: ColumnSpec, bins: Linear, k: number) => {
  const v = edge(bins, k);
  return column.integer && bins.hi - bins.lo === bins.n ? axisNumber(Math.min(bins.hi - 0.5, v + 0.5), column) : axisNumber(v, column);
};

/** How a range of bins reads: integers with a bin each have closed ends. */
export function rangeText(column: ColumnSpec, bins: Linear, lo: number, hi: number): string {
  const single = column.integer && bins.hi - bins.lo === bins.n;
  const from = label(column, bins, lo);
  const to = single ? axisNumber(edge(bins, hi) - 0.5, column) : label(column, bins, hi);
  return from === to ? from : `${from} – ${to}`;
}

export function Histogram({ view, column, bins, height = 56 }: Props) {
  const store = useStore();
  const answer = useLive<HistAnswer>({ kind: "hist", view, column: column.name, bins });
  const [ref, { width }] = useSize<HTMLDivElement>();
  const { n } = bins;
  const moving = useSignal<[number, number] | null>(null);
  const brush = useComputed(() => moving.value ?? treeBins(store.state.value.brushes[view], column.name, bins));
  const ghost = store.state.value.show_unfiltered;
  const { all, context, visible } = useMemo(() => {
    const path = (part: keyof HistAnswer): ReadonlySignal<string> => computed(() => {
      const a = answer.value;
      return a ? barsPath(a[part], n, width, height, most(ghost ? a.all : a.context, n)) : "";
    });
    return { all: path("all"), context: path("context"), visible: path("visible") };
  }, [answer, n, width, height, ghost]);
  const pointer = usePointer(view, column, bins, width, moving);
  const step = n ? width / n : 0;
  const range = brush.value;
  const name = column.name;
  const text = range ? rangeText(column, bins, ...range) : "no brush";
  return (
    <div class="sym-hist" ref={ref}>
      <svg
        width={width} height={height} tabindex={0} role="slider" aria-orientation="horizontal"
        aria-label={`Brush on ${name}. Arrow keys move it, Shift and arrow keys widen or narrow it, Escape clears it.`}
        aria-valuemin={0} aria-valuemax={n - 1} aria-valuenow={range ? range[0] : 0} aria-valuetext={text}
        data-column={name} {...pointer}
      >
        {ghost && <path class="sym-bar-all" d={all} />}
        <path class="sym-bar-context" d={context} />
        <path class="sym-bar-visible" d={visible} />
        {range && (
          <g class="sym-brush">
            <rect x={range[0] * step} y={0} width={Math.max(1, (range[1] - range[0]) * step)} height={height} />
            <line x1={range[0] * step} x2={range[0] * step} y1={0} y2={height} />
            <line x1={range[1] * step} x2={range[1] * step} y1={0} y2={height} />
          </g>
        )}
        <line class="sym-base" x1={0} x2={width} y1={height - 0.5} y2={height - 0.5} />
      </svg>
      <div class="sym-ends">
        <span>{label(column, bins, 0)}</span>
        {range && <button type="button" class="sym-range" title="Clear this brush" onClick={() => store.brush(view, null)}>{text} <b aria-hidden="true">×</b></button>}
        <span>{label(column, bins, n)}</span>
      </div>
    </div>
  );
}

/** Pointer and keys on a field of bins: draws, moves, resizes and clears a brush that snaps to edges. */
function usePointer(
  view: string, column: ColumnSpec, bins: Linear, width: number, moving: { value: [number, number] | null; peek(): [number, number] | null },
) {
  const store = useStore();
  const { engine } = store;
  const grip = useRef<{ mode: "new" | "move" | "lo" | "hi"; at: number; start: [number, number]; moved: boolean } | null>(null);
  const { n } = bins;
  const current = () => treeBins(store.state.peek().brushes[view], column.name, bins);
  useEffect(() => () => {
    if (grip.current) engine.release();
  }, []);
  const place = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    return ((event.clientX - box.left) / (box.width || 1)) * n;
  };
  const clamp = (k: number, lo: number, hi: number) => Math.max(lo, Math.min(hi, k));

  const onPointerDown = useLatest((event: PointerEvent) => {
    if (event.button !== 0) return;
    const x = place(event);
    const slack = (7 / (width || 1)) * n;
    const now = current();
    const at = clamp(Math.floor(x), 0, n - 1);
    const mode = !now ? "new" : Math.abs(x - now[0]) < slack ? "lo" : Math.abs(x - now[1]) < slack ? "hi" : x > now[0] && x < now[1] ? "move" : "new";
    grip.current = { mode, at: mode === "move" ? x : at, start: now ?? [at, at + 1], moved: false };
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    engine.prepare(view, column.name, bins);
    event.preventDefault();
    (event.currentTarget as HTMLElement).focus({ preventScroll: true });
  });
  const onPointerMove = useLatest((event: PointerEvent) => {
    const g = grip.current;
    if (!g) return;
    const x = place(event);
    const at = clamp(Math.floor(x), 0, n - 1);
    let [lo, hi] = g.start;
    if (g.mode === "new") [lo, hi] = [Math.min(g.at, at), Math.max(g.at, at) + 1];
    else if (g.mode === "move") {
      const shift = clamp(Math.round(x - g.at), -lo, n - hi);
      [lo, hi] = [lo + shift, hi + shift];
    } else {
      const other = g.mode === "lo" ? hi : lo;
      const e = clamp(Math.round(x), 0, n);
      [lo, hi] = e === other ? (e < n ? [e, e + 1] : [e - 1, e]) : [Math.min(e, other), Math.max(e, other)];
    }
    const last = moving.peek();
    g.moved ||= g.mode !== "new" || at !== g.at || Math.abs(x - g.at) > 0.5;
    if (last && last[0] === lo && last[1] === hi) return;
    moving.value = [lo, hi];
    engine.drag(view, column.name, bins, lo, hi);
  });
  const finish = useLatest(() => {
    const g = grip.current;
    grip.current = null;
    const range = moving.peek();
    moving.value = null;
    if (!g) return;
    if (g.mode === "new" && !range) {
      // a click: on the brush it stays, elsewhere it clears the brush, or takes one bin
      store.brush(view, current() ? null : binTree(column.name, bins, g.at, g.at + 1));
    } else if (range) store.brush(view, binTree(column.name, bins, range[0], range[1]));
    else engine.release();
  });
  const onKeyDown = useLatest((event: KeyboardEvent) => {
    const now = current();
    const { key, shiftKey } = event;
    if (key === "Escape") {
      if (now) store.brush(view, null);
      else return;
    } else if (key === "ArrowLeft" || key === "ArrowRight" || key === "Home" || key === "End") {
      let [lo, hi] = now ?? [0, 0];
      const by = key === "ArrowLeft" || key === "Home" ? -1 : 1;
      const far = key === "Home" || key === "End";
      if (!now) [lo, hi] = by > 0 && !far ? [0, 1] : far && by < 0 ? [0, 1] : [n - 1, n];
      else if (shiftKey) hi = clamp(far ? (by > 0 ? n : lo + 1) : hi + by, lo + 1, n);
      else {
        const shift = clamp(far ? by * n : by, -lo, n - hi);
        [lo, hi] = [lo + shift, hi + shift];
      }
      store.brush(view, binTree(column.name, bins, lo, hi));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const rests = useRef(0);
  const onPointerLeave = useLatest(() => void rests.current++);
  const onPointerEnter = useLatest(() => {
    const number = rests.current;
    setTimeout(() => {
      const { local } = store.engine;
      if (!grip.current && (local ? local.rows <= 2e6 : rests.current === number)) engine.prepare(view, column.name, bins);
    }, store.engine.local ? 60 : 200); // a pointer on its way elsewhere asks a database nothing
  });
  return { onPointerDown, onPointerMove, onPointerUp: finish, onPointerCancel: finish, onKeyDown, onPointerEnter, onPointerLeave };
}
