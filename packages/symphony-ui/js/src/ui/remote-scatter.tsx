// A scatter whose rows stay in Python: cells of a fine grid, shaded by their counts, with a box to brush.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { edge } from "../core/bins.ts";
import type { Linear, MatrixAnswer, Tree, ViewSpec } from "../core/types.ts";
import { Axes, makeScale } from "./axes.tsx";
import { Card, Message } from "./card.tsx";
import { px, useAnswer, useLatest, useSize, useStore } from "./context.tsx";
import { count } from "./format.ts";
import { css, ramp, theme } from "./theme.ts";

const LEFT = 46;
const TOP = 22;
const BOTTOM = 36;
const RIGHT = 10;
const CELLS = [120, 80];

export function RemoteScatter({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { x, y } = view.options;
  const [xc, yc] = [store.column(x)!, store.column(y)!];
  const [box, size] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const height = view.options.height ?? 380;
  const bins = (span: [number, number] | null | undefined, n: number): Linear => ({ type: "linear", lo: span?.[0] ?? 0, hi: span && span[1] > span[0] ? span[1] : (span?.[0] ?? 0) + 1, n });
  const xbins = bins(xc.extent, CELLS[0]);
  const ybins = bins(yc.extent, CELLS[1]);
  const answer = useAnswer<MatrixAnswer>({ kind: "matrix", view: view.id, x, xbins, y, ybins, value: null });
  const drag = useSignal<[number, number, number, number] | null>(null);
  const inner = { width: Math.max(10, size.width - LEFT - RIGHT), height: height - TOP - BOTTOM };
  theme.value;
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || !answer) return;
    context.clearRect(0, 0, CELLS[0], CELLS[1]);
    const top = Math.log1p(Math.max(1, ...answer.counts.slice(0, CELLS[1]).map((row) => Math.max(...Array.from(row).slice(0, CELLS[0])))));
    for (let j = 0; j < CELLS[1]; j++) {
      for (let i = 0; i < CELLS[0]; i++) {
        const n = answer.counts[j][i];
        if (!n) continue;
        context.fillStyle = css(ramp(Math.log1p(n) / top));
        context.fillRect(i, CELLS[1] - 1 - j, 1, 1);
      }
    }
  });
  const sx = makeScale([xbins.lo, xbins.hi], [LEFT, LEFT + inner.width], Math.max(2, Math.round(inner.width / 90)), xc);
  const sy = makeScale([ybins.lo, ybins.hi], [TOP + inner.height, TOP], Math.max(2, Math.round(inner.height / 60)), yc);
  const place = (event: PointerEvent) => {
    const rect = box.current!.getBoundingClientRect();
    return [event.clientX - rect.left, event.clientY - rect.top];
  };
  const down = useLatest((event: PointerEvent) => {
    const [a, b] = place(event);
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    drag.value = [a, b, a, b];
  });
  const move = useLatest((event: PointerEvent) => {
    if (drag.value) drag.value = [drag.value[0], drag.value[1], ...(place(event) as [number, number])];
  });
  const up = useLatest(() => {
    if (!drag.value) return;
    const [a, b, c, d] = drag.value;
    drag.value = null;
    if (Math.abs(a - c) < 4 || Math.abs(b - d) < 4) {
      store.brush(view.id, null);
      return;
    }
    const [x0, x1] = [Math.min(a, c), Math.max(a, c)].map((v) => sx.invert(v));
    const [y1, y0] = [Math.min(b, d), Math.max(b, d)].map((v) => sy.invert(v));
    store.brush(view.id, ["and", ["between", x, x0, x1], ["between", y, y0, y1]] as Tree);
  });
  const brush = store.state.value.brushes[view.id];
  const set = brush?.[0] === "and" && brush[1]?.[0] === "between" ? [sx(brush[1][2]), sy(brush[2][3]), sx(brush[1][3]), sy(brush[2][2])] : null;
  const rect = drag.value ?? set;
  const shown = answer ? answer.counts.reduce((t, row) => t + Array.from(row).reduce((p, q) => p + q, 0), 0) : 0;
  const data = () => ({
    columns: [`${x} from`, `${y} from`, "rows"],
    rows: (answer?.counts ?? []).slice(0, CELLS[1]).flatMap((row, j) => Array.from(row).slice(0, CELLS[0]).flatMap((n, i) => (n ? [[edge(xbins, i), edge(ybins, j), n]] : []))),
  });
  return (
    <Card view={view} title={`${x} × ${y}`} remark={`${count(shown)} points, as densities`} data={data}>
      {!xc.extent || !yc.extent ? <Message>One of the columns has no finite value.</Message> : (
        <div
          class="sym-scatter sym-tool-filter" ref={box} style={px({ height })} tabindex={0} role="group" aria-label={`Density of ${y} over ${x}. Escape clears its brush.`}
          onPointerDown={down} onPointerMove={move} onPointerUp={up} onKeyDown={(e) => e.key === "Escape" && store.brush(view.id, null)}
        >
          <canvas ref={canvas} width={CELLS[0]} height={CELLS[1]} class="sym-pixels" style={px({ left: LEFT, top: TOP, width: inner.width, height: inner.height })} aria-hidden="true" />
          <svg width={size.width} height={height} aria-hidden="true">
            <Axes x={sx} y={sy} left={LEFT} top={TOP} width={inner.width} height={inner.height} xName={x} yName={y} />
            {rect && <rect class="sym-lasso" x={Math.min(rect[0], rect[2])} y={Math.min(rect[1], rect[3])} width={Math.abs(rect[2] - rect[0])} height={Math.abs(rect[3] - rect[1])} />}
          </svg>
        </div>
      )}
    </Card>
  );
}
