// Instances as tiles: a picture, sound or text with its caption; a list box that is walked with the arrow keys.

import type { Cell, ColumnSpec, RowsAnswer, Tree } from "../core/types.ts";
import { px, useAnswer, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";
import { describe, Instance } from "./media.tsx";

export interface TileShape {
  width: number;
  height: number;
  /** side of the picture */
  size: number;
}

/** How large a tile of a medium is, with a line for the caption. */
export function tileShape(column: ColumnSpec | undefined, size: number | null | undefined, captions: number): TileShape {
  const line = 17 * Math.min(3, captions);
  const type = column?.media?.type;
  if (type === "text") return { size: 0, width: size ?? 300, height: 112 + line };
  if (type === "audio") return { size: 0, width: 236, height: 40 + line };
  if (!column) return { size: 0, width: 160, height: 22 + line };
  const side = Math.max(24, size ?? Math.max(64, column.media?.size ?? 64));
  return { size: side, width: side + 8, height: side + 8 + line };
}

interface TilesProps {
  index: ArrayLike<number>;
  values: Cell[][];
  caption: string[];
  media: ColumnSpec | undefined;
  shape: TileShape;
  label: string;
}

export function Tiles({ index, values, caption, media, shape, label }: TilesProps) {
  const store = useStore();
  const selected = store.selectedSet.value;
  const rows = Array.from(index);
  const onKeyDown = (event: KeyboardEvent) => {
    const tiles = [...(event.currentTarget as HTMLElement).children] as HTMLElement[];
    const at = tiles.indexOf(document.activeElement as HTMLElement);
    if (at < 0) return;
    const across = Math.max(1, tiles.findIndex((tile) => tile.offsetTop > tiles[0].offsetTop));
    const step: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at, End: tiles.length - 1 - at };
    if (event.key in step) {
      const next = Math.max(0, Math.min(tiles.length - 1, at + step[event.key]));
      tiles[next].focus();
      if (event.shiftKey) store.select([rows[at], rows[next]], "add");
    } else if (event.key === " " || event.key === "Enter") store.pick(rows[at], { shiftKey: event.shiftKey, ctrlKey: event.key === " ", metaKey: false }, index);
    else return;
    event.preventDefault();
  };
  return (
    <div class="sym-tiles" role="listbox" aria-multiselectable="true" aria-label={label} onKeyDown={onKeyDown}>
      {rows.map((row, k) => (
        <div
          role="option" key={row} tabindex={k === 0 ? 0 : -1} aria-selected={selected.has(row)} data-row={row} style={px({ width: shape.width, height: shape.height })}
          class={selected.has(row) ? "sym-tile sym-on" : "sym-tile"} title={describe(store, caption, values[k], row)}
          onClick={(event) => store.pick(row, event, index)} onMouseEnter={() => (store.hover.value = row)} onMouseLeave={() => (store.hover.value = -1)}
        >
          {media ? <Instance column={media} row={row} size={shape.size} alt={caption.length ? "" : undefined} /> : <span class="sym-remark">row {count(row)}</span>}
          {caption.length > 0 && <span class="sym-caption">{caption.map((name, c) => <span key={name}>{cellText(values[k][c], store.column(name), false, 40)}</span>)}</span>}
          <span class="sym-hidden">row {count(row)}</span>
        </div>
      ))}
    </div>
  );
}

interface RowTilesProps {
  view: string;
  where?: Tree;
  sort?: [string, "asc" | "desc"][];
  offset?: number;
  limit: number;
  caption: string[];
  media: ColumnSpec | undefined;
  shape: TileShape;
  label: string;
}

/** The tiles of the visible rows that `where` keeps. */
export function RowTiles({ view, where, sort, offset = 0, limit, ...rest }: RowTilesProps) {
  const answer = useAnswer<RowsAnswer>({ kind: "rows", view, columns: rest.caption, sort: sort ?? [], offset, limit, scope: "visible", where });
  return answer ? <Tiles index={answer.index} values={answer.rows} {...rest} /> : null;
}
