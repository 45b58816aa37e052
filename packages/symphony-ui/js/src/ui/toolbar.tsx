// Filter, groups, brushes, selection, undo, and how many rows are visible.

import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { FilterError } from "../core/filter.ts";
import { parse, print } from "../core/parse.ts";
import { encodeRows } from "../core/state.ts";
import type { CountAnswer, Tree } from "../core/types.ts";
import { useAnswer, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";

export function Toolbar() {
  const store = useStore();
  return (
    <div class="sym-toolbar" role="region" aria-label="Filter and selection">
      <div class="sym-tools">
        <FilterBox />
        <GroupBy />
        <span class="sym-pair">
          <button type="button" class="sym-button" disabled={!store.canUndo.value} onClick={() => store.undo()} title="Undo (Ctrl Z)" aria-label="Undo"><Arrow /></button>
          <button type="button" class="sym-button" disabled={!store.canRedo.value} onClick={() => store.redo()} title="Redo (Ctrl Shift Z)" aria-label="Redo"><Arrow flip /></button>
        </span>
      </div>
      <div class="sym-status">
        <RowCount />
        <Chips />
        <span class="sym-spring" />
        <SelectionTools />
        <label class="sym-check">
          <input type="checkbox" checked={store.state.value.show_unfiltered} onChange={(e) => store.set({ show_unfiltered: e.currentTarget.checked })} />
          Show all rows behind
        </label>
      </div>
    </div>
  );
}

const Arrow = ({ flip }: { flip?: boolean }) => (
  <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true" style={flip ? { transform: "scaleX(-1)" } : undefined}>
    <path d="M6 3.5 2.5 7 6 10.5M3 7h6.5a3.5 3.5 0 0 1 0 7H7" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" />
  </svg>
);

function FilterBox() {
  const store = useStore();
  const text = useSignal(print(store.state.peek().filter));
  const error = useSignal<FilterError | null>(null);
  /** the filter that the text stands for: any other one came from elsewhere and replaces the text */
  const own = useRef(JSON.stringify(store.state.peek().filter));
  const help = useSignal(false);
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const names = store.spec.columns.filter((c) => c.kind !== "media").map((c) => c.name);
  useSignalEffect(() => {
    const { filter } = store.state.value;
    const now = JSON.stringify(filter);
    if (now === own.current) return;
    own.current = now;
    text.value = print(filter);
    error.value = null;
  });
  useEffect(() => () => clearTimeout(timer.current), []);
  const read = () => {
    clearTimeout(timer.current);
    try {
      const tree = parse(text.peek(), names);
      const wrong = tree && store.engine.local ? check(tree) : null;
      if (wrong) throw wrong;
      error.value = null;
      own.current = JSON.stringify(tree);
      store.set({ filter: tree }, "filter box");
    } catch (problem) {
      error.value = problem as FilterError;
    }
  };
  /** A tree that reads well may still compare what does not compare. */
  const check = (tree: Tree): FilterError | null => {
    try {
      store.engine.local!.test(tree);
      return null;
    } catch (problem) {
      return problem as FilterError;
    }
  };
  const onInput = (value: string) => {
    text.value = value;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => read(), 350);
  };
  const problem = error.value;
  return (
    <div class="sym-filter">
      <div class="sym-filter-line">
        <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><path d="M2 3h12l-4.6 5.6v4.4l-2.8-1.4v-3z" fill="none" stroke="currentColor" stroke-width="1.3" stroke-linejoin="round" /></svg>
        <input
          ref={input} type="text" value={text.value} spellcheck={false} autocomplete="off" placeholder={example(store.spec.columns)} aria-label="Filter" aria-invalid={!!problem}
          aria-describedby={problem ? store.uid("filter-error") : undefined}
          onBlur={() => {
            read();
            if (!error.peek()) text.value = print(store.state.peek().filter);
          }}
          onInput={(e) => onInput(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key === "Enter") read();
            else if (e.key === "Escape") {
              text.value = "";
              read();
            }
          }}
        />
        {text.value && <button type="button" class="sym-quiet" aria-label="Clear the filter" onClick={() => { text.value = ""; read(); }}>×</button>}
        <button type="button" class="sym-quiet" aria-expanded={help.value} aria-label="How to write a filter" onClick={() => (help.value = !help.value)}>?</button>
      </div>
      {problem && (
        <p class="sym-error" id={store.uid("filter-error")} role="alert">
          {problem.pos !== null && problem.pos !== undefined && text.value && <code aria-hidden="true">{[...text.value].slice(Math.max(0, problem.pos - 12), problem.pos).join("")}<mark>{[...text.value].slice(problem.pos, problem.pos + 12).join("") || " "}</mark></code>}
          {problem.message}
        </p>
      )}
      {help.value && <Help />}
    </div>
  );
}

const bare = (name: string) => print(["missing", name]).slice(0, -" is missing".length);

function example(columns: { name: string; kind: string }[]): string {
  const find = (kind: string, rest: string) => columns.filter((c) => c.kind === kind).slice(0, 1).map((c) => bare(c.name) + rest);
  const parts = [...find("number", " >= 0.5"), ...find("category", ' in ["a", "b"]')];
  return `Filter rows${parts.length ? `, such as ${parts.join(" and ")}` : ""}`;
}

const HELP: [string, string][] = [
  ["== != < <= > >=", 'a number, "text", true or @2024-01-31'],
  ["between 1 and 2", "with both ends"],
  ['in ["a", "b"]', "one of a list"],
  ["contains, startswith", "parts of text; A is not a"],
  ["is missing, is not missing", "what is missing compares false"],
  ["and, or, not, ( )", "not binds tightest, then and"],
];

const Help = () => <dl class="sym-help">{HELP.map(([code, text]) => [<dt><code>{code}</code></dt>, <dd>{text}</dd>])}</dl>;

function GroupBy() {
  const store = useStore();
  const now = store.state.value.group_by;
  const open = store.spec.columns.filter((c) => !now.includes(c.name) && c.kind !== "media" && !c.url && (c.kind === "category" || c.kind === "bool" || (c.integer && (c.levels ?? 1e9) <= 1000) || (c.levels ?? 1e9) <= 50));
  if (!open.length && !now.length) return null;
  return (
    <label class="sym-select">
      <span class="sym-hidden">Group by</span>
      <select value="" onChange={(e) => {
        const name = e.currentTarget.value;
        e.currentTarget.value = "";
        if (name) store.set({ group_by: [...now, name] });
      }}>
        <option value="">Group by</option>
        {open.map((c) => <option key={c.name} value={c.name}>{c.name}</option>)}
      </select>
    </label>
  );
}

function RowCount() {
  const store = useStore();
  const answer = useAnswer<CountAnswer>({ kind: "count" });
  const spoken = useSignal("");
  const text = answer ? `${count(answer.visible)} of ${count(answer.all)} rows` : "";
  useEffect(() => {
    const timer = setTimeout(() => (spoken.value = text), 600);
    return () => clearTimeout(timer);
  }, [text]);
  const share = answer ? answer.visible / Math.max(1, answer.all) : 1;
  return (
    <span class="sym-count">
      <span data-visible={answer?.visible ?? ""}><b>{answer ? count(answer.visible) : "…"}</b> of {count(answer?.all ?? store.spec.rows)} rows</span>
      <i class="sym-meter" aria-hidden="true"><i style={{ width: `${100 * share}%` }} /></i>
      <span class="sym-hidden" aria-live="polite" role="status">{spoken.value}</span>
    </span>
  );
}

/** What a tree says, in few words. */
function describeTree(tree: Tree): string {
  const [op, a, b, c] = tree;
  const value = (v: any) => (v && typeof v === "object" ? print(["==", "x", v]).slice(5) : cellText(v));
  if (op === "bin") return b === null ? `${a} < ${value(c)}` : c === null ? `${a} ≥ ${value(b)}` : `${a} ${value(b)} – ${value(c)}`;
  if (op === "between") return `${a} ${value(b)} – ${value(c)}`;
  if (op === "in") return `${a}: ${b.slice(0, 3).map(value).join(", ")}${b.length > 3 ? ` +${b.length - 3}` : ""}`;
  if (op === "==") return `${a} = ${value(b)}`;
  if (op === "missing") return `${a} missing`;
  if (op === "lasso") return `lasso in ${a} × ${b}`;
  if (op === "rows") return "chosen rows";
  if (op === "and" || op === "or") return tree.slice(1).map(describeTree).join(op === "and" ? ", " : " or ");
  const text = print(tree);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

function Chips() {
  const store = useStore();
  const { brushes, group_by, filter } = store.state.value;
  const keys = Object.keys(brushes).sort();
  const some = keys.length > 0 || group_by.length > 0 || filter !== null;
  return (
    <span class="sym-chips">
      {group_by.map((name) => (
        <button type="button" key={`g ${name}`} class="sym-chip" aria-label={`Remove the grouping by ${name}`} onClick={() => store.set({ group_by: group_by.filter((n) => n !== name) })}>
          <small>by</small> {name} <b aria-hidden="true">×</b>
        </button>
      ))}
      {keys.map((key) => (
        <button type="button" key={key} class="sym-chip sym-chip-on" aria-label={`Clear the brush ${describeTree(brushes[key])}`} onClick={() => store.brush(key, null)}>
          {describeTree(brushes[key])} <b aria-hidden="true">×</b>
        </button>
      ))}
      {some && <button type="button" class="sym-quiet" onClick={() => store.set({ filter: null, brushes: {}, group_by: [] })}>Clear all</button>}
    </span>
  );
}

function SelectionTools() {
  const store = useStore();
  const n = store.selected.value.length;
  const copied = useSignal(false);
  const { local } = store.engine;
  const copy = async () => {
    const rows = store.selected.peek();
    const { id } = store.spec;
    const text = JSON.stringify(id && local?.find(id) ? rows.map((row) => local.cellAt(id, row)) : rows);
    try {
      await navigator.clipboard.writeText(text);
      copied.value = true;
      setTimeout(() => (copied.value = false), 1500);
    } catch {
      store.notify("copy", "this page may not write to the clipboard");
    }
  };
  if (!n) return local && <button type="button" class="sym-quiet" onClick={() => store.select(local.list({ view: "", sort: [], scope: "visible" }))}>Select visible</button>;
  return (
    <span class="sym-selection">
      <b>{count(n)}</b> selected
      <button type="button" class="sym-quiet" title="Keep only the selected rows in every view" onClick={() => store.brush("selection", ["rows", encodeRows(store.selected.peek())])}>Keep only</button>
      <button type="button" class="sym-quiet" onClick={copy}>{copied.value ? "Copied" : "Copy"}</button>
      <button type="button" class="sym-quiet" onClick={() => store.select([])}>Clear</button>
    </span>
  );
}
