// A matrix of coloured cells, walked with the arrow keys; a click on a cell is a brush.

import { px } from "./context.tsx";
import type { RGB } from "../core/raster.ts";
import { css, ink } from "./theme.ts";

export interface GridCell {
  text: string;
  /** said by a screen reader and shown on hover */
  label: string;
  color: RGB | null;
}

export interface GridHead {
  name: string;
  onPress?: () => void;
  /** opened or closed, for headers that fold */
  open?: boolean;
  depth?: number;
  title?: string;
}

interface Props {
  label: string;
  rows: GridHead[];
  columns: GridHead[];
  rowName: string;
  columnName: string;
  cell(i: number, j: number): GridCell;
  pressed(i: number, j: number): boolean;
  pick(i: number, j: number, event: MouseEvent): void;
  clear(): void;
  side: number;
  wide?: number;
}

export function Grid({ label, rows, columns, rowName, columnName, cell, pressed, pick, clear, side, wide = side }: Props) {
  const onKeyDown = (event: KeyboardEvent) => {
    const cells = [...(event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("td button")];
    const at = cells.indexOf(document.activeElement as HTMLElement);
    const step: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns.length, ArrowUp: -columns.length };
    if (event.key === "Escape") clear();
    else if (event.key in step && at >= 0) cells[at + step[event.key]]?.focus();
    else return;
    event.preventDefault();
  };
  const head = (h: GridHead) =>
    h.onPress ? (
      <button type="button" title={h.title ?? h.name} aria-expanded={h.open} onClick={h.onPress}>
        {h.open !== undefined && <i aria-hidden="true">{h.open ? "▾ " : "▸ "}</i>}{h.name}
      </button>
    ) : <span title={h.title ?? h.name}>{h.name}</span>;
  const long = Math.max(0, ...columns.map((h) => h.name.length));
  const tilt = long * 7 > wide;
  return (
    <div class="sym-matrix" onKeyDown={onKeyDown}>
      <table aria-label={label}>
        <thead>
          <tr>
            <th class="sym-corner"><span>{rowName} ↓</span><span>{columnName} →</span></th>
            {columns.map((h) => <th scope="col" class={tilt ? "sym-tilt" : ""} style={px({ height: tilt ? Math.min(110, 14 + long * 5) : undefined, width: wide, maxWidth: wide })}>{head(h)}</th>)}
          </tr>
        </thead>
        <tbody>
          {rows.map((r, i) => (
            <tr>
              <th scope="row" style={px({ paddingLeft: 12 * (r.depth ?? 0) })}>{head(r)}</th>
              {columns.map((_, j) => {
                const c = cell(i, j);
                const on = pressed(i, j);
                return (
                  <td>
                    <button
                      type="button" tabindex={i === 0 && j === 0 ? 0 : -1} aria-label={c.label} title={c.label} aria-pressed={on} onClick={(event) => pick(i, j, event)}
                      style={px({ width: wide, height: side, background: c.color ? css(c.color) : undefined, color: c.color ? ink(c.color) : undefined })}
                    >
                      {c.text}
                    </button>
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
