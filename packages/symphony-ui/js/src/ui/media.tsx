// One instance: its image, sound or text, with a description made of its other columns.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Cell, ColumnSpec } from "../core/types.ts";
import type { Store } from "../core/store.ts";
import { px, useStore } from "./context.tsx";
import { cellText, count } from "./format.ts";

interface Props {
  column: ColumnSpec;
  row: number;
  small?: boolean;
  size?: number;
  /** what the picture is, for those who do not see it */
  alt?: string;
}

export function Instance({ column, row, small, size, alt }: Props) {
  const store = useStore();
  const type = column.media?.type ?? "image";
  const found = useSignal<{ row: number; value: string | null } | null>(null);
  useEffect(() => {
    let alive = true;
    const get = type === "text" ? store.host.media.text : store.host.media.url;
    get.call(store.host.media, column.name, row).then(
      (value) => {
        if (alive) found.value = { row, value };
      },
      () => {
        if (alive) found.value = { row, value: null };
      },
    );
    return () => {
      alive = false;
    };
  }, [column.name, row, type]);
  const now = found.value?.row === row ? found.value : null;
  const side = small ? 36 : (size ?? column.media?.size ?? 64);
  if (now && now.value === null) return <span class="sym-gone sym-nothing" style={px({ minWidth: small ? undefined : side })}>no {type}</span>;
  const text = alt ?? `${column.name} of row ${count(row)}`;
  if (type === "audio") {
    return now ? <audio class="sym-audio" controls preload="none" src={now.value!} aria-label={text} /> : <span class="sym-audio" />;
  }
  if (type === "text") return <span class={small ? "sym-text-small" : "sym-text"}>{now ? cut(now.value!, small ? 80 : 1200) : ""}</span>;
  return (
    <span class="sym-image" style={px({ width: side, height: side })}>
      {now && <img src={now.value!} alt={text} draggable={false} loading="lazy" decoding="async" width={side} height={side} class={(column.media?.size ?? 64) < side ? "sym-pixels" : ""} />}
    </span>
  );
}

const cut = (text: string, limit: number) => (text.length > limit ? `${text.slice(0, limit)}…` : text);

export function describe(store: Store, names: string[], values: Cell[], row: number): string {
  const parts = names.map((name, k) => `${name}: ${cellText(values[k], store.column(name))}`);
  return parts.length ? parts.join(", ") : `row ${count(row)}`;
}

/** The media column that a component shows when none is named. */
export const mediaColumn = (store: Store, name: string | null | undefined): ColumnSpec | undefined =>
  name ? store.column(name) : store.spec.columns.find((c) => c.kind === "media");
