// A saved page: everything is in the document, nothing is fetched.

import { fromBase64, pipe } from "../core/state.ts";
import type { Store } from "../core/store.ts";
import type { Spec } from "../core/types.ts";
import { blockMedia } from "./blocks.ts";
import { makeEngine, openPage } from "./open.ts";

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
  const engine = await makeEngine(spec, () => readBlock("data"));
  return openPage(page, spec, engine, {
    media: blockMedia(readBlock),
    component: async (name) => {
      const made = (globalThis as any).symphonyComponents?.[name];
      if (!made) throw new Error("its module is not in this page");
      return made;
    },
    copy: (changed) => copyPage(page, changed),
  });
}
