// Media out of Arrow blocks: columns `mime` and `bytes`, a row of the block a row of the table.

import { tableFromIPC } from "@uwdata/flechette";
import type { Media } from "../core/store.ts";

const KEPT = 600;
const SHOWABLE = /^(image\/(png|jpeg|gif|webp|avif|bmp|svg\+xml)|audio\/[\w.+-]+|text\/plain)$/;

interface Block {
  mime(row: number): string | null;
  bytes(row: number): Uint8Array | null;
}

function open(raw: Uint8Array): Block {
  const table = tableFromIPC(raw, {});
  const mime = table.getChild("mime")!;
  const bytes = table.getChild("bytes")!;
  return { mime: (row) => mime.at(row) as string | null, bytes: (row) => bytes.at(row) as Uint8Array | null };
}

/** Media whose blocks come from `load`, each fetched once; addresses of the least recent ones are given back. */
export function blockMedia(load: (name: string) => Promise<Uint8Array>): Media & { close(): void } {
  const blocks = new Map<string, Promise<Block>>();
  const urls = new Map<string, string>();
  const block = (column: string) => {
    let found = blocks.get(column);
    if (!found) {
      found = load(`media:${column}`).then(open);
      blocks.set(column, found);
    }
    return found;
  };
  return {
    async url(column, row) {
      const { mime, bytes } = await block(column);
      const key = `${row} ${column}`;
      const known = urls.get(key);
      if (known) {
        urls.delete(key);
        urls.set(key, known);
        return known;
      }
      const type = mime(row);
      const raw = bytes(row);
      if (!type || !raw || !SHOWABLE.test(type)) return null;
      const url = URL.createObjectURL(new Blob([raw as BlobPart], { type }));
      urls.set(key, url);
      if (urls.size > KEPT) {
        const [oldest, gone] = urls.entries().next().value!;
        urls.delete(oldest);
        URL.revokeObjectURL(gone);
      }
      return url;
    },
    async text(column, row) {
      const raw = (await block(column)).bytes(row);
      return raw && new TextDecoder().decode(raw);
    },
    close() {
      for (const url of urls.values()) URL.revokeObjectURL(url);
      urls.clear();
    },
  };
}
