// A saved page: everything is in the document, nothing is fetched.

import { fromBase64, pipe } from "../core/state.ts";
import type { Engine } from "../core/engine.ts";
import type { Host, Store } from "../core/store.ts";
import type { Spec } from "../core/types.ts";
import { blockMedia } from "./blocks.ts";
import { makeEngine, openPage } from "./open.ts";

export const SPEC_ID = "symphony-spec";

async function readBlock(key: string, name: string): Promise<Uint8Array> {
  const element = document.getElementById(`block:${key}${name}`);
  if (!element) throw new Error(`this page has no block ${JSON.stringify(name)}`);
  const bytes = fromBase64(element.textContent!.trim());
  return element.dataset.encoding === "gzip+base64" ? pipe(bytes, new DecompressionStream("gzip")) : bytes;
}

/** JSON that may stand in a script element: no character in it can end the element. */
export const inlineJson = (value: unknown): string =>
  JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** This document as a file with another spec: the same blocks, script and style. */
function copyPage(id: string, spec: Spec): Blob {
  const root = document.documentElement.cloneNode(true) as HTMLElement;
  const shell = root.querySelector("#symphony-page")!;
  shell.replaceChildren();
  shell.removeAttribute("data-ready");
  root.querySelector(`[id="${id}"]`)!.textContent = inlineJson(spec);
  return new Blob(["<!doctype html>\n", root.outerHTML, "\n"], { type: "text/html" });
}

/** What the document holds of one page: its spec, engine and host. In a book `key` is the page's number and a colon. */
export async function savedPage(key: string): Promise<[Spec, Engine, Host]> {
  const id = key ? `${SPEC_ID}:${key.slice(0, -1)}` : SPEC_ID;
  const spec = JSON.parse(document.getElementById(id)!.textContent!) as Spec;
  const read = (name: string) => readBlock(key, name);
  const host: Host = {
    media: blockMedia(read),
    component: async (name) => {
      const made = (globalThis as any).symphonyComponents?.[name];
      if (!made) throw new Error("its module is not in this page");
      return made;
    },
    copy: (changed) => copyPage(id, changed),
  };
  return [spec, await makeEngine(spec, () => read("data")), host];
}

export const startSaved = async (page: Element): Promise<Store> => openPage(page, ...(await savedPage("")));
