// A metric by subgroup with its 95 % interval; small groups are marked, never hidden.

import { cells, groupMetric, type Metric, type Rate } from "../core/metrics.ts";
import type { Cell, GroupsAnswer, ViewSpec } from "../core/types.ts";
import { makeScale } from "./axes.tsx";
import { Card, Message } from "./card.tsx";
import { groupTree, useAnswer, useSize, useStore } from "./context.tsx";
import { cellText, count, number } from "./format.ts";

const LINE = 24;
const SHOWN = 60;

interface Sub {
  key: Cell[];
  name: string;
  n: number;
  rate: Rate;
}

export function Subgroups({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { label, prediction, metric = "accuracy", positive = null, n_min = 30 } = view.options;
  const by: string[] = view.options.by ?? store.state.value.group_by;
  const answer = useAnswer<GroupsAnswer>({ kind: "groups", by: [...by, label, prediction], limit: 200_000 });
  const [box, size] = useSize<HTMLDivElement>();
  const title = `${metric} by ${by.length ? by.join(", ") : "subgroup"}`;
  if (!answer) return null;
  const parts = new Map<string, { key: Cell[]; pairs: { label: string; prediction: string; count: number }[] }>();
  const whole: { label: string; prediction: string; count: number }[] = [];
  for (const g of answer.groups) {
    const [a, p] = g.key.slice(-2);
    if (a === null || p === null) continue;
    const pair = { label: String(a), prediction: String(p), count: g.count };
    whole.push(pair);
    const key = g.key.slice(0, -2);
    const text = JSON.stringify(key);
    if (!parts.has(text)) parts.set(text, { key, pairs: [] });
    parts.get(text)!.pairs.push(pair);
  }
  const rate = (pairs: typeof whole) => groupMetric(cells(pairs), metric as Metric, positive === null ? null : String(positive));
  const size0 = (pairs: typeof whole) => pairs.reduce((t, p) => t + p.count, 0);
  const subs: Sub[] = by.length ? [...parts.values()].map(({ key, pairs }) => ({ key, name: key.map((k, c) => (k === null ? `${by[c]} missing` : cellText(k, store.column(by[c])))).join(" · "), n: size0(pairs), rate: rate(pairs) })) : [];
  subs.sort((a, b) => b.rate.value - a.rate.value || b.n - a.n);
  const all: Sub = { key: [], name: "all rows", n: size0(whole), rate: rate(whole) };
  const sound = subs.filter((s) => s.rate.n > 0 && s.n >= n_min).map((s) => s.rate.value);
  const gap = sound.length > 1 ? `gap ${number(Number((Math.max(...sound) - Math.min(...sound)).toFixed(4)))}` : "";
  const names = Math.min(220, 20 + 7 * Math.max(8, ...subs.map((s) => s.name.length)));
  const width = Math.max(80, size.width - names - 74);
  const lines = [all, ...subs.slice(0, SHOWN)];
  const lo = Math.max(0, Math.min(...lines.map((s) => s.rate.lo)) - 0.02);
  const hi = Math.min(1, Math.max(...lines.map((s) => s.rate.hi)) + 0.02);
  const x = makeScale([lo, hi > lo ? hi : lo + 1], [8, width - 8], 4);
  const columns = by.map((name) => store.column(name));
  const brush = JSON.stringify(store.state.value.brushes[view.id] ?? null);
  const say = (s: Sub) => `${s.name}: ${metric} ${s.rate.n ? number(Number(s.rate.value.toFixed(4))) : "0 (undefined)"}, 95 % interval ${number(Number(s.rate.lo.toFixed(3)))} to ${number(Number(s.rate.hi.toFixed(3)))}, ${count(s.n)} rows${s.n < n_min ? ", few rows" : ""}`;
  const data = () => ({
    columns: ["subgroup", metric, "low", "high", "rows", "remark"],
    rows: [all, ...subs].map((s) => [s.name, s.rate.value, s.rate.lo, s.rate.hi, s.n, s.rate.n === 0 ? "undefined" : s.n < n_min ? "few rows" : ""]),
  });
  return (
    <Card view={view} title={title} remark={[positive !== null ? `positive: ${positive}` : "", gap].filter(Boolean).join(", ")} data={data}>
      {!by.length && <Message>Group the page by a column to see its subgroups.</Message>}
      <div ref={box} class="sym-subgroups">
        {lines.map((s, k) => {
          const tree = k ? groupTree(columns, s.key) : null;
          const on = tree !== null && brush === JSON.stringify(tree);
          return (
            <button type="button" key={k ? s.name : ""} class={`${k ? "" : "sym-total"} ${on ? "sym-on" : ""}`} aria-pressed={k ? on : undefined} title={say(s)} onClick={() => store.brush(view.id, on ? null : tree)}>
              <span class="sym-sub-name" style={{ width: `${names}px` }}>{s.name}</span>
              <svg width={width} height={LINE} aria-hidden="true">
                <line class="sym-whole" x1={x(all.rate.value)} x2={x(all.rate.value)} y1={0} y2={LINE} />
                <line class="sym-interval" x1={x(s.rate.lo)} x2={x(s.rate.hi)} y1={LINE / 2} y2={LINE / 2} />
                <circle class={s.n < n_min || !s.rate.n ? "sym-dot sym-few" : "sym-dot"} cx={x(s.rate.value)} cy={LINE / 2} r={4.5} />
              </svg>
              <span class="sym-sub-n">{count(s.n)}</span>
              <span class="sym-hidden">{say(s)}</span>
            </button>
          );
        })}
        <svg class="sym-sub-axis" width={width} height={18} style={{ marginLeft: `${names}px` }} aria-hidden="true">
          {x.ticks.map((t) => <text x={x(t)} y={12} text-anchor="middle">{x.text(t)}</text>)}
        </svg>
      </div>
      {subs.some((s) => s.n < n_min) && <p class="sym-remark">A hollow dot: fewer than {n_min} rows.</p>}
      {subs.length > SHOWN && <p class="sym-remark">The first {SHOWN} of {count(subs.length)} subgroups; all are in the data.</p>}
    </Card>
  );
}
