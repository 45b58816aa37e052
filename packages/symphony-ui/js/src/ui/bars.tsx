// Counts of categories as rows of bars; a click keeps or drops a category.

import type { ColumnSpec, HistAnswer, Levels, Tree } from "../core/types.ts";
import { useAnswer, useStore } from "./context.tsx";
import { count } from "./format.ts";

interface Props {
  view: string;
  column: ColumnSpec;
  levels: string[];
  /** distinct values in all, of which `levels` are the most frequent */
  total: number;
}

interface Row {
  key: string;
  name: string;
  tree: Tree;
  at: number;
  dim?: boolean;
}

/** The rows of the chart: the levels, then other and missing where there are any. */
function rowsOf(column: ColumnSpec, levels: string[], total: number, all: ArrayLike<number>): Row[] {
  const { name } = column;
  const values: (string | boolean)[] = column.kind === "bool" ? levels.map((l) => l === "true") : levels;
  const rows: Row[] = levels.map((level, k) => ({ key: `=${level}`, name: level === "" ? "(empty)" : level, tree: ["in", name, [values[k]]], at: k }));
  const n = levels.length;
  if (all[n]) {
    const tree: Tree = ["not", ["or", ["in", name, values], ["missing", name]]];
    rows.push({ key: "other", name: `${count(Math.max(0, total - n))} others`, tree, at: n, dim: true });
  }
  if (all[n + 1]) rows.push({ key: "missing", name: "missing", tree: ["missing", name], at: n + 1, dim: true });
  return rows;
}

/** Which rows a brush keeps: brushes made here are one tree or an `or` of them. */
function kept(brush: Tree | undefined, rows: Row[]): Set<string> {
  if (!brush) return new Set();
  const parts: Tree[] = brush[0] === "or" ? (brush.slice(1) as Tree[]) : [brush];
  const out = new Set<string>();
  for (const part of parts) {
    const text = JSON.stringify(part);
    for (const row of rows) {
      const listed = part[0] === "in" && row.tree[0] === "in" && part[1] === row.tree[1] && part[2].includes(row.tree[2][0]);
      if (listed || JSON.stringify(row.tree) === text) out.add(row.key);
    }
  }
  return out;
}

function brushOf(keys: Set<string>, rows: Row[], name: string): Tree | null {
  const chosen = rows.filter((row) => keys.has(row.key));
  const values = chosen.filter((row) => row.tree[0] === "in").map((row) => row.tree[2][0]);
  const parts: Tree[] = chosen.filter((row) => row.tree[0] !== "in").map((row) => row.tree);
  if (values.length) parts.unshift(["in", name, values]);
  return parts.length === 0 ? null : parts.length === 1 ? parts[0] : ["or", ...parts];
}

export function Bars({ view, column, levels, total }: Props) {
  const store = useStore();
  const bins: Levels = { type: "levels", levels };
  const answer = useAnswer<HistAnswer>({ kind: "hist", view, column: column.name, bins });
  if (!answer) return null;
  const rows = rowsOf(column, levels, total, answer.all);
  const brush = store.state.value.brushes[view];
  const on = kept(brush, rows);
  const ghost = store.state.value.show_unfiltered;
  const scale = Math.max(1, ...rows.map((row) => (ghost ? answer.all : answer.context)[row.at]));
  // moved, not resized: a step of a drag lays nothing out anew
  const share = (n: number) => `translate: ${((100 * n) / scale - 100).toFixed(2)}%`;
  const toggle = (row: Row) => {
    const next = new Set(on);
    if (!next.delete(row.key)) next.add(row.key);
    store.brush(view, brushOf(next, rows, column.name));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape" && brush) store.brush(view, null);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const all = [...(event.currentTarget as HTMLElement).querySelectorAll("button")];
      const at = all.indexOf(document.activeElement as any) + (event.key === "ArrowDown" ? 1 : -1);
      all[Math.max(0, Math.min(all.length - 1, at))]?.focus();
    } else return;
    event.preventDefault();
  };
  return (
    <div class="sym-bars" role="group" aria-label={`Values of ${column.name}`} onKeyDown={onKeyDown}>
      {rows.map((row, k) => (
        <button
          type="button" key={row.key} class={`sym-bar ${on.size && !on.has(row.key) ? "sym-off" : ""}`} aria-pressed={on.has(row.key)}
          tabindex={k === 0 ? 0 : -1} onClick={() => toggle(row)} title={row.name}
        >
          {ghost && <i class="sym-fill sym-fill-all" style={share(answer.all[row.at])} />}
          <i class="sym-fill sym-fill-context" style={share(answer.context[row.at])} />
          <i class="sym-fill" style={share(answer.visible[row.at])} />
          <span class={row.dim ? "sym-bar-name sym-dim" : "sym-bar-name"}>{row.name}</span>
          <span class="sym-bar-count">{count(answer.visible[row.at])}</span>
          <span class="sym-hidden">of {count(answer.all[row.at])} rows</span>
        </button>
      ))}
    </div>
  );
}
