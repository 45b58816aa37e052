// Points to pixels on the CPU: the same image everywhere, with no more than typed arrays.

export type RGB = [number, number, number];

export interface Viewport {
  x: [number, number];
  y: [number, number];
  width: number;
  height: number;
}

export type Shade =
  | { type: "codes"; codes: ArrayLike<number>; colors: RGB[] }
  | { type: "ramp"; values: ArrayLike<number>; lo: number; hi: number; colors: RGB[]; missing: RGB };

export interface Scene {
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  /** 0 where a row is drawn in colour */
  hidden: Uint8Array;
  /** 0 where a row that is not drawn in colour is drawn pale; null for none */
  pale: Uint8Array | null;
  shade: Shade;
  background: RGB;
  ghost: RGB;
  /** device pixels a CSS pixel */
  ratio: number;
}

export interface Drawn {
  /** rows drawn in colour inside the viewport */
  drawn: number;
}

export const SHAPES = ["circle", "square", "triangle", "diamond", "plus", "down", "cross", "ring"] as const;

/** beyond this many rows in colour a pixel holds counts, below it each row is a mark of its own */
export const MARKS = 30_000;

const inside: Record<(typeof SHAPES)[number], (u: number, v: number) => boolean> = {
  circle: (u, v) => u * u + v * v <= 0.81,
  square: (u, v) => Math.abs(u) <= 0.78 && Math.abs(v) <= 0.78,
  triangle: (u, v) => v <= 0.7 && v >= -0.85 && Math.abs(u) <= (v + 0.85) * 0.62,
  diamond: (u, v) => Math.abs(u) + Math.abs(v) <= 1,
  plus: (u, v) => Math.max(Math.abs(u), Math.abs(v)) <= 0.95 && Math.min(Math.abs(u), Math.abs(v)) <= 0.32,
  down: (u, v) => v >= -0.7 && v <= 0.85 && Math.abs(u) <= (0.85 - v) * 0.62,
  cross: (u, v) => inside.plus((u + v) * Math.SQRT1_2, (u - v) * Math.SQRT1_2),
  ring: (u, v) => u * u + v * v <= 0.9 && u * u + v * v >= 0.3,
};

interface Stamp {
  side: number;
  cover: Float32Array;
}

function stamp(shape: (typeof SHAPES)[number], radius: number): Stamp {
  const half = Math.ceil(radius);
  const side = 2 * half + 1;
  const cover = new Float32Array(side * side);
  const fine = 4;
  for (let j = 0; j < side; j++) {
    for (let i = 0; i < side; i++) {
      let hits = 0;
      for (let b = 0; b < fine; b++) {
        for (let a = 0; a < fine; a++) {
          const u = (i - half + (a + 0.5) / fine - 0.5) / radius;
          const v = (j - half + (b + 0.5) / fine - 0.5) / radius;
          if (inside[shape](u, v)) hits++;
        }
      }
      cover[j * side + i] = hits / (fine * fine);
    }
  }
  return { side, cover };
}

/** Draws the scene into `pixels` (RGBA, width * height * 4). */
export function draw(pixels: Uint8ClampedArray, view: Viewport, scene: Scene): Drawn {
  let rows = 0;
  const { hidden } = scene;
  for (let i = 0; i < hidden.length; i++) rows += hidden[i] === 0 ? 1 : 0;
  return rows <= MARKS ? marks(pixels, view, scene, rows) : density(pixels, view, scene, rows);
}

/** The radius of a mark in CSS pixels. */
export const markRadius = (rows: number): number => (rows <= 600 ? 4.5 : rows <= 3000 ? 3.5 : rows <= 10000 ? 2.75 : 2);

const scales = (view: Viewport) => ({
  sx: view.width / (view.x[1] - view.x[0]),
  sy: view.height / (view.y[1] - view.y[0]),
});

function fill(pixels: Uint8ClampedArray, [r, g, b]: RGB): void {
  const words = new Uint32Array(pixels.buffer, pixels.byteOffset, pixels.length / 4);
  words.fill(((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
}

function rampIndex(shade: Extract<Shade, { type: "ramp" }>, row: number): number {
  const v = shade.values[row];
  if (v !== v) return -1;
  const last = shade.colors.length - 1;
  const k = Math.round(((v - shade.lo) / (shade.hi - shade.lo || 1)) * last);
  return k < 0 ? 0 : k > last ? last : k;
}

function marks(pixels: Uint8ClampedArray, view: Viewport, scene: Scene, rows: number): Drawn {
  const { x, y, hidden, pale, shade, ratio } = scene;
  fill(pixels, scene.background);
  const { sx, sy } = scales(view);
  const radius = markRadius(rows) * ratio;
  const stamps = SHAPES.map((shape) => stamp(shape, radius));
  const dots = stamp("circle", Math.max(1, 1.6 * ratio));
  let drawn = 0;
  const put = (mark: Stamp, color: RGB, alpha: number, row: number): boolean => {
    const cx = Math.floor((x[row] - view.x[0]) * sx);
    const cy = Math.floor((view.y[1] - y[row]) * sy);
    const half = mark.side >> 1;
    if (!(cx >= -half && cy >= -half && cx < view.width + half && cy < view.height + half)) return false;
    for (let j = 0; j < mark.side; j++) {
      const py = cy + j - half;
      if (py < 0 || py >= view.height) continue;
      for (let i = 0; i < mark.side; i++) {
        const px = cx + i - half;
        const a = mark.cover[j * mark.side + i] * alpha;
        if (!a || px < 0 || px >= view.width) continue;
        const at = 4 * (py * view.width + px);
        pixels[at] += (color[0] - pixels[at]) * a;
        pixels[at + 1] += (color[1] - pixels[at + 1]) * a;
        pixels[at + 2] += (color[2] - pixels[at + 2]) * a;
      }
    }
    return true;
  };
  if (pale) for (let i = 0; i < pale.length; i++) if (pale[i] === 0 && hidden[i] !== 0) put(dots, scene.ghost, 0.8, i);
  const alpha = rows <= 3000 ? 0.85 : 0.7;
  for (let i = 0; i < hidden.length; i++) {
    if (hidden[i] !== 0) continue;
    let shown: boolean;
    if (shade.type === "codes") {
      const code = shade.codes[i];
      shown = put(stamps[code % stamps.length], shade.colors[code], alpha, i);
    } else {
      const k = rampIndex(shade, i);
      shown = put(stamps[0], k < 0 ? shade.missing : shade.colors[k], alpha, i);
    }
    if (shown) drawn += within(view, x[i], y[i]) ? 1 : 0;
  }
  return { drawn };
}

const within = (view: Viewport, a: number, b: number) => a >= view.x[0] && a <= view.x[1] && b >= view.y[0] && b <= view.y[1];

let spare = new Uint16Array(0); // scratch memory, cleared before each use

function density(pixels: Uint8ClampedArray, view: Viewport, scene: Scene, rows: number): Drawn {
  const { hidden, pale, shade } = scene;
  const { width, height } = view;
  const size = rows > 200_000 ? 1 : 2;
  const area = width * height;
  const layers = shade.type === "codes" ? shade.colors.length + 1 : 2;
  if (spare.length < area * layers) spare = new Uint16Array(area * layers);
  const counts = spare.subarray(0, area * layers).fill(0);
  const sums = shade.type === "ramp" ? new Float32Array(area) : null;
  const ghost = layers - 1;
  let drawn = 0;
  const { sx, sy } = scales(view);
  const { x, y } = scene;
  const [x0] = view.x;
  const [, y1] = view.y;
  for (let i = 0; i < hidden.length; i++) {
    const seen = hidden[i] === 0;
    if (!seen && !(pale && pale[i] === 0)) continue;
    const fx = (x[i] - x0) * sx;
    const fy = (y1 - y[i]) * sy;
    if (!(fx >= 0 && fx <= width && fy >= 0 && fy <= height)) continue;
    const px = fx >= width ? width - 1 : fx | 0;
    const py = fy >= height ? height - 1 : fy | 0;
    const at = py * width + px;
    if (!seen) {
      counts[ghost * area + at] = 1;
      continue;
    }
    drawn++;
    let layer = 0;
    if (sums) {
      const k = rampIndex(shade as any, i);
      if (k < 0) {
        counts[ghost * area + at] = 1;
        continue;
      }
      sums[at] += k;
    } else layer = (shade as any).codes[i] * area;
    if (counts[layer + at] < 65535) counts[layer + at]++;
  }
  paint(pixels, scene, counts, sums, area, layers, width, size);
  return { drawn };
}

function paint(
  pixels: Uint8ClampedArray, scene: Scene, counts: Uint16Array, sums: Float32Array | null,
  area: number, layers: number, width: number, size: number,
): void {
  const { shade, background, ghost } = scene;
  fill(pixels, background);
  const totals = new Uint32Array(area);
  let most = 1;
  for (let layer = 0; layer < layers - 1; layer++) {
    for (let p = 0, at = layer * area; p < area; p++, at++) totals[p] += counts[at];
  }
  for (let p = 0; p < area; p++) if (totals[p] > most) most = totals[p];
  const steps = Float32Array.from({ length: Math.min(most, 65535) + 1 }, (_, n) => 0.45 + (0.55 * Math.log1p(n)) / Math.log1p(most));
  const put = (p: number, r: number, g: number, b: number, a: number) => {
    const at = 4 * p;
    pixels[at] = background[0] + (r - background[0]) * a;
    pixels[at + 1] = background[1] + (g - background[1]) * a;
    pixels[at + 2] = background[2] + (b - background[2]) * a;
  };
  for (let p = 0; p < area; p++) {
    const n = totals[p];
    if (!n) {
      if (counts[(layers - 1) * area + p]) put(p, ghost[0], ghost[1], ghost[2], 0.7);
      continue;
    }
    let r = 0;
    let g = 0;
    let b = 0;
    if (sums) {
      const c = (shade as any).colors[Math.round(sums[p] / n)] as RGB;
      [r, g, b] = c;
    } else {
      const { colors } = shade as Extract<Shade, { type: "codes" }>;
      for (let layer = 0; layer < layers - 1; layer++) {
        const k = counts[layer * area + p];
        if (!k) continue;
        const c = colors[layer];
        r += c[0] * k;
        g += c[1] * k;
        b += c[2] * k;
      }
      r /= n;
      g /= n;
      b /= n;
    }
    const a = steps[Math.min(n, steps.length - 1)];
    put(p, r, g, b, a);
    if (size === 2) { // a point is two pixels wide: it also takes free pixels to the right and below
      if ((p + 1) % width && !totals[p + 1]) put(p + 1, r, g, b, a);
      if (p + width < area && !totals[p + width]) put(p + width, r, g, b, a);
      if ((p + 1) % width && p + width + 1 < area && !totals[p + width + 1]) put(p + width + 1, r, g, b, a);
    }
  }
}
