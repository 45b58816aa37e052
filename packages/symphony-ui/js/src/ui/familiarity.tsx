// How familiar instances are: the distribution, its mean by group, and both ends of it.

import { useMemo } from "preact/hooks";
import type { GroupsAnswer, HistAnswer, Linear, MatrixAnswer, Tree, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { groupTree, keyText, useAnswer, useStore } from "./context.tsx";
import { cellText, count, number } from "./format.ts";
import { barsPath, Histogram, most } from "./histogram.tsx";
import { mediaColumn } from "./media.tsx";
import { columnBins, histData } from "./summary.tsx";
import { RowTiles, tileShape } from "./tiles.tsx";

/** Rows and their mean of a numeric column under `where`. */
function useMean(view: string, column: string, where?: Tree): { n: number; mean: number } | null {
  const one = { type: "levels", levels: [] } as const;
  const answer = useAnswer<MatrixAnswer>({ kind: "matrix", view, x: column, xbins: one as any, y: column, ybins: one as any, value: column, where });
  if (!answer?.sum) return null;
  const add = (rows: ArrayLike<number>[]) => rows.reduce((t, row) => t + Array.from(row).reduce((a, b) => a + b, 0), 0);
  const n = add(answer.counts);
  return { n, mean: add(answer.sum) / n };
}

export function Familiarity({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { options } = view;
  const name: string = options.column;
  const column = store.column(name)!;
  const bins = useMemo(() => columnBins(store, column, options.bins ?? 20), [column]);
  if (!bins) return <Card view={view} title="Familiarity"><Message>{name} has no finite value.</Message></Card>;
  return <Shown view={view} bins={bins} />;
}

function Shown({ view, bins }: { view: ViewSpec; bins: Linear }) {
  const store = useStore();
  const { options } = view;
  const column = store.column(options.column)!;
  const media = mediaColumn(store, options.media);
  const caption: string[] = [...(options.caption ?? []), column.name];
  const n = options.n ?? 8;
  const by: string[] = options.by ? [options.by] : store.state.value.group_by;
  const mean = useMean(view.id, column.name);
  const answer = useAnswer<HistAnswer>({ kind: "hist", view: view.id, column: column.name, bins });
  const shape = tileShape(media, options.size, caption.length);
  const present: Tree = ["not", ["missing", column.name]];
  return (
    <Card view={view} title="Familiarity" remark={mean && mean.n ? `mean ${number(mean.mean)}, higher is more familiar` : ""} data={answer ? () => histData(column, bins, answer) : undefined}>
      <Histogram view={view.id} column={column} bins={bins} height={72} />
      {by.length > 0 && <ByGroup view={view} by={by} bins={bins} />}
      <h4 class="sym-part">Least familiar</h4>
      <RowTiles view={view.id} where={present} sort={[[column.name, "asc"]]} limit={n} caption={caption} media={media} shape={shape} label="Least familiar" />
      <h4 class="sym-part">Most familiar</h4>
      <RowTiles view={view.id} where={present} sort={[[column.name, "desc"]]} limit={n} caption={caption} media={media} shape={shape} label="Most familiar" />
    </Card>
  );
}

const GROUPS = 12;

function ByGroup({ view, by, bins }: { view: ViewSpec; by: string[]; bins: Linear }) {
  const store = useStore();
  const answer = useAnswer<GroupsAnswer>({ kind: "groups", by, limit: GROUPS });
  if (!answer) return null;
  return (
    <table class="sym-lines-table">
      <thead><tr><th scope="col">{by.join(", ")}</th><th scope="col" class="sym-num">rows</th><th scope="col" class="sym-num">mean</th><th scope="col">distribution</th></tr></thead>
      <tbody>
        {answer.groups.map((g) => <GroupLine key={g.key.map(keyText).join(" ")} view={view} name={g.key.map((k, c) => cellText(k, store.column(by[c]))).join(", ")} where={groupTree(by.map((b) => store.column(b)), g.key)} bins={bins} />)}
      </tbody>
    </table>
  );
}

function GroupLine({ view, name, where, bins }: { view: ViewSpec; name: string; where: Tree; bins: Linear }) {
  const column: string = view.options.column;
  const mean = useMean(view.id, column, where);
  const answer = useAnswer<HistAnswer>({ kind: "hist", view: view.id, column, bins, where });
  return (
    <tr>
      <th scope="row">{name}</th>
      <td class="sym-num">{mean ? count(mean.n) : ""}</td>
      <td class="sym-num">{mean?.n ? number(mean.mean) : "–"}</td>
      <td>{answer && <svg width="140" height="18" aria-hidden="true"><path class="sym-bar-visible" d={barsPath(answer.visible, bins.n, 140, 18, most(answer.visible, bins.n))} /></svg>}</td>
    </tr>
  );
}
