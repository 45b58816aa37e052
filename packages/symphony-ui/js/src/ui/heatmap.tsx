// Two columns against each other, shaded by counts or by a third.

import { edge } from "../core/bins.ts";
import { natural } from "../core/metrics.ts";
import type { Bins, ColumnSpec, MatrixAnswer, Tree, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { useAnswer, useLevels, useSize, useStore } from "./context.tsx";
import { axisNumber, count, number } from "./format.ts";
import { Grid } from "./grid.tsx";
import { columnBins } from "./summary.tsx";
import { css, ramp } from "./theme.ts";

const LEVELS = 60;
const VALUES = 40;

interface Axis {
  bins: Bins;
  names: string[];
  tree(k: number): Tree;
}

/** The steps along one axis: the values where there are few, else bins. */
function useAxis(column: ColumnSpec, n: number): Axis | null {
  const store = useStore();
  const found = useLevels(column.name, LEVELS);
  if (!found) return null;
  const { name, kind } = column;
  const few = kind !== "number" && kind !== "time" ? true : found.total <= VALUES;
  if (!few) {
    const bins = columnBins(store, column, n);
    if (!bins) return null;
    const names = Array.from({ length: bins.n }, (_, k) => axisNumber(edge(bins, k), column));
    return { bins, names, tree: (k) => (k === bins.n - 1 ? ["between", name, edge(bins, k), bins.hi] : ["bin", name, edge(bins, k), edge(bins, k + 1)]) };
  }
  const keys = [...found.keys].sort((a, b) => natural(String(a), String(b)));
  const levels = keys.map((k) => (typeof k === "number" ? k : String(k)));
  return {
    bins: { type: "levels", levels },
    names: keys.map((k) => (typeof k === "number" ? axisNumber(k, column) : String(k) || "(empty)")),
    tree: (k) => ["in", name, [kind === "time" ? { time: keys[k] } : keys[k]]],
  };
}

export function Heatmap({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { options } = view;
  const { x, y, value = null } = options;
  const ax = useAxis(store.column(x)!, options.bins ?? 12);
  const ay = useAxis(store.column(y)!, options.bins ?? 12);
  const title = value ? `${value} by ${x} and ${y}` : `${x} × ${y}`;
  if (!ax || !ay) return <Card view={view} title={title}><Message>No finite value to draw.</Message></Card>;
  return <Cells view={view} ax={ax} ay={ay} title={title} />;
}

function Cells({ view, ax, ay, title }: { view: ViewSpec; ax: Axis; ay: Axis; title: string }) {
  const store = useStore();
  const { x, y, value = null, aggregate = "mean", center = null } = view.options;
  const [box, size] = useSize<HTMLDivElement>();
  const answer = useAnswer<MatrixAnswer>({ kind: "matrix", view: view.id, x, xbins: ax.bins, y, ybins: ay.bins, value });
  if (!answer) return null;
  const at = (i: number, j: number): number | null => {
    const n = answer.counts[i][j];
    if (!n) return null;
    return answer.sum ? (aggregate === "sum" ? answer.sum[i][j] : answer.sum[i][j] / n) : n;
  };
  const all = ay.names.flatMap((_, i) => ax.names.map((__, j) => at(i, j))).filter((v) => v !== null && Number.isFinite(v)) as number[];
  const lo = Math.min(...all);
  const hi = Math.max(...all);
  const reach = center === null ? 0 : Math.max(Math.abs(hi - center), Math.abs(center - lo)) || 1;
  const color = (v: number) => (center === null ? ramp(hi > lo ? (v - lo) / (hi - lo) : 0.5) : ramp(0.5 + (v - center) / (2 * reach), "diverging"));
  const names = Math.min(180, 40 + 7 * Math.max(...ay.names.map((n) => n.length)));
  const room = ((size.width || 400) - names) / ax.names.length;
  const wide = Math.max(14, Math.min(96, Math.floor(room) - 1));
  const brush = JSON.stringify(store.state.value.brushes[view.id] ?? null);
  const tree = (i: number, j: number): Tree => ["and", ax.tree(j), ay.tree(i)];
  const data = () => ({ columns: [y, x, value ?? "rows", ...(value ? ["rows"] : [])], rows: ay.names.flatMap((a, i) => ax.names.flatMap((b, j) => (at(i, j) === null ? [] : [[a, b, at(i, j)!, ...(value ? [answer.counts[i][j]] : [])]]))) });
  const stops = [0, 0.25, 0.5, 0.75, 1].map((s) => css(ramp(s, center === null ? "sequential" : "diverging"))).join(",");
  const ends = center === null ? [lo, hi] : [center - reach, center + reach];
  return (
    <Card view={view} title={title} remark={value ? aggregate : ""} data={data}>
      <div ref={box}>
        <Grid
          label={title} rows={ay.names.map((name) => ({ name }))} columns={ax.names.map((name) => ({ name }))} rowName={y} columnName={x} side={Math.min(30, Math.max(18, wide))} wide={wide}
          cell={(i, j) => {
            const v = at(i, j);
            const text = v === null ? "" : number(value ? Number(v.toPrecision(3)) : v);
            return { text: text.length * 6.8 + 4 <= wide ? text : "", label: `${y} ${ay.names[i]}, ${x} ${ax.names[j]}: ${v === null ? "no rows" : `${text}${value ? `, ${count(answer.counts[i][j])} rows` : ""}`}`, color: v === null || !Number.isFinite(v) ? null : color(v) };
          }}
          pressed={(i, j) => brush === JSON.stringify(tree(i, j))}
          pick={(i, j) => store.brush(view.id, brush === JSON.stringify(tree(i, j)) ? null : tree(i, j))}
          clear={() => store.brush(view.id, null)}
        />
      </div>
      {all.length > 0 && <div class="sym-legend"><b>{value ?? "rows"}</b><span>{number(ends[0])}</span><i class="sym-ramp" style={{ background: `linear-gradient(90deg, ${stops})` }} /><span>{number(ends[1])}</span></div>}
    </Card>
  );
}
