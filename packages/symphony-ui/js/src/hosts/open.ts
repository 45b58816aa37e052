// What all pages with a document of their own do alike.

import { effect } from "@preact/signals";
import { decodeColumns } from "../core/columns.ts";
import { BrowserEngine, type Engine } from "../core/engine.ts";
import { RemoteEngine, type Post } from "../core/remote.ts";
import { Store, type Host } from "../core/store.ts";
import type { Spec, StateMessage } from "../core/types.ts";
import { show, undoKey } from "../ui/shell.tsx";
import { addressState, followAddress } from "./address.ts";

/** The engine that the spec asks for; `load` gives the block of columns. */
export async function makeEngine(spec: Spec, load: () => Promise<Uint8Array>, post?: Post): Promise<Engine> {
  if (spec.engine === "remote" && post) return new RemoteEngine(post, spec.ahead);
  const bytes = spec.columns.some((c) => c.kind !== "media") ? await load() : new Uint8Array(0);
  return new BrowserEngine(decodeColumns(bytes, spec.columns, spec.rows), spec.rows);
}

/** Shows a page whose state may stand in its address. */
export async function openPage(page: Element, spec: Spec, engine: Engine, host: Host, send?: (message: StateMessage) => void): Promise<Store> {
  const address = await addressState();
  const store = new Store(spec, engine, host, address.state ?? undefined);
  if (address.state) store.received = null; // what stands in the address is news to the server
  store.notify("address", address.problem);
  document.title = spec.title || document.title;
  show(page, store);
  // a button that went away took the focus with it: the document is all ours, and so are its keys
  document.body.addEventListener("keydown", (event) => event.target === document.body && undoKey(store, event));
  followAddress(store);
  if (send) sendStates(store, send);
  return store;
}

const PAUSE_MS = 60;

/** Sends each new state of this page, a pause after the last change; what came from elsewhere is not sent back. */
export function sendStates(store: Store, send: (message: StateMessage) => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = effect(() => {
    const state = store.state.value;
    clearTimeout(timer);
    if (state !== store.received) timer = setTimeout(() => send(store.message()), PAUSE_MS);
  });
  return () => {
    clearTimeout(timer);
    stop();
  };
}
