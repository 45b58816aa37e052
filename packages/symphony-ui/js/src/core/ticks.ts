// Round numbers for the edges of bins.

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** A span that holds [lo, hi], with edges at multiples of 1, 2 or 5 times a power of ten, and its bins. */
export function nice(lo: number, hi: number, count: number): [number, number, number] {
  const rough = hi / count - lo / count;
  const power = Math.floor(Math.log10(rough));
  const unit = 10 ** power;
  const lead = rough / unit;
  const step = (lead >= Math.sqrt(50) ? 10 : lead >= Math.sqrt(10) ? 5 : lead >= Math.sqrt(2) ? 2 : 1) * unit;
  const a = Math.floor(lo / step);
  const b = Math.ceil(hi / step);
  const n = b - a;
  const start = power < 0 ? a / (1 / step) : a * step;
  const stop = power < 0 ? b / (1 / step) : b * step;
  const sound = n >= 1 && n <= 4 * count && Number.isFinite(start) && Number.isFinite(stop);
  return sound && start <= lo && stop >= hi ? [start, stop, n] : [lo, hi, count];
}

const SECOND = 1000;
const DAY = 86_400 * SECOND;
const STEPS = [1, 2, 5, 10, 50, 100, 500, ...[1, 5, 15, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600].map((s) => s * SECOND),
  ...[1, 2, 7, 14, 30, 91, 182, 365, 730, 1826, 3652, 36524].map((d) => d * DAY)];

/** A span of times that holds [lo, hi], with steps that calendars know, in UTC. */
export function niceTimes(lo: number, hi: number, count: number): [number, number, number] {
  const rough = (hi - lo) / count;
  const step = STEPS.find((s) => s >= rough * 0.75) ?? STEPS[STEPS.length - 1];
  const a = Math.floor(lo / step) * step;
  const n = Math.floor((hi - a) / step) + 1;
  return [a, a + n * step, n];
}
