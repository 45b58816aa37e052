// The rows themselves: virtualised, sorted by their headers, selected by click or keys.

import { useSignal } from "@preact/signals";
import type { ColumnSpec, RowsAnswer, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { px, useAnswer, useLatest, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";
import { Instance } from "./media.tsx";
import { Slider } from "./slider.tsx";
import { useWindow } from "./virtual.ts";

const ROW = 28;
const PICTURE_ROW = 44;
const CHUNK = 50;

const columnWidth = (column: ColumnSpec, size?: number): string =>
  column.kind === "text" || column.media?.type === "text" ? "minmax(160px, 3fr)" : column.kind === "media" ? (size ? `minmax(${size + 16}px, 1fr)` : "72px") : column.kind === "bool" ? "minmax(64px, 1fr)" : "minmax(88px, 1fr)";

export function Table({ view }: { view: ViewSpec }) {
  const { columns } = useStore().spec;
  return <Rows view={view} title="Table" names={view.options.columns ?? columns.map((c) => c.name)} />;
}

/** Columns side by side: pictures beside their reconstructions, texts beside each other. */
export function Compare({ view }: { view: ViewSpec }) {
  const { columns, caption = [], size = 96 } = view.options;
  return <Rows view={view} title={columns.join(", ")} names={[...caption, ...columns]} size={size} />;
}

function Rows({ view, title, names, size }: { view: ViewSpec; title: string; names: string[]; size?: number }) {
  const store = useStore();
  const columns = names.map((name) => store.column(name)!);
  const has = (type: string) => columns.some((c) => c.media?.type === type);
  const rowHeight = size ? (has("image") ? size + 10 : has("text") || columns.some((c) => c.kind === "text") ? 84 : has("audio") ? 44 : ROW) : has("image") ? PICTURE_ROW : ROW;
  const height = view.options.height ?? Math.min(380, ROW + Math.max(2, store.spec.rows) * rowHeight + 2);
  const active = useSignal(0);
  const total = useSignal(store.spec.rows);
  const win = useWindow(total.value, rowHeight, height - ROW);
  const offset = Math.floor(win.first / CHUNK) * CHUNK;
  const limit = Math.ceil((win.last - offset) / CHUNK) * CHUNK || CHUNK;
  const { sort } = store.state.value;
  const query = { kind: "rows", view: view.id, columns: columns.map((c) => c.name), sort, offset, limit, scope: "visible" } as const;
  const answer = useAnswer<RowsAnswer>(query);
  if (answer && total.peek() !== answer.total) total.value = answer.total;
  const selected = store.selectedSet.value;

  const sortBy = (name: string, more: boolean) => {
    const now = sort.find(([n]) => n === name)?.[1];
    const next = now === undefined ? "asc" : now === "asc" ? "desc" : null;
    const others = more ? sort.filter(([n]) => n !== name) : [];
    store.set({ sort: next ? [...others, [name, next]] : others });
  };
  const pick = (event: any, at: number) => {
    if (!answer) return;
    const row = answer.index[at - offset];
    if (row !== undefined) store.pick(row, event, answer.index);
  };
  const onKeyDown = useLatest((event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(height / rowHeight) - 2);
    const step: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -total.value, End: total.value };
    if (event.key in step) {
      const next = Math.max(0, Math.min(total.value - 1, active.value + step[event.key]));
      active.value = next;
      win.reveal(next);
      if (event.shiftKey && answer) store.select([answer.index[next - offset]].filter((r) => r !== undefined), "add");
    } else if (event.key === " " || event.key === "Enter") pick({ ctrlKey: event.key === " ", metaKey: false, shiftKey: event.shiftKey }, active.value);
    else if (event.key === "Escape" && selected.size) store.select([]);
    else return;
    event.preventDefault();
  });
  if (!columns.length) return <Card view={view} title={title}><Message>This table has no columns.</Message></Card>;
  const template = `64px ${columns.map((c) => columnWidth(c, size)).join(" ")}`;
  const least = 64 + columns.reduce((w, c) => w + (c.kind === "text" ? 160 : c.kind === "media" ? (size ?? 64) + 8 : 88), 0);
  const rows = [];
  for (let at = win.first; at < Math.min(win.last, total.value); at++) {
    const k = at - offset;
    const row = answer?.index[k];
    const values = answer?.rows[k];
    if (row === undefined || !values) continue;
    const on = selected.has(row);
    rows.push(
      <div
        role="row" key={row} id={store.uid(`${view.id}-row-${at}`)} aria-rowindex={at + 2} aria-selected={on} data-row={row}
        class={`sym-row ${on ? "sym-on" : ""} ${at === active.value ? "sym-active" : ""}`} style={px({ gridTemplateColumns: template, height: rowHeight })}
        onClick={(event) => {
          active.value = at;
          pick(event, at);
        }}
        onMouseEnter={() => (store.hover.value = row)}
      >
        <span role="rowheader" class="sym-cell sym-index">{count(row)}</span>
        {columns.map((column, c) => <Cell key={column.name} column={column} value={values[c]} row={row} size={size} />)}
      </div>,
    );
  }
  return (
    <Card view={view} title={title} remark={`${count(total.value)} rows`} flush>
      {view.options.slider && <div class="sym-inset"><Slider view={view} /></div>}
      <div class="sym-table-box">
        <div
          class="sym-table" role="grid" aria-label={view.options.title ?? title} aria-rowcount={total.value + 1} aria-colcount={columns.length + 1} aria-multiselectable="true"
          tabindex={0} aria-activedescendant={total.value ? store.uid(`${view.id}-row-${active.value}`) : undefined} style={px({ height })} ref={win.ref} onScroll={win.onScroll} onKeyDown={onKeyDown}
          onMouseLeave={() => (store.hover.value = -1)}
        >
          <div role="row" aria-rowindex={1} class="sym-row sym-head" style={px({ gridTemplateColumns: template, minWidth: least })}>
            <span role="columnheader" class="sym-cell sym-index">row</span>
            {columns.map((column) => {
              const way = sort.find(([n]) => n === column.name)?.[1];
              return (
                <span role="columnheader" class={`sym-cell ${column.kind === "number" ? "sym-num" : ""}`} aria-sort={way ? (way === "asc" ? "ascending" : "descending") : "none"}>
                  {column.kind === "media" ? column.name : (
                    <button type="button" title={`Sort by ${column.name} (Shift keeps the other sorts)`} onClick={(event) => sortBy(column.name, event.shiftKey)}>
                      {column.name}<i aria-hidden="true">{way === "asc" ? "▲" : way === "desc" ? "▼" : ""}</i>
                    </button>
                  )}
                </span>
              );
            })}
          </div>
          <div role="rowgroup" class="sym-rows" style={px({ height: win.tall, minWidth: least })}>
            <div role="presentation" style={{ transform: `translateY(${win.top}px)` }}>{rows}</div>
          </div>
        </div>
        {answer && total.value === 0 && <Message>No row is visible under this filter.</Message>}
      </div>
    </Card>
  );
}

function Cell({ column, value, row, size }: { column: ColumnSpec; value: any; row: number; size?: number }) {
  if (column.kind === "media") return <span role="gridcell" class={size ? "sym-cell sym-wrap" : "sym-cell"}><Instance column={column} row={row} small={!size} size={size} /></span>;
  const text = cellText(value, column, true, size ? 1200 : 300);
  const missing = value === null;
  if (column.url && typeof value === "string" && /^https?:\/\//i.test(value)) {
    return <span role="gridcell" class="sym-cell"><a href={value} target="_blank" rel="noopener noreferrer nofollow" onClick={(e) => e.stopPropagation()}>{text}</a></span>;
  }
  return (
    <span role="gridcell" class={`sym-cell ${column.kind === "number" ? "sym-num" : ""} ${missing ? "sym-gone" : ""} ${size ? "sym-wrap" : ""}`} title={text.length > 14 ? text : undefined}>
      {text}{missing && <span class="sym-hidden"> missing</span>}
    </span>
  );
}
