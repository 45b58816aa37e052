// A component's frame: title, actions, and the numbers behind the picture as a table.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { ViewSpec } from "../core/types.ts";
import { useStore } from "./context.tsx";
import { count } from "./format.ts";

export interface Shown {
  columns: string[];
  rows: (string | number)[][];
}

interface CardProps {
  view: ViewSpec;
  title: string;
  /** a quiet remark beside the title */
  remark?: ComponentChildren;
  actions?: ComponentChildren;
  data?: () => Shown;
  children: ComponentChildren;
  flush?: boolean;
}

const SHOWN = 500;

export function Card({ view, title, remark, actions, data, children, flush }: CardProps) {
  const open = useSignal(false);
  const id = useStore().uid(`title-${view.id}`);
  return (
    <section class="sym-card" aria-labelledby={id} data-view={view.id} data-type={view.type}>
      <header class="sym-card-head">
        <h3 id={id}>{view.options.title ?? title}</h3>
        {remark && <span class="sym-remark">{remark}</span>}
        <span class="sym-spring" />
        {actions}
        {data && (
          <button type="button" class="sym-quiet" aria-expanded={open.value} onClick={() => (open.value = !open.value)}>
            {open.value ? "Show picture" : "Show data"}
          </button>
        )}
      </header>
      <div class={flush ? "sym-card-body sym-flush" : "sym-card-body"}>{open.value && data ? <DataTable {...data()} label={title} /> : children}</div>
    </section>
  );
}

export function DataTable({ columns, rows, label }: Shown & { label: string }) {
  const numeric = columns.map((_, k) => rows.length > 0 && typeof rows[0][k] === "number");
  return (
    <div class="sym-data" tabindex={0} role="region" aria-label={`${label}: data`}>
      <table>
        <thead>
          <tr>{columns.map((name, k) => <th scope="col" class={numeric[k] ? "sym-num" : ""}>{name}</th>)}</tr>
        </thead>
        <tbody>
          {rows.slice(0, SHOWN).map((row) => (
            <tr>{row.map((v, k) => <td class={numeric[k] ? "sym-num" : ""}>{typeof v === "number" ? count0(v) : v}</td>)}</tr>
          ))}
        </tbody>
      </table>
      {rows.length > SHOWN && <p class="sym-remark">and {count(rows.length - SHOWN)} more rows</p>}
    </div>
  );
}

const count0 = (v: number) => (Number.isInteger(v) ? count(v) : String(Number(v.toPrecision(6))));

/** A component that cannot be drawn says why. */
export function Message({ children }: { children: ComponentChildren }) {
  return <p class="sym-message">{children}</p>;
}
