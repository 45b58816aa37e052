// Regions of a map that the user brought, shaded by counts or by a column.

import { useMemo } from "preact/hooks";
import type { Levels, MatrixAnswer, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { useAnswer, useSize, useStore } from "./context.tsx";
import { count, number } from "./format.ts";
import { css, ramp } from "./theme.ts";

type Ring = [number, number][];

interface Region {
  name: string;
  rings: Ring[];
}

/** Equal Earth (Savric, Patterson and Jenny 2018): areas keep their size. Degrees to the plane. */
export function project(lon: number, lat: number): [number, number] {
  const t = Math.asin((Math.sqrt(3) / 2) * Math.sin((lat * Math.PI) / 180));
  const a = t * t;
  const b = a * a * a;
  const x = (2 * Math.sqrt(3) * ((lon * Math.PI) / 180) * Math.cos(t)) / (3 * (9 * 0.003796 * a * b + 7 * 0.000893 * b + 3 * -0.081106 * a + 1.340264));
  return [x, t * (1.340264 - 0.081106 * a + b * (0.000893 + 0.003796 * a))];
}

/** Regions of a FeatureCollection with their rings in the plane, about the map's own middle meridian. */
export function regions(geojson: any, key: string): Region[] {
  const features = geojson?.type === "FeatureCollection" && Array.isArray(geojson.features) ? geojson.features : [];
  const raw: Region[] = features.map((f: any) => ({
    name: String((key === "id" ? f?.id : f?.properties?.[key]) ?? ""),
    rings: f?.geometry?.type === "Polygon" ? f.geometry.coordinates : f?.geometry?.type === "MultiPolygon" ? f.geometry.coordinates.flat() : [],
  }));
  let west = Infinity;
  let east = -Infinity;
  for (const r of raw) for (const ring of r.rings) for (const [lon] of ring) {
    west = Math.min(west, lon);
    east = Math.max(east, lon);
  }
  const middle = (west + east) / 2;
  return raw.map((r) => ({ name: r.name, rings: r.rings.map((ring) => ring.map(([lon, lat]) => project(lon - middle, lat))) }));
}

export function Choropleth({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { column, geojson, key = "id", value = null, aggregate = "mean" } = view.options;
  const map = useMemo(() => regions(geojson, key), [geojson, key]);
  const levels = [...new Set(map.map((r) => r.name))];
  const numeric = store.column(column)?.kind === "number";
  const bins: Levels = { type: "levels", levels: numeric ? levels.map(Number) : levels };
  const none: Levels = { type: "levels", levels: [] };
  const answer = useAnswer<MatrixAnswer>({ kind: "matrix", view: view.id, x: column, xbins: bins, y: column, ybins: none, value });
  const [box, size] = useSize<HTMLDivElement>();
  const title = value ? `${value} by ${column}` : `Rows by ${column}`;
  if (!map.some((r) => r.rings.length)) return <Card view={view} title={title}><Message>The map has no polygons: geojson must be a FeatureCollection of polygons.</Message></Card>;
  if (!answer) return null;
  const n = levels.map((_, k) => answer.counts.reduce((t, row) => t + row[k], 0));
  const amount = (k: number): number | null => {
    if (!n[k]) return null;
    if (!answer.sum) return n[k];
    const s = answer.sum.reduce((t, row) => t + row[k], 0);
    return aggregate === "sum" ? s : s / n[k];
  };
  const all = levels.map((_, k) => amount(k)).filter((v): v is number => v !== null);
  const [lo, hi] = [Math.min(...all), Math.max(...all)];
  const points = map.flatMap((r) => r.rings.flat());
  const bound = (pick: (...v: number[]) => number, c: number, start: number) => points.reduce((t, p) => pick(t, p[c]), start);
  const [x0, x1, y0, y1] = [bound(Math.min, 0, Infinity), bound(Math.max, 0, -Infinity), bound(Math.min, 1, Infinity), bound(Math.max, 1, -Infinity)];
  const width = size.width || 400;
  const height = view.options.height ?? Math.min(420, Math.max(120, (width * (y1 - y0)) / (x1 - x0 || 1)));
  const scale = Math.min((width - 8) / (x1 - x0 || 1), (height - 8) / (y1 - y0 || 1));
  const at = ([x, y]: [number, number]) => `${((x - (x0 + x1) / 2) * scale + width / 2).toFixed(1)} ${(height / 2 - (y - (y0 + y1) / 2) * scale).toFixed(1)}`;
  const brush = JSON.stringify(store.state.value.brushes[view.id] ?? null);
  const tree = (k: number) => ["in", column, [bins.levels[k]]] as [string, ...any[]];
  const toggle = (k: number) => n[k] > 0 && store.brush(view.id, brush === JSON.stringify(tree(k)) ? null : tree(k));
  const say = (k: number) => `${levels[k]}: ${amount(k) === null ? "no rows" : `${number(amount(k)!)}${value ? `, ${count(n[k])} rows` : " rows"}`}`;
  const off = answer.counts.reduce((t, row) => t + row[levels.length] + row[levels.length + 1], 0);
  const stops = [0, 0.25, 0.5, 0.75, 1].map((s) => css(ramp(s))).join(",");
  const data = () => ({ columns: [column, value ?? "rows", ...(value ? ["rows"] : [])], rows: levels.map((name, k) => [name, amount(k) ?? "–", ...(value ? [n[k]] : [])]) });
  return (
    <Card view={view} title={title} remark={off ? `${count(off)} rows off the map` : ""} data={data}>
      <div ref={box}>
        <svg width={width} height={height} class="sym-map" role="group" aria-label={title} onKeyDown={(e) => e.key === "Escape" && store.brush(view.id, null)}>
          {map.map((r) => {
            const k = levels.indexOf(r.name);
            const v = amount(k);
            return (
              <path
                key={r.name} d={r.rings.map((ring) => `M${ring.map(at).join("L")}z`).join("")} style={v === null ? {} : { fill: css(ramp(hi > lo ? (v - lo) / (hi - lo) : 0.5)) }} fill-rule="evenodd"
                role="button" tabindex={0} aria-pressed={brush === JSON.stringify(tree(k))} aria-label={say(k)} onClick={() => toggle(k)}
                onKeyDown={(e) => {
                  if (e.key !== "Enter" && e.key !== " ") return;
                  toggle(k);
                  e.preventDefault();
                }}
              ><title>{say(k)}</title></path>
            );
          })}
        </svg>
      </div>
      {all.length > 0 && <div class="sym-legend"><b>{value ?? "rows"}</b><span>{number(lo)}</span><i class="sym-ramp" style={{ background: `linear-gradient(90deg, ${stops})` }} /><span>{number(hi)}</span></div>}
    </Card>
  );
}
