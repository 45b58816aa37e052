// Groups of near-duplicates, the largest first.

import { useSignal } from "@preact/signals";
import type { Group, GroupsAnswer, RowsAnswer, Tree, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { groupTree, keyText, useAnswer, useStore } from "./context.tsx";
import { cellText, count, number } from "./format.ts";
import { mediaColumn } from "./media.tsx";
import { RowTiles, tileShape } from "./tiles.tsx";

const PAGE = 8;
const SHOWN = 12;

export function Duplicates({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { options } = view;
  const name: string = options.column;
  const column = store.column(name)!;
  const pages = useSignal(1);
  const where: Tree = column.kind === "number" ? [">=", name, 0] : ["not", ["missing", name]];
  const answer = useAnswer<GroupsAnswer>({ kind: "groups", by: [name], limit: PAGE * pages.value, where });
  const groups = answer?.groups ?? [];
  const data = () => ({ columns: [name, "instances"], rows: groups.map((g) => [keyText(g.key[0]), g.count]) });
  return (
    <Card view={view} title="Duplicates" remark={answer ? `${count(answer.total)} ${answer.total === 1 ? "group" : "groups"}` : ""} data={data}>
      {answer && !groups.length && <Message>No group of duplicates is visible.</Message>}
      <div class="sym-groups">
        {groups.map((group) => <DuplicateGroup key={keyText(group.key[0])} view={view} group={group} />)}
      </div>
      {answer && answer.total > groups.length && (
        <button type="button" class="sym-quiet" onClick={() => pages.value++}>Show more of {count(answer.total)} groups</button>
      )}
    </Card>
  );
}

function DuplicateGroup({ view, group }: { view: ViewSpec; group: Group }) {
  const store = useStore();
  const { options } = view;
  const media = mediaColumn(store, options.media);
  const caption: string[] = options.caption ?? [];
  const where = groupTree([store.column(options.column)], group.key);
  const similarity: string | null = options.similarity ?? null;
  const first = useAnswer<RowsAnswer>({ kind: "rows", view: view.id, columns: similarity ? [similarity] : [], sort: [], offset: 0, limit: 1000, scope: "visible", where });
  const alike = similarity ? first?.rows[0]?.[0] : null;
  return (
    <section class="sym-group">
      <h4>
        Group {cellText(group.key[0])}
        <span class="sym-remark">{count(group.count)} {group.count === 1 ? "instance" : "instances"}{typeof alike === "number" ? `, least similarity ${number(alike)}` : ""}</span>
        <button type="button" class="sym-quiet" onClick={() => first && store.select(Array.from(first.index))}>Select</button>
      </h4>
      <RowTiles view={view.id} where={where} limit={SHOWN} caption={caption} media={media} shape={tileShape(media, options.size, caption.length)} label={`Group ${keyText(group.key[0])}`} />
      {group.count > SHOWN && <span class="sym-remark">and {count(group.count - SHOWN)} more</span>}
    </section>
  );
}
