// Points by place: even-odd polygons and a grid of cells for the nearest point.

export type Point = [number, number];

/** A byte a row: 1 where (x, y) lies in the polygon by the even-odd rule, in float64. */
export function insideRows(x: ArrayLike<number>, y: ArrayLike<number>, polygon: Point[]): Uint8Array {
  const n = x.length;
  const out = new Uint8Array(n);
  const m = polygon.length;
  if (m < 3) return out;
  const px = Float64Array.from(polygon, (p) => p[0]);
  const py = Float64Array.from(polygon, (p) => p[1]);
  const [x0, x1] = [Math.min(...px), Math.max(...px)];
  const [y0, y1] = [Math.min(...py), Math.max(...py)];
  for (let i = 0; i < n; i++) {
    const a = x[i];
    const b = y[i];
    if (!(a >= x0 && a <= x1 && b >= y0 && b <= y1)) continue;
    let inside = 0;
    for (let j = 0, k = m - 1; j < m; k = j++) {
      if (py[j] > b !== py[k] > b && a < ((px[k] - px[j]) * (b - py[j])) / (py[k] - py[j]) + px[j]) inside ^= 1;
    }
    out[i] = inside;
  }
  return out;
}

export interface Grid {
  side: number;
  x0: number;
  y0: number;
  sx: number;
  sy: number;
  start: Int32Array;
  rows: Int32Array;
}

/** Rows sorted into the cells of a square grid over the finite points. */
export function makeGrid(x: ArrayLike<number>, y: ArrayLike<number>, box: [Point, Point]): Grid {
  const n = x.length;
  const side = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(n / 4))));
  const [[x0, y0], [x1, y1]] = box;
  const sx = x1 > x0 ? side / (x1 - x0) : 0;
  const sy = y1 > y0 ? side / (y1 - y0) : 0;
  const cells = new Int32Array(n);
  const start = new Int32Array(side * side + 1);
  for (let i = 0; i < n; i++) {
    const cx = Math.min(side - 1, Math.floor((x[i] - x0) * sx));
    const cy = Math.min(side - 1, Math.floor((y[i] - y0) * sy));
    const c = cx >= 0 && cy >= 0 ? cy * side + cx : -1;
    cells[i] = c;
    if (c >= 0) start[c + 1]++;
  }
  for (let c = 0; c < side * side; c++) start[c + 1] += start[c];
  const next = start.slice(0, -1);
  const rows = new Int32Array(start[side * side]);
  for (let i = 0; i < n; i++) if (cells[i] >= 0) rows[next[cells[i]]++] = i;
  return { side, x0, y0, sx, sy, start, rows };
}

/** The row nearest to (a, b) within the radii (rx, ry) in data units among those that `keep` lets through, or -1. */
export function nearestRow(
  grid: Grid, x: ArrayLike<number>, y: ArrayLike<number>, a: number, b: number, rx: number, ry: number,
  keep: (row: number) => boolean,
): number {
  const cell = (v: number, at: number, s: number) => Math.max(0, Math.min(grid.side - 1, Math.floor((v - at) * s)));
  let best = -1;
  let least = 1;
  for (let cy = cell(b - ry, grid.y0, grid.sy); cy <= cell(b + ry, grid.y0, grid.sy); cy++) {
    for (let cx = cell(a - rx, grid.x0, grid.sx); cx <= cell(a + rx, grid.x0, grid.sx); cx++) {
      const c = cy * grid.side + cx;
      for (let k = grid.start[c]; k < grid.start[c + 1]; k++) {
        const row = grid.rows[k];
        const d = ((x[row] - a) / rx) ** 2 + ((y[row] - b) / ry) ** 2;
        if (d <= least && keep(row)) {
          least = d;
          best = row;
        }
      }
    }
  }
  return best;
}
