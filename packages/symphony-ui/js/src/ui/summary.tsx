// Every column at a glance: a histogram or bars, each of them a brush.

import { useSignal } from "@preact/signals";
import { extent, niceBins } from "../core/bins.ts";
import type { ColumnSpec, HistAnswer, Linear, ViewSpec } from "../core/types.ts";
import type { Store } from "../core/store.ts";
import { Bars } from "./bars.tsx";
import { Card, Message, type Shown } from "./card.tsx";
import { useAnswer, useLevels, useStore } from "./context.tsx";
import { count, percent } from "./format.ts";
import { Histogram, rangeText } from "./histogram.tsx";

const SHOWN = 24;
const LEVELS = 8;

/** Bins of a numeric column for a chart, or null where it has no finite value. */
export function columnBins(store: Store, column: ColumnSpec, n: number): Linear | null {
  const local = store.engine.local?.find(column.name)?.values;
  const span = column.extent ?? (local ? extent(local) : null);
  return span ? niceBins(span, !!column.integer && column.kind === "number", n, column.kind === "time") : null;
}

export function Summary({ view }: { view: ViewSpec }) {
  const store = useStore();
  const more = useSignal(false);
  const wanted: string[] | null = view.options.columns ?? null;
  const columns = wanted
    ? wanted.map((name) => store.column(name)!)
    : store.spec.columns.filter((c) => c.kind !== "media" && c.kind !== "text" && !c.url);
  const shown = more.value ? columns : columns.slice(0, SHOWN);
  return (
    <Card view={view} title="Summary" remark={`${count(columns.length)} ${columns.length === 1 ? "column" : "columns"}`}>
      {columns.length === 0 && <Message>No column here can be drawn.</Message>}
      <div class="sym-summary">
        {shown.map((column) => <ColumnChart key={column.name} view={view} column={column} />)}
      </div>
      {columns.length > SHOWN && (
        <button type="button" class="sym-quiet" onClick={() => (more.value = !more.value)}>
          {more.value ? "Show fewer" : `Show all ${count(columns.length)} columns`}
        </button>
      )}
    </Card>
  );
}

function ColumnChart({ view, column }: { view: ViewSpec; column: ColumnSpec }) {
  const id = `${view.id}:${column.name}`;
  const open = useSignal(false);
  const categorical = column.kind === "category" || column.kind === "bool";
  return (
    <div class={categorical && (column.levels ?? 9) > 5 ? "sym-column sym-tall" : "sym-column"} role="group" aria-label={column.name}>
      <header>
        <h4 title={column.name}>{column.name}</h4>
        <button type="button" class="sym-quiet sym-reveal" aria-expanded={open.value} aria-label={`Show data of ${column.name}`} onClick={() => (open.value = !open.value)}>
          {open.value ? "chart" : "data"}
        </button>
      </header>
      {categorical ? <CategoryChart id={id} column={column} open={open.value} /> : <NumberChart id={id} view={view} column={column} open={open.value} />}
    </div>
  );
}

function CategoryChart({ id, column, open }: { id: string; column: ColumnSpec; open: boolean }) {
  const found = useLevels(column.name, open ? 200 : LEVELS);
  if (!found) return null;
  return <Bars view={id} column={column} levels={found.levels} total={Math.max(column.levels ?? 0, found.total)} />;
}

function NumberChart({ id, view, column, open }: { id: string; view: ViewSpec; column: ColumnSpec; open: boolean }) {
  const store = useStore();
  if (column.kind === "text" || column.kind === "media") return <Message>{column.kind}</Message>;
  const bins = columnBins(store, column, view.options.bins ?? 20);
  if (!bins) return <Message>no finite value</Message>;
  return open ? <NumberData id={id} column={column} bins={bins} /> : (
    <>
      <Histogram view={id} column={column} bins={bins} />
      <Missing id={id} column={column} bins={bins} />
    </>
  );
}

/** How many rows miss a value, as a button that keeps them. */
function Missing({ id, column, bins }: { id: string; column: ColumnSpec; bins: Linear }) {
  const store = useStore();
  const answer = useAnswer<HistAnswer>({ kind: "hist", view: id, column: column.name, bins });
  if (!answer) return null;
  const gaps = answer.all[bins.n + 1];
  const odd = answer.all[bins.n];
  if (!gaps && !odd) return null;
  const on = store.state.value.brushes[id]?.[0] === "missing";
  return (
    <div class="sym-missing">
      {gaps > 0 && (
        <button type="button" class="sym-quiet" aria-pressed={on} title={`${count(gaps)} of ${count(store.spec.rows)} rows`} onClick={() => store.brush(id, on ? null : ["missing", column.name])}>
          {count(answer.visible[bins.n + 1])} missing ({percent(gaps / store.spec.rows)})
        </button>
      )}
      {odd > 0 && <span class="sym-remark">{count(odd)} infinite</span>}
    </div>
  );
}

function NumberData({ id, column, bins }: { id: string; column: ColumnSpec; bins: Linear }) {
  const answer = useAnswer<HistAnswer>({ kind: "hist", view: id, column: column.name, bins });
  if (!answer) return null;
  const { columns, rows } = histData(column, bins, answer);
  return (
    <div class="sym-data sym-small" tabindex={0} role="region" aria-label={`${column.name}: data`}>
      <table>
        <thead><tr>{columns.map((c) => <th scope="col">{c}</th>)}</tr></thead>
        <tbody>{rows.map((row) => <tr>{row.map((v) => <td>{typeof v === "number" ? count(v) : v}</td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}

export function histData(column: ColumnSpec, bins: Linear, answer: HistAnswer): Shown {
  const names = [...Array.from({ length: bins.n }, (_, k) => rangeText(column, bins, k, k + 1)), "infinite", "missing"];
  const rows = names.map((name, k) => [name, answer.visible[k], answer.all[k]]).filter((row, k) => k < bins.n || row[2]);
  return { columns: [column.name, "visible", "all"], rows };
}
