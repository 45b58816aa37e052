// Axes of two-dimensional charts: few ticks, no boxes.

import { scaleLinear, scaleLog, scaleUtc } from "d3-scale";
import type { ColumnSpec } from "../core/types.ts";
import { axisNumber } from "./format.ts";

export interface Scale {
  (v: number): number;
  invert(px: number): number;
  ticks: number[];
  text(v: number): string;
}

/** A scale of numbers or times onto pixels. */
export function makeScale(domain: [number, number], span: [number, number], count: number, column?: ColumnSpec, log = false): Scale {
  if (column?.kind === "time") {
    const inner = scaleUtc().domain(domain).range(span);
    const format = inner.tickFormat(count);
    return Object.assign((v: number) => inner(v), {
      invert: (px: number) => Number(inner.invert(px)), ticks: inner.ticks(count).map(Number), text: (v: number) => format(new Date(v)),
    });
  }
  const inner = (log ? scaleLog() : scaleLinear()).domain(domain).range(span);
  const decades = log ? Math.log10(domain[1] / domain[0]) : 0;
  let ticks: number[] = inner.ticks(count);
  if (log && decades >= 2) ticks = ticks.filter((t) => Math.abs(Math.log10(t) % 1) < 1e-9 || Math.abs(Math.abs(Math.log10(t) % 1) - 1) < 1e-9);
  const few = log && ticks.length > count + 2 ? ticks.filter((_, k) => k % Math.ceil(ticks.length / count) === 0) : ticks;
  const format = inner.tickFormat(count);
  const text = (v: number) => (log || Math.abs(v) >= 1e6 || (v !== 0 && Math.abs(v) < 1e-4) ? axisNumber(v, column) : format(v));
  return Object.assign((v: number) => inner(v), { invert: (px: number) => inner.invert(px), ticks: few, text });
}

interface AxesProps {
  x: Scale;
  y: Scale;
  left: number;
  top: number;
  width: number;
  height: number;
  xName: string;
  yName: string;
  grid?: boolean;
}

export function Axes({ x, y, left, top, width, height, xName, yName, grid }: AxesProps) {
  return (
    <g class="sym-axes" aria-hidden="true">
      {y.ticks.map((t) => (
        <g key={t} transform={`translate(0 ${y(t).toFixed(1)})`}>
          {grid && <line class="sym-grid" x1={left} x2={left + width} y1={0} y2={0} />}
          <text x={left - 6} y={0} dy="0.32em" text-anchor="end">{y.text(t)}</text>
        </g>
      ))}
      {x.ticks.map((t) => (
        <g key={t} transform={`translate(${x(t).toFixed(1)} ${top + height})`}>
          {grid && <line class="sym-grid" y1={0} y2={-height} x1={0} x2={0} />}
          <text y={15} text-anchor="middle">{x.text(t)}</text>
        </g>
      ))}
      <text class="sym-axis-name" x={left + width} y={top + height + 30} text-anchor="end">{xName}</text>
      <text class="sym-axis-name" x={left - 6} y={top - 8} text-anchor={left > 80 ? "end" : "start"} dx={left > 80 ? 0 : -left + 10}>{yName}</text>
    </g>
  );
}
