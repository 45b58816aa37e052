// Stands in for d3-interpolate, of which d3-scale and d3-scale-chromatic need numbers and ramps of colours only:
// saves a tenth of the bundle (build.mjs puts it in its place).

export const interpolateNumber = (a: number, b: number) => (t: number) => a * (1 - t) + b * t;
export const interpolate = interpolateNumber;
export const interpolateRound = (a: number, b: number) => (t: number) => Math.round(a * (1 - t) + b * t);

const channels = (hex: string) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** A ramp through `colors` (hexadecimal), linear between neighbours. */
export function interpolateRgbBasis(colors: string[]) {
  const stops = colors.map(channels);
  return (t: number) => {
    const x = Math.max(0, Math.min(1, t)) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(x));
    return `rgb(${stops[k].map((v, c) => Math.round(v + (stops[k + 1][c] - v) * (x - k))).join(", ")})`;
  };
}

/** Imported by parts of d3 that the bundle leaves out. */
export const piecewise = interpolate;
export const interpolateCubehelixLong = interpolate;
