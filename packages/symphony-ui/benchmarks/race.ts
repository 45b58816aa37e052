// Runs inside the page: one brush step over ten columns, by our crossfilter and by arquero, on the same rows.

import * as aq from "arquero";
import { binCodes, binTree } from "../js/src/core/bins.ts";
import type { Column } from "../js/src/core/columns.ts";
import { BrowserEngine } from "../js/src/core/engine.ts";
import type { HistAnswer, Linear } from "../js/src/core/types.ts";
import { random } from "../js/dev/data.mjs";

const COLUMNS = 10;
const BINS: Linear = { type: "linear", lo: 0, hi: 1, n: 64 };

const now = () => performance.now();
const name = (k: number) => `c${k}`;

/** The times of `steps` brush steps in ms, ours and arquero's, after checking that the counts agree. */
export async function race(rows: number, steps: number, peerSteps: number) {
  const next = random(2);
  const columns: Column[] = Array.from({ length: COLUMNS }, (_, k) => {
    const values = Float32Array.from({ length: rows }, () => (k % 2 ? next() : next() ** 2));
    return { name: name(k), kind: "number", spec: { name: name(k), kind: "number" }, length: rows, values, codes: null, labels: [], text: null, missing: 0 };
  });
  const engine = new BrowserEngine(columns, rows);
  const live = columns.map((c) => engine.ask<HistAnswer>({ kind: "hist", view: c.name, column: c.name, bins: BINS }));
  const read = () => live.map((l) => l.answer.value!.visible);
  read();

  const table = aq.table(Object.fromEntries(columns.flatMap((c) => [[c.name, c.values!], [`b${c.name}`, binCodes(c, BINS)]]) as [string, any][]));
  const edge = (k: number) => k / BINS.n;
  const peer = (lo: number, hi: number) => {
    const kept = table.params({ lo: edge(lo), hi: edge(hi) }).filter((d: any, $: any) => d.c0 >= $.lo && d.c0 < $.hi);
    return columns.map((c) => kept.groupby(`b${c.name}`).count().objects() as any[]);
  };

  const brush = (k: number): [number, number] => [10 + (k % 20), 30 + (k % 25)];
  const t0 = now();
  engine.prepare("c0", "c0", BINS);
  const start = now() - t0;
  engine.drag("c0", "c0", BINS, 5, 9);
  read();

  // the same counts first
  const [lo, hi] = brush(3);
  engine.drag("c0", "c0", BINS, lo, hi);
  const ours = read();
  peer(lo, hi).forEach((groups, k) => {
    const counts = new Array(BINS.n).fill(0);
    for (const g of groups) counts[g[`bc${k}`]] = g.count;
    for (let b = 0; b < BINS.n; b++) {
      if (counts[b] !== ours[k][b]) throw new Error(`column ${k}, bin ${b}: ${ours[k][b]} and arquero's ${counts[b]}, ${JSON.stringify(binTree("c0", BINS, lo, hi))}`);
    }
  });

  const timed = { ours: [] as number[], arquero: [] as number[], start };
  for (let k = 0; k < Math.max(steps, peerSteps); k++) {
    const [a, b] = brush(k);
    if (k < peerSteps) {
      const t = now();
      peer(a, b);
      timed.arquero.push(now() - t);
    }
    // one step of ours is far below the clock's grain: a hundred are timed together
    const t = now();
    for (let r = 0; r < 100; r++) {
      engine.drag("c0", "c0", BINS, a, b + (r % 2));
      read();
    }
    if (k < steps) timed.ours.push((now() - t) / 100);
    await new Promise((done) => setTimeout(done));
  }
  engine.release();
  return timed;
}

(globalThis as any).race = race;
