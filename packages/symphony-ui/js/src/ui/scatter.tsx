// Points in a plane: raster on the CPU, lasso, zoom, hover, and a colour by any column.

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { extent } from "../core/bins.ts";
import { insideRows, makeGrid, nearestRow, type Grid, type Point } from "../core/lasso.ts";
import { draw, markRadius, MARKS, type Scene, type Viewport } from "../core/raster.ts";
import type { Tree, ViewSpec } from "../core/types.ts";
import { Axes, makeScale } from "./axes.tsx";
import { Card, Message } from "./card.tsx";
import { px, useLatest, useSize, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";
import { Legend, useShade } from "./legend.tsx";
import { mediaColumn } from "./media.tsx";
import { RemoteScatter } from "./remote-scatter.tsx";
import { pageColor, theme } from "./theme.ts";
import { Tooltip } from "./tooltip.tsx";

const LEFT = 46;
const TOP = 22;
const BOTTOM = 36;
const RIGHT = 10;

type Box = { x: [number, number]; y: [number, number] };
type Tool = "select" | "filter" | "pan";

export function Scatter({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { x, y } = view.options;
  const local = store.engine.local;
  for (const name of [x, y]) {
    const { kind } = store.column(name)!;
    if (kind !== "number" && kind !== "time") return <Card view={view} title={`${x} × ${y}`}><Message>{name} is {kind}; a scatter needs numbers or times.</Message></Card>;
  }
  return local ? <LocalScatter view={view} /> : <RemoteScatter view={view} />;
}

/** A span with a little air on both sides. */
export function padded(span: [number, number] | null): [number, number] {
  const [lo, hi] = span ?? [0, 1];
  const pad = (hi - lo) * 0.04 || Math.abs(lo) * 0.05 || 0.5;
  return [lo - pad, hi + pad];
}

function LocalScatter({ view }: { view: ViewSpec }) {
  const store = useStore();
  const engine = store.engine.local!;
  const options = view.options;
  const x = engine.column(options.x);
  const y = engine.column(options.y);
  const [box, size] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const tool = useSignal<Tool>("select");
  const polygon = useSignal<Point[]>([]);
  const pointing = useSignal(false);
  const highlight = useSignal<number | null>(null);
  const height = options.height ?? 380;
  const inner = { width: Math.max(10, size.width - LEFT - RIGHT), height: height - TOP - BOTTOM };
  const full = useMemo<Box>(() => ({ x: padded(extent(x.values!)), y: padded(extent(y.values!)) }), [x, y]);
  const zooming = useSignal<Box | null>(null);
  const stored = store.state.value.views[view.id] as Box | undefined;
  const viewport = useComputed<Box>(() => zooming.value ?? (store.state.value.views[view.id] as Box) ?? full);
  const colors = useShade(options.color ?? null);
  const grid = useMemo(() => ({ made: null as Grid | null }), [x, y]);
  const getGrid = () => (grid.made ??= makeGrid(x.values!, y.values!, [[full.x[0], full.y[0]], [full.x[1], full.y[1]]]));

  // draw: once a frame at most, whenever what is seen changes
  const frame = useRef(0);
  const lastDrawn = useSignal(0);
  const image = useRef<ImageData | null>(null);
  const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
  const paint = useLatest(() => {
    frame.current = 0;
    const element = canvas.current;
    if (!element || size.width === 0) return;
    const visible = engine.cross.fail;
    const scale = engine.rows > 200_000 ? 1 : ratio;
    const width = Math.round(inner.width * scale);
    const tall = Math.round(inner.height * scale);
    if (element.width !== width || element.height !== tall || !image.current) {
      element.width = width;
      element.height = tall;
      image.current = new ImageData(width, tall);
    }
    const root = element.closest(".symphony")!;
    const ghosts = store.state.peek().show_unfiltered;
    const shade = colors.scene(root, highlight.peek());
    const scene: Scene = {
      x: x.values!, y: y.values!, hidden: visible,
      pale: ghosts ? new Uint8Array(engine.rows) : engine.cross.has(view.id) ? engine.cross.hiddenFrom(view.id) : null,
      shade, background: pageColor(root, "var(--sym-card)"), ghost: pageColor(root, "var(--sym-ghost)"), ratio: scale,
    };
    const port: Viewport = { ...viewport.peek(), width, height: tall };
    const t = performance.now();
    const { drawn } = draw(image.current.data, port, scene);
    element.getContext("2d")!.putImageData(image.current, 0, 0);
    element.dataset.ms = (performance.now() - t).toFixed(1);
    element.dataset.drawn = String(drawn);
    lastDrawn.value = drawn;
  });
  const schedule = () => {
    if (!frame.current) frame.current = requestAnimationFrame(paint);
  };
  useSignalEffect(() => {
    engine.epoch.value;
    theme.value;
    viewport.value;
    highlight.value;
    store.state.value.show_unfiltered;
    schedule();
  });
  useEffect(schedule, [size.width, height, colors, x, y]);
  useEffect(() => () => cancelAnimationFrame(frame.current), []);

  const { x: spanX, y: spanY } = viewport.value;
  const sx = makeScale(spanX, [LEFT, LEFT + inner.width], Math.max(2, Math.round(inner.width / 90)), x.spec);
  const sy = makeScale(spanY, [TOP + inner.height, TOP], Math.max(2, Math.round(inner.height / 60)), y.spec);
  const toData = (px: number, py: number): Point => [
    spanX[0] + ((px - LEFT) / inner.width) * (spanX[1] - spanX[0]),
    spanY[1] - ((py - TOP) / inner.height) * (spanY[1] - spanY[0]),
  ];

  const saveZoom = (next: Box | null) => {
    zooming.value = null;
    const views = { ...store.state.peek().views };
    if (next) views[view.id] = next;
    else delete views[view.id];
    store.set({ views });
  };
  const zoomed = (at: Point, factor: number): Box => ({
    x: spanX.map((v) => at[0] + (v - at[0]) * factor) as [number, number],
    y: spanY.map((v) => at[1] + (v - at[1]) * factor) as [number, number],
  });
  const shifted = (dx: number, dy: number): Box => ({
    x: spanX.map((v) => v + dx * (spanX[1] - spanX[0])) as [number, number],
    y: spanY.map((v) => v + dy * (spanY[1] - spanY[0])) as [number, number],
  });

  const finishLasso = (points: Point[], add: boolean) => {
    if (points.length < 3) {
      if (store.hover.peek() >= 0) store.pick(store.hover.peek(), { shiftKey: false, ctrlKey: add, metaKey: false });
      else if (tool.value === "filter") store.brush(view.id, null);
      else if (!add) store.select([]);
      return;
    }
    if (tool.value === "filter") {
      store.brush(view.id, ["lasso", options.x, options.y, points] as Tree);
      return;
    }
    const mask = insideRows(x.values!, y.values!, points);
    const rows: number[] = [];
    const { fail } = engine.cross;
    for (let i = 0; i < mask.length; i++) if (mask[i] && fail[i] === 0) rows.push(i);
    store.select(rows, add ? "add" : "replace");
  };

  const grip = useRef<{ x: number; y: number; start: Box } | null>(null);
  const lasso = useRef<[number, number][]>([]);
  const place = (event: { clientX: number; clientY: number }) => {
    const rect = box.current!.getBoundingClientRect();
    return [event.clientX - rect.left, event.clientY - rect.top] as [number, number];
  };
  const onPointerDown = useLatest((event: PointerEvent) => {
    if (event.button !== 0) return;
    const [px, py] = place(event);
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    if (tool.value === "pan") grip.current = { x: px, y: py, start: viewport.peek() };
    else {
      lasso.current = [[px, py]];
      polygon.value = [[px, py]];
    }
  });
  const onPointerMove = useLatest((event: PointerEvent) => {
    const [px, py] = place(event);
    if (grip.current) {
      const { start } = grip.current;
      const dx = ((grip.current.x - px) / inner.width) * (start.x[1] - start.x[0]);
      const dy = ((py - grip.current.y) / inner.height) * (start.y[1] - start.y[0]);
      zooming.value = { x: [start.x[0] + dx, start.x[1] + dx], y: [start.y[0] + dy, start.y[1] + dy] };
      return;
    }
    if (polygon.peek().length) {
      const last = lasso.current[lasso.current.length - 1];
      if (Math.hypot(px - last[0], py - last[1]) < 3) return;
      lasso.current.push([px, py]);
      polygon.value = [...lasso.current];
      return;
    }
    const reach = (markRadius(store.engine.local!.rows) + 5) / inner.width;
    const [a, b] = toData(px, py);
    const tallReach = (reach * inner.width) / inner.height;
    pointing.value = true;
    store.hover.value = px < LEFT || py < TOP || py > TOP + inner.height ? -1 : nearestRow(
      getGrid(), x.values!, y.values!, a, b, reach * (spanX[1] - spanX[0]), tallReach * (spanY[1] - spanY[0]), (row) => engine.cross.fail[row] === 0,
    );
  });
  const onPointerUp = useLatest((event: PointerEvent) => {
    if (grip.current) {
      grip.current = null;
      if (zooming.peek()) saveZoom(zooming.peek());
      return;
    }
    if (!polygon.peek().length) return;
    polygon.value = [];
    finishLasso(lasso.current.length < 3 ? [] : lasso.current.map(([px, py]) => toData(px, py)), event.ctrlKey || event.metaKey || event.shiftKey);
  });
  const settle = useRef<ReturnType<typeof setTimeout>>(undefined);
  const onWheel = useLatest((event: WheelEvent) => {
    event.preventDefault();
    const [px, py] = place(event);
    const next = zoomed(toData(px, py), Math.exp(Math.max(-80, Math.min(80, event.deltaY)) * 0.003));
    zooming.value = next;
    clearTimeout(settle.current);
    settle.current = setTimeout(() => saveZoom(next), 250);
  });
  useEffect(() => {
    const element = box.current!;
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => {
      element.removeEventListener("wheel", onWheel);
      clearTimeout(settle.current);
    };
  }, []);
  const onKeyDown = useLatest((event: KeyboardEvent) => {
    const middle: Point = [(spanX[0] + spanX[1]) / 2, (spanY[0] + spanY[1]) / 2];
    const { key } = event;
    if (key === "+" || key === "=") saveZoom(zoomed(middle, 0.7));
    else if (key === "-") saveZoom(zoomed(middle, 1 / 0.7));
    else if (key === "0") saveZoom(null);
    else if (key === "ArrowLeft") saveZoom(shifted(-0.1, 0));
    else if (key === "ArrowRight") saveZoom(shifted(0.1, 0));
    else if (key === "ArrowUp") saveZoom(shifted(0, 0.1));
    else if (key === "ArrowDown") saveZoom(shifted(0, -0.1));
    else if (key === "Escape") {
      if (polygon.peek().length) polygon.value = [];
      else if (store.state.peek().brushes[view.id]) store.brush(view.id, null);
      else store.select([]);
    } else return;
    event.preventDefault();
  });

  const brush = store.state.value.brushes[view.id];
  const outline = (points: Point[]) => points.map(([a, b]) => `${sx(a).toFixed(1)},${sy(b).toFixed(1)}`).join(" ");
  const hovered = store.hover.value;
  const at = hovered >= 0 ? ([sx(x.values![hovered]), sy(y.values![hovered])] as Point) : null;
  const on = at && at[0] >= LEFT && at[0] <= LEFT + inner.width && at[1] >= TOP && at[1] <= TOP + inner.height;
  const data = () => {
    const list = engine.list({ view: view.id, sort: [], scope: "visible" }).subarray(0, 500);
    const names = [options.x, options.y, ...(options.color ? [options.color] : [])];
    const rows = engine.answer({ kind: "rows", view: view.id, columns: names, sort: [], offset: 0, limit: 500, scope: "visible" }) as any;
    return { columns: ["row", ...names], rows: Array.from(list, (row, k) => [row, ...rows.rows[k].map((v: any, c: number) => cellText(v, store.column(names[c]), true))]) };
  };
  const tools: [Tool, string, string][] = [["select", "Select", "Drag to select points"], ["filter", "Filter", "Drag to keep only the points inside"], ["pan", "Pan", "Drag to move; the wheel zooms"]];
  return (
    <Card
      view={view} title={`${options.x} × ${options.y}`} data={data} remark={`${count(lastDrawn.value)} points`}
      actions={
        <>
          {stored && <button type="button" class="sym-quiet" onClick={() => saveZoom(null)}>Reset zoom</button>}
          <span class="sym-segments" role="group" aria-label="What a drag does">
            {tools.map(([key, text, help]) => <button type="button" title={help} aria-pressed={tool.value === key} onClick={() => (tool.value = key)}>{text}</button>)}
          </span>
        </>
      }
    >
      <div
        class={`sym-scatter sym-tool-${tool.value}`} ref={box} style={px({ height })} tabindex={0} role="group"
        aria-label={`Scatter of ${options.y} over ${options.x}, ${count(lastDrawn.value)} points. Plus and minus zoom, arrow keys move, 0 resets. Use the filter box and Select visible to select by keyboard.`}
        onPointerDown={onPointerDown} onPointerMove={onPointerMove} onPointerUp={onPointerUp} onKeyDown={onKeyDown}
        onPointerLeave={() => (store.hover.value = -1, pointing.value = false)} onDblClick={() => saveZoom(null)}
      >
        <canvas ref={canvas} style={px({ left: LEFT, top: TOP, width: inner.width, height: inner.height })} aria-hidden="true" />
        <svg width={size.width} height={height} aria-hidden="true">
          <Axes x={sx} y={sy} left={LEFT} top={TOP} width={inner.width} height={inner.height} xName={options.x} yName={options.y} />
          <Rings view={view} toX={sx} toY={sy} box={[LEFT, TOP, inner.width, inner.height]} />
          {brush?.[0] === "lasso" && brush[1] === options.x && brush[2] === options.y && <polygon class="sym-lasso sym-lasso-set" points={outline(brush[3])} />}
          {polygon.value.length > 1 && <polygon class="sym-lasso" points={polygon.value.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ")} />}
          {on && <circle class="sym-hovered" cx={at[0]} cy={at[1]} r={markRadius(Math.min(MARKS, engine.rows)) + 3} />}
        </svg>
        {on && pointing.value && <Tooltip row={hovered} x={at[0]} y={at[1]} width={size.width} height={height} media={mediaColumn(store, options.media)} columns={[options.color, options.x, options.y]} />}
      </div>
      <Legend colors={colors} highlight={highlight} />
    </Card>
  );
}

const RINGS = 4000;

/** Circles about the selected points. */
function Rings({ view, toX, toY, box }: { view: ViewSpec; toX: (v: number) => number; toY: (v: number) => number; box: number[] }) {
  const store = useStore();
  const engine = store.engine.local!;
  const x = engine.column(view.options.x).values!;
  const y = engine.column(view.options.y).values!;
  engine.epoch.value;
  const rows = store.selected.value;
  if (!rows.length) return null;
  const small = rows.length > 120;
  const r = small ? 2.5 : markRadius(engine.rows) + 2;
  let d = "";
  let n = 0;
  for (const row of rows) {
    const cx = toX(x[row]);
    const cy = toY(y[row]);
    if (!(cx >= box[0] && cx <= box[0] + box[2] && cy >= box[1] && cy <= box[1] + box[3]) || engine.cross.fail[row]) continue;
    d += `M${(cx - r).toFixed(1)} ${cy.toFixed(1)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
    if (++n >= RINGS) break;
  }
  return <path class="sym-rings" d={d} />;
}
