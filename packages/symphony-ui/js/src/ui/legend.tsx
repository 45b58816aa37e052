// Colours by a column: codes with a legend for categories, a ramp for numbers.

import type { Signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { binCodes, extent } from "../core/bins.ts";
import { SHAPES, type RGB, type Shade } from "../core/raster.ts";
import type { ColumnSpec } from "../core/types.ts";
import { useLevels, useStore } from "./context.tsx";
import { axisNumber, count } from "./format.ts";
import { CATEGORIES, OTHER, pageColor, SEQUENTIAL } from "./theme.ts";

export interface Colors {
  column: ColumnSpec | null;
  /** names of the coloured categories, then perhaps others and missing */
  names: string[];
  span: [number, number] | null;
  /** What the raster needs; with `only`, every other category is pale. */
  scene(root: Element, only: number | null): Shade;
}

export const colorAt = (k: number, named: number): string => (k < named ? CATEGORIES[k] : OTHER);

/** The colours of the points, by a column or all alike. */
export function useShade(name: string | null): Colors {
  const store = useStore();
  const engine = store.engine.local!;
  const column = name ? (store.column(name) ?? null) : null;
  const categorical = column?.kind === "category" || column?.kind === "bool";
  const found = useLevels(categorical ? column!.name : null, CATEGORIES.length);
  return useMemo(() => {
    if (column && categorical) {
      const levels = found?.levels ?? [];
      const codes = binCodes(engine.column(column.name), { type: "levels", levels });
      const tail = [0, 0];
      for (let i = 0; i < codes.length; i++) if (codes[i] >= levels.length) tail[codes[i] - levels.length]++;
      const names = [...levels.map((l) => l || "(empty)"), ...(tail[0] ? [`${count((found?.total ?? 0) - levels.length)} others`] : []), ...(tail[1] ? ["missing"] : [])];
      if (!tail[0]) for (let i = 0; i < codes.length; i++) if (codes[i] === levels.length + 1) codes[i]--;
      const scene = (root: Element, only: number | null): Shade => {
        const ghost = pageColor(root, "var(--sym-ghost)");
        const colors: RGB[] = names.map((_, k) => (only !== null && only !== k ? ghost : pageColor(root, colorAt(k, levels.length))));
        return { type: "codes", codes, colors };
      };
      return { column, names, span: null, scene };
    }
    if (column && (column.kind === "number" || column.kind === "time")) {
      const values = engine.column(column.name).values!;
      const span = column.extent ?? extent(values) ?? [0, 1];
      const scene = (root: Element): Shade => ({ type: "ramp", values, lo: span[0], hi: span[1], colors: SEQUENTIAL, missing: pageColor(root, OTHER) });
      return { column, names: [], span, scene };
    }
    const codes = new Uint8Array(engine.rows);
    return { column: null, names: [], span: null, scene: (root) => ({ type: "codes", codes, colors: [pageColor(root, "var(--sym-accent)")] }) };
  }, [engine, column, categorical, found]);
}

export function Legend({ colors, highlight }: { colors: Colors; highlight: Signal<number | null> }) {
  const { column, names, span } = colors;
  if (!column) return null;
  if (span) {
    const stops = [0, 0.25, 0.5, 0.75, 1].map((s) => `rgb(${SEQUENTIAL[Math.round(s * 255)].join(" ")})`);
    return (
      <div class="sym-legend" role="group" aria-label={`Colour: ${column.name}`}>
        <b>{column.name}</b><span>{axisNumber(span[0], column)}</span>
        <i class="sym-ramp" style={{ background: `linear-gradient(90deg, ${stops.join(",")})` }} /><span>{axisNumber(span[1], column)}</span>
      </div>
    );
  }
  const named = names.filter((n) => n !== "missing" && !/^[\d,]+ others$/.test(n)).length;
  return (
    <div class="sym-legend" role="group" aria-label={`Colour: ${column.name}. Press one to bring it out.`}>
      <b>{column.name}</b>
      {names.map((name, k) => (
        <button type="button" key={k} aria-pressed={highlight.value === k} onClick={() => (highlight.value = highlight.value === k ? null : k)}>
          <Swatch shape={k} color={colorAt(k, named)} />{name}
        </button>
      ))}
    </div>
  );
}

const OUTLINES: Record<(typeof SHAPES)[number], string> = {
  circle: "M6 1.5a4.5 4.5 0 1 0 .01 0z",
  square: "M2 2h8v8h-8z",
  triangle: "M6 1l5 9h-10z",
  diamond: "M6 .5l5.5 5.5-5.5 5.5-5.5-5.5z",
  plus: "M4.2 1h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
  down: "M6 11l5-9h-10z",
  cross: "M3.2 .8l2.8 2.8 2.8-2.8 2.4 2.4-2.8 2.8 2.8 2.8-2.4 2.4-2.8-2.8-2.8 2.8-2.4-2.4 2.8-2.8-2.8-2.8z",
  ring: "M6 1a5 5 0 1 0 .01 0zM6 3.8a2.2 2.2 0 1 1-.01 0z",
};

export function Swatch({ shape, color }: { shape: number; color: string }) {
  return <svg class="sym-swatch" width="12" height="12" viewBox="0 0 12 12" aria-hidden="true"><path style={{ fill: color }} fill-rule="evenodd" d={OUTLINES[SHAPES[shape % SHAPES.length]]} /></svg>;
}
