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
