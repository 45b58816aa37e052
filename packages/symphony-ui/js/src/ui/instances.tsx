// The instances themselves, in groups where the page is grouped; only the lines in sight are made.

import type { CountAnswer, GroupsAnswer, Tree, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { groupTree, keyText, px, useAnswer, useSize, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";
import { mediaColumn } from "./media.tsx";
import { Slider } from "./slider.tsx";
import { RowTiles, tileShape } from "./tiles.tsx";
import { useWindow } from "./virtual.ts";

const HEAD = 30;
const GAP = 6;
const GROUPS = 200;
/** lines a group may have; what is beyond is reached by a filter */
const LINES = 20_000;

export function Instances({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { options } = view;
  const media = mediaColumn(store, options.media);
  const caption: string[] = options.caption ?? [];
  const by = store.state.value.group_by;
  const grouped = useAnswer<GroupsAnswer>({ kind: "groups", by, limit: GROUPS });
  const all = useAnswer<CountAnswer>({ kind: "count" });
  const shape = tileShape(media, options.size, caption.length);
  const [box, size] = useSize<HTMLDivElement>();
  const height = options.height ?? 360;
  const across = Math.max(1, Math.floor((size.width + GAP) / (shape.width + GAP)));
  const line = shape.height + GAP;
  const groups = by.length ? (grouped?.groups ?? []) : [{ key: [], count: all?.visible ?? 0 }];
  let y = 0;
  const sections = groups.map((group) => {
    const lines = Math.min(LINES, Math.ceil(group.count / across));
    const top = y;
    y += (by.length ? HEAD : 0) + lines * line + (by.length ? 10 : 0);
    return { group, lines, top };
  });
  const win = useWindow(Math.ceil(y / line), line, height);
  const from = win.first * line;
  const to = win.last * line;
  const shift = win.top - from; // where a very long list is scrolled through a shorter one
  const columns = by.map((name) => store.column(name));
  return (
    <Card view={view} title={media ? media.name : "Instances"} remark={`${count(all?.visible ?? 0)} instances${by.length && grouped ? ` in ${count(grouped.total)} groups` : ""}`}>
      {options.slider && <Slider view={view} />}
      <div class="sym-instances" ref={win.ref} onScroll={win.onScroll} style={px({ maxHeight: height })}>
        <div ref={box} style={px({ height: win.tall, position: "relative" })}>
          {size.width > 0 && sections.map(({ group, lines, top }) => {
            const start = top + (by.length ? HEAD : 0);
            const end = start + lines * line;
            if (end < from || top > to) return null;
            const first = Math.max(0, Math.floor((from - start) / line));
            const last = Math.min(lines, Math.ceil((to - start) / line));
            const where: Tree | undefined = by.length ? groupTree(columns, group.key) : undefined;
            const name = group.key.map((k, c) => (k === null ? `${by[c]} missing` : cellText(k, columns[c]))).join(" · ");
            return (
              <div class="sym-section" key={group.key.map(keyText).join("\u0000")} style={px({ top: top + shift })}>
                {by.length > 0 && <h4>{name || "(empty)"} <span class="sym-remark">{count(group.count)}</span></h4>}
                <div style={px({ paddingTop: first * line })}>
                  {last > first && (
                    <RowTiles
                      view={view.id} where={where} sort={store.state.value.sort} offset={first * across} limit={(last - first) * across}
                      caption={caption} media={media} shape={shape} label={name || "Instances"}
                    />
                  )}
                </div>
              </div>
            );
          })}
        </div>
      </div>
      {all?.visible === 0 && <Message>No instance is visible under this filter.</Message>}
    </Card>
  );
}
