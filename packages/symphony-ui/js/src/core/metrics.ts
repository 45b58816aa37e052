// Metrics of classifiers from counts, with intervals. Classes are the union of labels and predictions;
// what divides by zero is 0, as in scikit-learn's default, and is marked as undefined.

export interface Rate {
  value: number;
  lo: number;
  hi: number;
  /** the rows that it is a share of; 0 where it is undefined */
  n: number;
}

const Z = 1.959963984540054;

/** Wilson's 95 % interval of a proportion. */
export function wilson(hits: number, n: number): Rate {
  if (!n) return { value: 0, lo: 0, hi: 1, n: 0 };
  const p = hits / n;
  const d = 1 + (Z * Z) / n;
  const middle = (p + (Z * Z) / (2 * n)) / d;
  const half = (Z * Math.sqrt((p * (1 - p)) / n + (Z * Z) / (4 * n * n))) / d;
  return { value: p, lo: Math.max(0, middle - half), hi: Math.min(1, middle + half), n };
}

/** Counts of pairs of a label and a prediction, by class. */
export interface Cells {
  classes: string[];
  /** counts[label][prediction] */
  counts: Float64Array[];
}

export function cells(pairs: { label: string; prediction: string; count: number }[], order?: string[]): Cells {
  const classes = order ?? [...new Set(pairs.flatMap((p) => [p.label, p.prediction]))].sort(natural);
  const place = new Map(classes.map((c, k) => [c, k]));
  const counts = classes.map(() => new Float64Array(classes.length));
  for (const p of pairs) {
    const [i, j] = [place.get(p.label), place.get(p.prediction)];
    if (i !== undefined && j !== undefined) counts[i][j] += p.count;
  }
  return { classes, counts };
}

/** Numbers by value, text by its letters. */
export function natural(a: string, b: string): number {
  const [x, y] = [Number(a), Number(b)];
  if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return a < b ? -1 : a > b ? 1 : 0;
}

const sum = (row: ArrayLike<number>) => Array.from(row).reduce((t, v) => t + v, 0);

export interface ClassMetrics {
  precision: number;
  recall: number;
  f1: number;
  support: number;
  predicted: number;
}

export function perClass({ classes, counts }: Cells): ClassMetrics[] {
  const predicted = new Float64Array(classes.length);
  for (const row of counts) row.forEach((v, j) => (predicted[j] += v));
  return classes.map((_, k) => {
    const hit = counts[k][k];
    const support = sum(counts[k]);
    const precision = predicted[k] ? hit / predicted[k] : 0;
    const recall = support ? hit / support : 0;
    const both = support + predicted[k];
    return { precision, recall, f1: both ? (2 * hit) / both : 0, support, predicted: predicted[k] };
  });
}

export function accuracy({ counts }: Cells): { hits: number; n: number } {
  return { hits: counts.reduce((t, row, k) => t + row[k], 0), n: counts.reduce((t, row) => t + sum(row), 0) };
}

export type Metric = "accuracy" | "precision" | "recall" | "f1" | "rate";

/** A metric of one group: a share with Wilson's interval, or a mean over classes with a bootstrap's. */
export function groupMetric(c: Cells, metric: Metric, positive: string | null): Rate {
  if (metric === "accuracy") {
    const { hits, n } = accuracy(c);
    return wilson(hits, n);
  }
  if (positive !== null && metric !== "f1") {
    const k = c.classes.indexOf(positive);
    const m = k < 0 ? null : perClass(c)[k];
    const hit = k < 0 ? 0 : c.counts[k][k];
    if (metric === "rate") return wilson(m?.predicted ?? 0, accuracy(c).n);
    return wilson(hit, (metric === "precision" ? m?.predicted : m?.support) ?? 0);
  }
  const score = (x: Cells) => {
    const all = perClass(x);
    const key = metric === "rate" ? "recall" : metric;
    if (positive !== null) return all[x.classes.indexOf(positive)]?.[key] ?? 0;
    const seen = all.filter((m) => m.support || m.predicted);
    return seen.length ? seen.reduce((t, m) => t + m[key], 0) / seen.length : 0;
  };
  return { value: score(c), ...bootstrap(c, score), n: accuracy(c).n };
}

const DRAWS = 200;

/** The middle 95 % of a score over tables drawn from Poisson counts; the same draws each time. */
function bootstrap(c: Cells, score: (x: Cells) => number): { lo: number; hi: number } {
  const next = mulberry(1);
  const scores = Float64Array.from({ length: DRAWS }, () =>
    score({ classes: c.classes, counts: c.counts.map((row) => row.map((v) => (v ? poisson(v, next) : 0))) }),
  ).sort();
  return { lo: scores[Math.floor(0.025 * DRAWS)], hi: scores[Math.ceil(0.975 * DRAWS) - 1] };
}

function mulberry(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function poisson(mean: number, next: () => number): number {
  if (mean > 50) { // near enough to a normal
    const g = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    return Math.max(0, Math.round(mean + Math.sqrt(mean) * g));
  }
  let k = -1;
  for (let p = 1, stop = Math.exp(-mean); p > stop; k++) p *= next();
  return Math.max(0, k);
}

// --- hierarchies: a class's path, split by a separator

export interface Node {
  name: string;
  path: string;
  depth: number;
  /** the classes below it */
  leaves: string[];
  /** whether it can be opened */
  inner: boolean;
}

/** The rows of a tree of classes of which the paths in `open` are opened. */
export function outline(classes: string[], sep: string | null, open: ReadonlySet<string>): Node[] {
  if (!sep) return classes.map((name) => ({ name, path: name, depth: 0, leaves: [name], inner: false }));
  const walk = (within: string[], prefix: string, depth: number): Node[] => {
    const groups = new Map<string, string[]>();
    for (const c of within) {
      const head = c.split(sep).slice(0, depth + 1).join(sep);
      groups.set(head, [...(groups.get(head) ?? []), c]);
    }
    return [...groups].flatMap(([path, leaves]) => {
      const inner = leaves.length > 1 || leaves[0] !== path;
      const node: Node = { name: path.slice(prefix.length), path, depth, leaves, inner };
      return inner && open.has(path) ? walk(leaves, path === leaves[0] && leaves.length === 1 ? prefix : path + sep, depth + 1) : [node];
    });
  };
  return walk(classes, "", 0);
}

/** Counts between the nodes of an outline. */
export function collapse({ classes, counts }: Cells, nodes: Node[]): Float64Array[] {
  const place = new Map<string, number>();
  nodes.forEach((node, k) => node.leaves.forEach((leaf) => place.set(leaf, k)));
  const out = nodes.map(() => new Float64Array(nodes.length));
  counts.forEach((row, i) => row.forEach((v, j) => {
    if (v) out[place.get(classes[i])!][place.get(classes[j])!] += v;
  }));
  return out;
}
