// What a hovered row holds.

import { cell } from "../core/columns.ts";
import type { ColumnSpec } from "../core/types.ts";
import { px, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";
import { Instance } from "./media.tsx";

interface Props {
  row: number;
  x: number;
  y: number;
  width: number;
  height: number;
  media?: ColumnSpec;
  /** columns to begin with; the first few others follow */
  columns: (string | null | undefined)[];
}

export function Tooltip({ row, x, y, width, height, media, columns }: Props) {
  const store = useStore();
  const engine = store.engine.local;
  if (!engine) return null;
  const first = columns.filter((name): name is string => !!name);
  const rest = store.spec.columns.filter((c) => c.kind !== "media" && !first.includes(c.name)).map((c) => c.name);
  const names = [...new Set([...first, ...rest])].slice(0, 7);
  const values = names.map((name) => engine.find(name)).map((c, k) => (c ? cellText(cell(c, row), store.column(names[k]), false, 60) : "–"));
  const left = x > width / 2;
  const up = y > height / 2;
  const style = { [left ? "right" : "left"]: (left ? width - x : x) + 14, [up ? "bottom" : "top"]: (up ? height - y : y) + 8 };
  return (
    <div class="sym-tip" style={px(style)} aria-hidden="true">
      {media && <Instance column={media} row={row} size={Math.max(72, Math.min(128, media.media?.size ?? 96))} />}
      <dl>
        <dt>row</dt><dd>{count(row)}</dd>
        {names.map((name, k) => [<dt key={`${name} `}>{name}</dt>, <dd key={name}>{values[k]}</dd>])}
      </dl>
    </div>
  );
}
