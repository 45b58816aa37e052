// Columns side by side, a line a row: pictures beside their reconstructions, texts beside each other.

import { useSignal } from "@preact/signals";
import type { RowsAnswer, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { px, useAnswer, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";
import { describe, Instance } from "./media.tsx";
import { Slider } from "./slider.tsx";
import { useWindow } from "./virtual.ts";

const CHUNK = 20;

export function Compare({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { options } = view;
  const columns = (options.columns ?? []).map((name: string) => store.column(name)).filter(Boolean);
  const caption: string[] = (options.caption ?? []).filter((name: string) => store.column(name));
  const size: number = options.size ?? 96;
  const pictures = columns.some((c: any) => c.kind === "media" && c.media?.type !== "text");
  const line = pictures ? size + 12 : columns.some((c: any) => c.kind === "text" || c.media?.type === "text") ? 84 : 34;
  const height = options.height ?? 360;
  const total = useSignal(store.spec.rows);
  const win = useWindow(total.value, line, height);
  const offset = Math.floor(win.first / CHUNK) * CHUNK;
  const limit = Math.max(CHUNK, Math.ceil((win.last - offset) / CHUNK) * CHUNK);
  const names = [...columns.map((c: any) => c.name), ...caption];
  const answer = useAnswer<RowsAnswer>({ kind: "rows", view: view.id, columns: names, sort: store.state.value.sort, offset, limit, scope: "visible" });
  if (answer && total.peek() !== answer.total) total.value = answer.total;
  const selected = store.selectedSet.value;
  const title = columns.map((c: any) => c.name).join(", ");
  if (columns.length < 2) return <Card view={view} title="Compare"><Message>Name two columns or more to compare.</Message></Card>;
  const template = `${caption.length ? "minmax(90px, 160px) " : "56px "}${columns.map(() => "minmax(0, 1fr)").join(" ")}`;
  const move = (event: KeyboardEvent) => {
    const element = event.currentTarget as HTMLElement;
    const next = event.key === "ArrowDown" ? element.nextElementSibling : event.key === "ArrowUp" ? element.previousElementSibling : null;
    if (next) (next as HTMLElement).focus();
    else if (event.key === "Enter" || event.key === " ") store.pick(Number(element.dataset.row), { shiftKey: event.shiftKey, ctrlKey: event.key === " ", metaKey: false }, answer?.index);
    else return;
    event.preventDefault();
  };
  const lines = [];
  for (let at = win.first; at < Math.min(win.last, total.value); at++) {
    const row = answer?.index[at - offset];
    const values = answer?.rows[at - offset];
    if (row === undefined || !values) continue;
    const notes = caption.map((name, k) => cellText(values[columns.length + k], store.column(name)));
    lines.push(
      <div
        role="option" tabIndex={lines.length ? -1 : 0} aria-selected={selected.has(row)} key={row} data-row={row} class={`sym-row sym-compare-row ${selected.has(row) ? "sym-on" : ""}`} style={px({ gridTemplateColumns: template, height: line })}
        aria-label={`row ${count(row)}, ${describe(store, names, values, row)}`} onClick={(event) => store.pick(row, event, answer!.index)} onKeyDown={move} onMouseEnter={() => (store.hover.value = row)}
      >
        <span class="sym-cell sym-remark sym-compare-note">{caption.length ? notes.map((note, k) => <span key={k} title={`${caption[k]}: ${note}`}>{note}</span>) : count(row)}</span>
        {columns.map((column: any, k: number) => (
          <span class="sym-compare-cell" key={column.name}>
            {column.kind === "media" ? <Instance column={column} row={row} size={size} alt={`${column.name} of row ${count(row)}`} /> : <span class="sym-text">{cellText(values[k], column, true, 1200)}</span>}
          </span>
        ))}
      </div>,
    );
  }
  return (
    <Card view={view} title={title} remark={`${count(total.value)} rows`} flush>
      {options.slider && <div class="sym-inset"><Slider view={view} /></div>}
      <div class="sym-row sym-head sym-compare-head" style={px({ gridTemplateColumns: template })} aria-hidden="true">
        <span class="sym-cell">{caption.join(", ") || "row"}</span>
        {columns.map((c: any) => <b class="sym-compare-cell" key={c.name}>{c.name}</b>)}
      </div>
      <div class="sym-table" style={px({ maxHeight: height })} ref={win.ref} onScroll={win.onScroll} onMouseLeave={() => (store.hover.value = -1)}>
        <div style={px({ height: win.tall })}><div role="listbox" aria-multiselectable="true" aria-label={title} style={px({ transform: `translateY(${win.top}px)` })}>{lines}</div></div>
      </div>
      {total.value === 0 && <Message>No row is visible under this filter.</Message>}
    </Card>
  );
}
