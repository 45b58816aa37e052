// Numbers, times and cells as people read them.

import { format } from "d3-format";
import { utcFormat } from "d3-time-format";
import type { Cell, ColumnSpec } from "../core/types.ts";

const whole = format(",d");
const short = format(",.4~g");
const long = format(",.6~g");
const tiny = format(".3~e");
const percentage = format(".1~%");

export const count = (n: number): string => whole(n);
export const percent = (share: number): string => percentage(share);

export function number(v: number, fine = false): string {
  if (v !== v) return "–";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  if (Number.isInteger(v) && size < 1e15) return whole(v);
  if (size >= 1e7 || size < 1e-4) return tiny(v);
  return size >= 1000 ? format(",.1~f")(v) : (fine ? long : short)(v);
}

const day = utcFormat("%Y-%m-%d");
const minute = utcFormat("%Y-%m-%d %H:%M");
const second = utcFormat("%Y-%m-%d %H:%M:%S");

const zones = new Map<string, Intl.DateTimeFormat | null>();
function zoned(zone: string): Intl.DateTimeFormat | null {
  if (!zones.has(zone)) {
    let made: Intl.DateTimeFormat | null = null;
    try {
      made = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
    } catch {
      made = null; // a zone that this browser does not know: shown in UTC
    }
    zones.set(zone, made);
  }
  return zones.get(zone)!;
}

export function time(ms: number, zone?: string | null): string {
  if (ms !== ms) return "–";
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return String(ms);
  if (zone && zone !== "UTC") {
    const local = zoned(zone);
    if (local) return local.format(date);
  }
  if (ms % 86400000 === 0) return day(date);
  return ms % 60000 === 0 ? minute(date) : second(date);
}

/** A cell as text; long text is cut with a mark. */
export function cellText(value: Cell, column?: ColumnSpec, fine = false, limit = 300): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return column?.kind === "time" ? time(value, column.zone) : number(value, fine);
  if (value === "Infinity" && column?.kind === "number") return "∞";
  if (value === "-Infinity" && column?.kind === "number") return "−∞";
  const text = String(value);
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

export const axisNumber = (v: number, column?: ColumnSpec): string =>
  column?.kind === "time" ? time(v, column.zone) : number(v);
