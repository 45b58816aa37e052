// Labels against predictions; paths of classes fold, groups stand side by side.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { accuracy, collapse, natural, outline, perClass, type Node } from "../core/metrics.ts";
import type { RGB } from "../core/raster.ts";
import type { GroupsAnswer, MatrixAnswer, Tree, ViewSpec } from "../core/types.ts";
import { Card } from "./card.tsx";
import { groupTree, keyText, useAnswer, useLevels, useSize, useStore } from "./context.tsx";
import { cellText, count, number, percent } from "./format.ts";
import { Grid } from "./grid.tsx";
import { pageColor, theme } from "./theme.ts";

const LEVELS = 400;
const FLAT = 60;
const GROUPS = 6;

export function Confusion({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { label, prediction } = view.options;
  const by = store.state.value.group_by;
  const groups = useAnswer<GroupsAnswer>({ kind: "groups", by, limit: GROUPS });
  const a = useLevels(label, LEVELS);
  const b = useLevels(prediction, LEVELS);
  const open = useSignal<Set<string>>(new Set());
  if (!a || !b) return null;
  const classes = [...new Set([...a.levels, ...b.levels])].sort(natural);
  const parts = by.length && groups ? groups.groups : null;
  return (
    <>
      {parts && parts.length > 0 ? (
        <Card view={view} title={`${label} × ${prediction}`} remark={`by ${by.join(", ")}${groups!.total > GROUPS ? `, the largest ${GROUPS} of ${count(groups!.total)} groups` : ""}`}>
          <div class="sym-multiples">
            {parts.map((g) => (
              <section key={g.key.map(keyText).join("\u0000")}>
                <h4>{g.key.map((k, c) => cellText(k, store.column(by[c]))).join(" · ")} <span class="sym-remark">{count(g.count)}</span></h4>
                <Matrix view={view} classes={classes} open={open} where={groupTree(by.map((n) => store.column(n)), g.key)} small />
              </section>
            ))}
          </div>
        </Card>
      ) : <Whole view={view} classes={classes} open={open} />}
    </>
  );
}

type Open = { value: Set<string> };

function useCells(view: ViewSpec, classes: string[], where?: Tree) {
  const store = useStore();
  const { label, prediction } = view.options;
  const values = (name: string) => (store.column(name)!.kind === "number" ? classes.map(Number) : classes);
  const answer = useAnswer<MatrixAnswer>({
    kind: "matrix", view: view.id, x: prediction, xbins: { type: "levels", levels: values(prediction) }, y: label, ybins: { type: "levels", levels: values(label) }, value: null, where,
  });
  if (!answer) return null;
  const n = classes.length;
  const pairs = { classes, counts: answer.counts.slice(0, n).map((row) => Float64Array.from(Array.from(row).slice(0, n))) };
  const all = answer.counts.reduce((t, row) => t + Array.from(row).reduce((x, y) => x + y, 0), 0);
  return { pairs, left: all - accuracy(pairs).n };
}

function Whole({ view, classes, open }: { view: ViewSpec; classes: string[]; open: Open }) {
  const { label, prediction } = view.options;
  const found = useCells(view, classes);
  if (!found) return null;
  const metrics = perClass(found.pairs);
  const { hits, n } = accuracy(found.pairs);
  const seen = metrics.filter((m) => m.support || m.predicted);
  const macro = seen.reduce((t, m) => t + m.f1, 0) / Math.max(1, seen.length);
  const share = (v: number, of: number) => (of ? number(v) : "0 (undefined)");
  const data = () => ({
    columns: ["class", "precision", "recall", "F1", "label", "prediction"],
    rows: metrics.map((m, k) => [classes[k], share(m.precision, m.predicted), share(m.recall, m.support), share(m.f1, m.support + m.predicted), m.support, m.predicted]),
  });
  const left = found.left ? `, ${count(found.left)} without either` : "";
  return (
    <Card view={view} title={`${label} × ${prediction}`} remark={n ? `accuracy ${percent(hits / n)}, macro F1 ${number(Number(macro.toFixed(4)))}${left}` : "no rows"} data={data}>
      <Matrix view={view} classes={classes} open={open} />
    </Card>
  );
}

function brushOf(view: ViewSpec, store: ReturnType<typeof useStore>, row: Node, column: Node): Tree {
  const { label, prediction } = view.options;
  const test = (name: string, leaves: string[]): Tree => {
    const { kind } = store.column(name)!;
    return ["in", name, kind === "number" ? leaves.map(Number) : kind === "bool" ? leaves.map((l) => l === "true") : leaves];
  };
  return ["and", test(label, row.leaves), test(prediction, column.leaves)];
}

function Matrix({ view, classes, open, where, small }: { view: ViewSpec; classes: string[]; open: Open; where?: Tree; small?: boolean }) {
  const store = useStore();
  const { label, prediction, sep = null, normalize = "none" } = view.options;
  const [box, size] = useSize<HTMLDivElement>();
  const found = useCells(view, classes, where);
  const root = useRef<{ at: number; colors: RGB[] } | null>(null);
  if (!found) return <div ref={box} />;
  const shown = sep ? found.pairs : { ...found.pairs, classes: classes.slice(0, FLAT) };
  const nodes = outline(shown.classes, sep, open.value);
  const counts = collapse({ classes: shown.classes, counts: shown.counts.slice(0, shown.classes.length).map((row) => row.slice(0, shown.classes.length)) }, nodes);
  const rowSum = counts.map((row) => row.reduce((x, y) => x + y, 0));
  const columnSum = nodes.map((_, j) => counts.reduce((t, row) => t + row[j], 0));
  const top = Math.max(1, ...counts.map((row) => Math.max(...row)));
  const share = (i: number, j: number) => counts[i][j] / ((normalize === "label" ? rowSum[i] : normalize === "prediction" ? columnSum[j] : top) || 1);
  if (box.current && root.current?.at !== theme.value) {
    root.current = { at: theme.value, colors: ["var(--sym-card)", "var(--sym-hit)", "var(--sym-miss)"].map((c) => pageColor(box.current!, c)) };
  }
  const [card, hit, miss] = root.current?.colors ?? [];
  const mix = (a: RGB, b: RGB, t: number): RGB => [0, 1, 2].map((c) => a[c] + (b[c] - a[c]) * t) as RGB;
  const names = Math.min(180, 40 + 7 * Math.max(...nodes.map((n) => n.name.length)));
  const room = ((size.width || 400) - names) / Math.max(1, nodes.length);
  const side = Math.max(small ? 8 : 11, Math.min(small ? 26 : 48, Math.floor(room) - 1));
  const text = (i: number, j: number) => (normalize === "none" ? count(counts[i][j]) : percent(share(i, j)));
  const longest = Math.max(...nodes.map((_, i) => Math.max(...nodes.map((__, j) => (counts[i][j] ? text(i, j).length : 0)))));
  const written = side >= longest * 6.6 + 2;
  const brush = JSON.stringify(store.state.value.brushes[view.id] ?? null);
  const fold = (node: Node) => {
    const next = new Set(open.value);
    if (!next.delete(node.path)) next.add(node.path);
    open.value = next;
  };
  const opened = sep ? [...open.value].filter((path) => nodes.some((n) => n.path.startsWith(path + sep))) : [];
  const heads = nodes.map((node) => ({ name: node.name || "(empty)", title: node.path, depth: 0, ...(node.inner ? { onPress: () => fold(node), open: false } : {}) }));
  return (
    <div ref={box}>
      {opened.length > 0 && <p class="sym-remark sym-crumbs">Opened: {opened.map((path) => <button type="button" class="sym-chip" aria-label={`Fold ${path}`} onClick={() => fold({ path } as Node)}>{path} <b aria-hidden="true">×</b></button>)}</p>}
      <Grid
        label={`Confusion matrix of ${label} and ${prediction}`} rows={heads} columns={heads} rowName={label} columnName={prediction} side={Math.min(side, 30)} wide={side}
        cell={(i, j) => ({
          text: counts[i][j] && written ? text(i, j) : "",
          label: `${label} ${nodes[i].path}, ${prediction} ${nodes[j].path}: ${count(counts[i][j])} rows, ${percent(counts[i][j] / (rowSum[i] || 1))} of the label`,
          color: counts[i][j] && card ? mix(card, i === j ? hit : miss, 0.12 + 0.88 * Math.sqrt(share(i, j))) : null,
        })}
        pressed={(i, j) => brush === JSON.stringify(brushOf(view, store, nodes[i], nodes[j]))}
        pick={(i, j) => {
          const tree = brushOf(view, store, nodes[i], nodes[j]);
          store.brush(view.id, brush === JSON.stringify(tree) ? null : tree);
        }}
        clear={() => store.brush(view.id, null)}
      />
      {!sep && classes.length > FLAT && <p class="sym-remark">The first {FLAT} of {count(classes.length)} classes. Paths with a separator can be folded: sep=":".</p>}
    </div>
  );
}
