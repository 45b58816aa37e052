// Lines out of rows: one series a group and measure, rows that share x drawn as their mean and a band.

export interface Spot {
  x: number;
  y: number;
  lo: number;
  hi: number;
  n: number;
}

export interface Series {
  name: string;
  spots: Spot[];
}

export interface SeriesRow {
  series: string;
  x: number;
  y: number;
  lo: number | null;
  hi: number | null;
}

export type Band = "minmax" | "std" | "none";

/** Series in the order in which they are met, spots by x; given bands win over the spread of the rows. */
export function makeSeries(rows: SeriesRow[], band: Band): Series[] {
  const all = new Map<string, Map<number, SeriesRow[]>>();
  for (const row of rows) {
    let spots = all.get(row.series);
    if (!spots) all.set(row.series, (spots = new Map()));
    const at = spots.get(row.x);
    if (at) at.push(row);
    else spots.set(row.x, [row]);
  }
  return [...all].map(([name, spots]) => ({ name, spots: [...spots].map(([x, here]) => spot(x, here, band)).sort((a, b) => a.x - b.x) }));
}

function spot(x: number, rows: SeriesRow[], band: Band): Spot {
  const n = rows.length;
  const mean = (values: number[]) => values.reduce((t, v) => t + v, 0) / values.length;
  const y = mean(rows.map((r) => r.y));
  const los = rows.map((r) => r.lo).filter((v) => v !== null);
  const his = rows.map((r) => r.hi).filter((v) => v !== null);
  if (los.length && his.length) return { x, y, lo: mean(los), hi: mean(his), n };
  if (band === "none" || n < 2) return { x, y, lo: y, hi: y, n };
  if (band === "minmax") return { x, y, lo: Math.min(...rows.map((r) => r.y)), hi: Math.max(...rows.map((r) => r.y)), n };
  const sd = Math.sqrt(rows.reduce((t, r) => t + (r.y - y) ** 2, 0) / (n - 1));
  return { x, y, lo: y - sd, hi: y + sd, n };
}
