// Lines over a number, a time or categories: bands, log axes, one series a group; a drag brushes x.

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { natural } from "../core/metrics.ts";
import { makeSeries, type Series, type SeriesRow } from "../core/series.ts";
import type { ColumnSpec, RowsAnswer, Tree, ViewSpec } from "../core/types.ts";
import { Axes, makeScale, type Scale } from "./axes.tsx";
import { Card } from "./card.tsx";
import { px, useAnswer, useLatest, useSize, useStore } from "./context.tsx";
import { axisNumber, cellText, count, number } from "./format.ts";
import { Swatch } from "./legend.tsx";
import { padded } from "./scatter.tsx";
import { Slider } from "./slider.tsx";
import { CATEGORIES } from "./theme.ts";

const TOP = 22;
const RIGHT = 14;
const BOTTOM = 36;
const ROWS = 50_000;
const SHOWN = 40;
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 2"];

const color = (k: number) => CATEGORIES[k % CATEGORIES.length];
const dash = (k: number) => DASHES[Math.floor(k / CATEGORIES.length) % DASHES.length];

const listed = (v: string | string[] | null | undefined): string[] => (v === null || v === undefined ? [] : Array.isArray(v) ? v : [v]);

export function Lines({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { options } = view;
  const ys = listed(options.y);
  const by = listed(options.by);
  const columns = [options.x, ...ys, ...by, ...(options.lo ? [options.lo] : []), ...(options.hi ? [options.hi] : [])];
  const xc = store.column(options.x)!;
  const answer = useAnswer<RowsAnswer>({ kind: "rows", view: view.id, columns, sort: [], offset: 0, limit: ROWS, scope: "context" });
  const made = useMemo(() => {
    if (!answer) return null;
    const ordinal = xc.kind !== "number" && xc.kind !== "time";
    const names = ordinal ? [...new Set(answer.rows.map((r) => r[0]).filter((v) => v !== null).map(String))].sort(natural) : null;
    const place = new Map(names?.map((name, k) => [name, k]));
    const rows: SeriesRow[] = [];
    let left = 0;
    for (const row of answer.rows) {
      const x = row[0] === null ? NaN : ordinal ? place.get(String(row[0]))! : Number(row[0]);
      const group = row.slice(1 + ys.length, 1 + ys.length + by.length).map((v, k) => cellText(v, store.column(by[k]))).join(" · ");
      ys.forEach((y, k) => {
        const v = row[1 + k];
        const value = v === null ? NaN : Number(v);
        if (!Number.isFinite(x) || !Number.isFinite(value) || (options.log_x && x <= 0) || (options.log_y && value <= 0)) {
          if (v !== null) left++;
          return;
        }
        const end = 1 + ys.length + by.length;
        const bound = (at: number) => (row[at] === null || row[at] === undefined ? null : Number(row[at]));
        rows.push({
          series: [group, ys.length > 1 || !by.length ? y : ""].filter(Boolean).join(" · "), x, y: value,
          lo: options.lo ? bound(end) : null, hi: options.hi ? bound(end + (options.lo ? 1 : 0)) : null,
        });
      });
    }
    const series = makeSeries(rows, options.band ?? "minmax").sort((a, b) => natural(a.name, b.name));
    return { series, names, left };
  }, [answer]);
  const title = `${ys.join(", ")} over ${options.x}`;
  if (!made || !answer) return null;
  return <Plot view={view} title={title} xc={xc} {...made} total={answer.total} />;
}

interface PlotProps {
  view: ViewSpec;
  title: string;
  xc: ColumnSpec;
  series: Series[];
  names: string[] | null;
  left: number;
  total: number;
}

function span(values: number[], log: boolean): [number, number] {
  const lo = values.reduce((a, b) => Math.min(a, b), Infinity);
  const hi = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!(lo <= hi)) return log ? [1, 10] : [0, 1];
  if (!log) return padded([lo, hi]);
  const pad = hi > lo ? (hi / lo) ** 0.04 : 1.5;
  return [lo / pad, hi * pad];
}

function Plot({ view, title, xc, series, names, left, total }: PlotProps) {
  const store = useStore();
  const { options } = view;
  const [box, size] = useSize<HTMLDivElement>();
  const height = options.height ?? 300;
  const hovered = useSignal<number | null>(null);
  const drag = useSignal<[number, number] | null>(null);
  const shown = series.slice(0, SHOWN);
  const xs = [...new Set(series.flatMap((s) => s.spots.map((p) => p.x)))].sort((a, b) => a - b);
  const dx = names ? ([-0.5, names.length - 0.5] as [number, number]) : span(xs, !!options.log_x);
  const bounds = series.flatMap((s) => s.spots.flatMap((p) => [p.y, p.lo, p.hi])).filter((v) => !options.log_y || v > 0);
  const dy = span(bounds, !!options.log_y);
  const tall = height - TOP - BOTTOM;
  const draft = makeScale(dy, [TOP + tall, TOP], Math.max(2, Math.round(tall / 55)), undefined, options.log_y);
  const leftEdge = 16 + 6.4 * Math.max(3, ...draft.ticks.map((t) => draft.text(t).length));
  const width = Math.max(40, size.width - leftEdge - RIGHT);
  const plain = makeScale(dx, [leftEdge, leftEdge + width], Math.max(2, Math.round(width / 90)), names ? undefined : xc, options.log_x);
  const sx: Scale = names ? Object.assign((v: number) => plain(v), { invert: plain.invert, ticks: names.map((_, k) => k), text: (v: number) => (names[v]?.length > 14 ? `${names[v].slice(0, 13)}…` : (names[v] ?? "")) }) : plain;
  const sy = draft;
  const floor = options.log_y ? dy[0] : -Infinity;
  const path = (spots: Series["spots"]) => spots.map((p, k) => `${k ? "L" : "M"}${sx(p.x).toFixed(1)} ${sy(p.y).toFixed(1)}`).join("");
  const area = (spots: Series["spots"]) =>
    spots.some((p) => p.hi > p.lo) ? `${spots.map((p, k) => `${k ? "L" : "M"}${sx(p.x).toFixed(1)} ${sy(p.hi).toFixed(1)}`).join("")}${[...spots].reverse().map((p) => `L${sx(p.x).toFixed(1)} ${sy(Math.max(p.lo, floor)).toFixed(1)}`).join("")}z` : "";
  const place = (event: PointerEvent) => event.clientX - box.current!.getBoundingClientRect().left;
  const nearest = (at: number) => xs.reduce((best, x) => (Math.abs(sx(x) - at) < Math.abs(sx(best) - at) ? x : best), xs[0]);
  const setBrush = (a: number, b: number) => {
    const [lo, hi] = [Math.min(a, b), Math.max(a, b)].map((p) => sx.invert(p));
    const time = (v: number) => (xc.kind === "time" ? { time: Math.round(v) } : v);
    const inside = names?.filter((_, k) => k >= lo && k <= hi);
    const tree: Tree = inside ? ["in", xc.name, xc.kind === "bool" ? inside.map((v) => v === "true") : inside] : ["between", xc.name, time(lo), time(hi)];
    store.brush(view.id, tree);
  };
  const down = useLatest((event: PointerEvent) => {
    if (event.button !== 0) return;
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    const at = place(event);
    drag.value = [at, at];
  });
  const move = useLatest((event: PointerEvent) => {
    const at = place(event);
    if (drag.value) drag.value = [drag.value[0], Math.max(leftEdge, Math.min(leftEdge + width, at))];
    else hovered.value = xs.length && at >= leftEdge - 8 ? nearest(at) : null;
  });
  const up = useLatest(() => {
    const d = drag.value;
    drag.value = null;
    if (!d) return;
    if (Math.abs(d[0] - d[1]) < 4) store.brush(view.id, null);
    else setBrush(d[0], d[1]);
  });
  const onKeyDown = useLatest((event: KeyboardEvent) => {
    const at = hovered.value === null ? -1 : xs.indexOf(hovered.value);
    if (event.key === "ArrowRight") hovered.value = xs[Math.min(xs.length - 1, at + 1)] ?? null;
    else if (event.key === "ArrowLeft") hovered.value = xs[Math.max(0, at - 1)] ?? null;
    else if (event.key === "Enter" && hovered.value !== null) setBrush(sx(hovered.value) - 0.5, sx(hovered.value) + 0.5);
    else if (event.key === "Escape") {
      hovered.value = null;
      store.brush(view.id, null);
    } else return;
    event.preventDefault();
  });
  const brush = store.state.value.brushes[view.id];
  const range = drag.value ?? (brush?.[0] === "between" ? [sx(brush[2]?.time ?? brush[2]), sx(brush[3]?.time ?? brush[3])] : null);
  const spotsAt = hovered.value === null ? [] : shown.map((s, k) => ({ s, k, p: s.spots.find((p) => p.x === hovered.value) })).filter((o) => o.p);
  const xText = (v: number) => (names ? names[v] : axisNumber(v, xc));
  const say = spotsAt.map(({ s, p }) => `${s.name} ${number(p!.y)}`).join(", ");
  const data = () => ({
    columns: ["series", options.x, listed(options.y).join(", "), "low", "high", "rows"],
    rows: series.flatMap((s) => s.spots.map((p) => [s.name, xText(p.x), Number(p.y.toPrecision(6)), Number(p.lo.toPrecision(6)), Number(p.hi.toPrecision(6)), p.n])),
  });
  const remark = [total > ROWS ? `the first ${count(ROWS)} of ${count(total)} rows` : "", left ? `${count(left)} values left out` : "", series.length > SHOWN ? `${SHOWN} of ${count(series.length)} series` : ""].filter(Boolean).join(", ");
  return (
    <Card view={view} title={title} remark={remark} data={data}>
      {options.slider && <Slider view={view} />}
      <div
        class="sym-scatter sym-tool-select" ref={box} style={px({ height })} tabindex={0} role="group" aria-label={`Lines of ${title}, ${series.length} series. Arrow keys walk along x, Enter brushes one x, Escape clears.`}
        onPointerDown={down} onPointerMove={move} onPointerUp={up} onPointerLeave={() => (hovered.value = null)} onKeyDown={onKeyDown}
      >
        <svg width={size.width} height={height} aria-hidden="true">
          <Axes x={sx} y={sy} left={leftEdge} top={TOP} width={width} height={tall} xName={options.x} yName={listed(options.y).join(", ")} grid />
          {shown.map((s, k) => <path key={`b${s.name}`} d={area(s.spots)} style={{ fill: color(k) }} fill-opacity="0.14" />)}
          {shown.map((s, k) => <path key={s.name} d={path(s.spots)} style={{ stroke: color(k) }} class="sym-line-path" stroke-dasharray={dash(k)} />)}
          {shown.map((s, k) => s.spots.length <= 60 && s.spots.map((p) => <circle key={`${s.name} ${p.x}`} cx={sx(p.x)} cy={sy(p.y)} r={2.6} style={{ fill: color(k) }} />))}
          {range && <rect class="sym-lasso" x={Math.min(range[0], range[1])} y={TOP} width={Math.abs(range[1] - range[0])} height={tall} />}
          {hovered.value !== null && <line class="sym-rule" x1={sx(hovered.value)} x2={sx(hovered.value)} y1={TOP} y2={TOP + tall} />}
          {spotsAt.map(({ p, k }) => <circle cx={sx(p!.x)} cy={sy(p!.y)} r={4} style={{ fill: color(k) }} class="sym-spot" />)}
        </svg>
        {spotsAt.length > 0 && (
          <div class="sym-tip" style={px(sx(hovered.value!) > size.width / 2 ? { right: size.width - sx(hovered.value!) + 12, top: TOP } : { left: sx(hovered.value!) + 12, top: TOP })} aria-hidden="true">
            <dl>
              <dt>{options.x}</dt><dd><b>{xText(hovered.value!)}</b></dd>
              {spotsAt.slice(0, 14).map(({ s, p, k }) => [<dt key={s.name}><i class="sym-key" style={{ background: color(k) }} />{s.name}</dt>, <dd key={`${s.name} `}>{number(p!.y)}{p!.hi > p!.lo ? ` (${number(p!.lo)} – ${number(p!.hi)})` : ""}</dd>])}
            </dl>
          </div>
        )}
      </div>
      <span class="sym-hidden" role="status">{say && `${options.x} ${xText(hovered.value!)}: ${say}`}</span>
      {(shown.length > 1 || listed(options.by).length > 0) && (
        <div class="sym-legend" aria-label="Series">
          {listed(options.by).length > 0 && <b>{listed(options.by).join(", ")}</b>}
          {shown.map((s, k) => <span key={s.name} class="sym-legend-name">{dash(k) ? <svg width="22" height="8" aria-hidden="true"><path d="M0 4h22" class="sym-line-path" style={{ stroke: color(k) }} stroke-dasharray={dash(k)} /></svg> : <Swatch shape={0} color={color(k)} />}{s.name}</span>)}
        </div>
      )}
    </Card>
  );
}
