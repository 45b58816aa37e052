// A saved page: everything is in the document, nothing is fetched.

import { decodeColumns } from "../core/columns.ts";
import { BrowserEngine } from "../core/engine.ts";
import { fromBase64, pipe } from "../core/state.ts";
import { Store } from "../core/store.ts";
import type { Spec } from "../core/types.ts";
import { show } from "../ui/shell.tsx";
import { addressState, followAddress } from "./address.ts";
import { blockMedia } from "./blocks.ts";

export const SPEC_ID = "symphony-spec";

async function readBlock(name: string): Promise<Uint8Array> {
  const element = document.getElementById(`block:${name}`);
  if (!element) throw new Error(`this page has no block ${JSON.stringify(name)}`);
  const bytes = fromBase64(element.textContent!.trim());
  return element.dataset.encoding === "gzip+base64" ? pipe(bytes, new DecompressionStream("gzip")) : bytes;
}

/** JSON that may stand in a script element: no character in it can end the element. */
export const inlineJson = (value: unknown): string =>
  JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** This document as a file with another spec: the same blocks, script and style. */
function copyPage(page: Element, spec: Spec): Blob {
  const root = document.documentElement.cloneNode(true) as HTMLElement;
  const shell = root.querySelector(`#${page.id}`)!;
  shell.replaceChildren();
  shell.removeAttribute("data-ready");
  root.querySelector(`#${SPEC_ID}`)!.textContent = inlineJson(spec);
  return new Blob(["<!doctype html>\n", root.outerHTML, "\n"], { type: "text/html" });
}

export async function startSaved(page: Element): Promise<Store> {
  const spec = JSON.parse(document.getElementById(SPEC_ID)!.textContent!) as Spec;
  const [raw, address] = await Promise.all([spec.columns.some((c) => c.kind !== "media") ? readBlock("data") : new Uint8Array(0), addressState()]);
  const engine = new BrowserEngine(decodeColumns(raw, spec.columns, spec.rows), spec.rows);
  const store = new Store(spec, engine, {
    media: blockMedia(readBlock),
    component: async (name) => {
      const made = (globalThis as any).symphonyComponents?.[name];
      if (!made) throw new Error("its module is not in this page");
      return made;
    },
    copy: (changed) => copyPage(page, changed),
  }, address.state ?? undefined);
  store.notify("address", address.problem);
  document.title = spec.title || document.title;
  show(page, store);
  followAddress(store);
  return store;
}
