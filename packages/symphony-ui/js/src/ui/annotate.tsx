// Labels and notes on instances: one at a time or on the selection; out of an offline page by download.

import { useSignal } from "@preact/signals";
import type { RowsAnswer, ViewSpec } from "../core/types.ts";
import { Card } from "./card.tsx";
import { useAnswer, useLatest, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";
import { describe, Instance, mediaColumn } from "./media.tsx";

const LISTED = 200;

export function Annotate({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { options } = view;
  const labels: string[] = options.labels ?? [];
  const media = mediaColumn(store, options.media);
  const caption: string[] = options.caption ?? [];
  const at = useSignal(0);
  const selected = store.selected.value;
  const walk = useAnswer<RowsAnswer>({ kind: "rows", view: view.id, columns: caption, sort: store.state.value.sort, offset: at.value, limit: 1, scope: "visible" });
  const rows = selected.length ? selected : walk && walk.index.length ? [walk.index[0]] : [];
  const row = rows[0];
  const values = useRow(caption, row, selected.length > 0, walk);
  const notes = store.notes.value;
  const now = row === undefined ? undefined : notes.get(row);
  const total = walk?.total ?? 0;
  const step = (by: number) => (at.value = Math.max(0, Math.min(total - 1, at.value + by)));
  const put = (label: string) => {
    const same = rows.every((r) => notes.get(r)?.label === label);
    store.annotate(rows, { label: same ? "" : label });
    if (!same && !selected.length) step(1);
  };
  const onKeyDown = useLatest((event: KeyboardEvent) => {
    if ((event.target as Element).closest("textarea")) return;
    const k = Number(event.key) - 1;
    if (labels[k]) put(labels[k]);
    else if (event.key === "ArrowRight" && !selected.length) step(1);
    else if (event.key === "ArrowLeft" && !selected.length) step(-1);
    else return;
    event.preventDefault();
  });
  const all = [...notes.keys()].sort((a, b) => a - b);
  return (
    <Card view={view} title="Annotate" remark={`${count(all.length)} annotated`} actions={<Downloads />}>
      <div class="sym-annotate" onKeyDown={onKeyDown} tabindex={0} role="group" aria-label="Annotate. Number keys give labels, left and right arrows walk through the visible rows.">
        <div class="sym-annotate-now">
          {row === undefined ? <span class="sym-remark">No row is visible.</span> : (
            <>
              {media && <Instance column={media} row={row} size={Math.max(120, media.media?.size ?? 0)} alt={describe(store, caption, values, row)} />}
              <div class="sym-annotate-form">
                <p>
                  {selected.length > 1 ? <><b>{count(selected.length)}</b> selected rows</> : <>Row <b>{count(row)}</b></>}
                  {selected.length ? <button type="button" class="sym-quiet" onClick={() => store.select([])}>Walk through all</button> : <span class="sym-remark"> {count(at.value + 1)} of {count(total)}</span>}
                </p>
                {selected.length <= 1 && caption.length > 0 && <p class="sym-remark">{caption.map((name, k) => `${name}: ${cellText(values[k] ?? null, store.column(name))}`).join(", ")}</p>}
                <div class="sym-labels" role="group" aria-label="Labels">
                  {labels.map((label, k) => (
                    <button type="button" key={label} class="sym-button sym-wide" aria-pressed={rows.every((r) => notes.get(r)?.label === label)} onClick={() => put(label)}>
                      {k < 9 && <kbd>{k + 1}</kbd>} {label}
                    </button>
                  ))}
                </div>
                <textarea rows={2} placeholder="Note" aria-label="Note" key={String(row)} value={now?.note ?? ""} onChange={(e) => store.annotate(rows, { note: e.currentTarget.value })} />
                {!selected.length && (
                  <p>
                    <button type="button" class="sym-quiet" disabled={at.value === 0} onClick={() => step(-1)}>← Previous</button>
                    <button type="button" class="sym-quiet" disabled={at.value >= total - 1} onClick={() => step(1)}>Next →</button>
                  </p>
                )}
              </div>
            </>
          )}
        </div>
        <div class="sym-data sym-annotated" tabindex={0} role="region" aria-label="Annotated rows">
          <table>
            <thead><tr><th scope="col">row</th><th scope="col">label</th><th scope="col">note</th><th><span class="sym-hidden">remove</span></th></tr></thead>
            <tbody>
              {all.slice(0, LISTED).map((r) => (
                <tr key={r}>
                  <td><button type="button" class="sym-quiet" onClick={() => store.select([r])}>{count(r)}</button></td>
                  <td>{notes.get(r)!.label}</td><td>{notes.get(r)!.note}</td>
                  <td><button type="button" class="sym-quiet" aria-label={`Remove the annotation of row ${count(r)}`} onClick={() => store.annotate([r], { label: "", note: "" })}>×</button></td>
                </tr>
              ))}
            </tbody>
          </table>
          {!all.length && <p class="sym-remark">Nothing is annotated yet.</p>}
          {all.length > LISTED && <p class="sym-remark">and {count(all.length - LISTED)} more</p>}
        </div>
      </div>
    </Card>
  );
}

function useRow(caption: string[], row: number | undefined, picked: boolean, walk: RowsAnswer | null) {
  const store = useStore();
  if (!picked) return walk?.rows[0] ?? [];
  const local = store.engine.local;
  return local && row !== undefined ? caption.map((name) => (local.cellAt(name, row))) : [];
}

const quote = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function Downloads() {
  const store = useStore();
  const copy = store.host.copy;
  const give = (blob: Blob, name: string) => {
    const url = URL.createObjectURL(blob);
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  const csv = () => {
    const { row, label, note } = store.annotations();
    const lines = row.map((r, k) => [String(r), label[k], note[k]].map(quote).join(","));
    give(new Blob([["row,label,note", ...lines].join("\r\n"), "\r\n"], { type: "text/csv" }), "annotations.csv");
  };
  const page = () => give(copy!({ ...store.spec, annotations: store.annotations(), state: store.state.peek() }), `${store.spec.title.replace(/[^\p{L}\p{N}]+/gu, "-").toLowerCase() || "page"}-annotated.html`);
  return (
    <>
      <button type="button" class="sym-quiet" onClick={csv}>Download CSV</button>
      {copy && <button type="button" class="sym-quiet" title="This page as a file, with the annotations in it" onClick={page}>Save page</button>}
    </>
  );
}
