// A page in a notebook's cell: anywidget calls `render`, once for each view, and the answer cleans up.
// Nothing is kept between views: some hosts load this module once for all of them, others once for each.

import { Store } from "../core/store.ts";
import type { Spec } from "../core/types.ts";
import { show } from "../ui/shell.tsx";
import { blockMedia } from "./blocks.ts";
import { makeEngine, sendStates } from "./open.ts";

interface Model {
  get(name: string): any;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown): void;
  on(event: string, fn: (...args: any[]) => void): void;
  off(event: string, fn?: (...args: any[]) => void): void;
}

/** A trait may be JSON as text or as a value. */
const read = (value: unknown): any => (typeof value === "string" ? JSON.parse(value) : value);

interface Waiting {
  resolve(value: any): void;
  reject(error: Error): void;
  parts: Uint8Array[];
  left: number;
}

/** Asks the kernel by custom messages; blocks come in parts. */
function talk(model: Model) {
  const waiting = new Map<string, Waiting>();
  const own = Math.random().toString(36).slice(2);
  let last = 0;
  const onMessage = (content: any, buffers: DataView[]) => {
    const one = waiting.get(content?.id);
    if (!one) return;
    if (content.error) one.reject(new Error(content.error));
    else if (content.results) one.resolve(content.results);
    else {
      const { index, count } = content;
      const part = buffers[0];
      if (one.parts[index]) return;
      if (one.left < 0) one.left = count;
      one.parts[index] = part instanceof ArrayBuffer ? new Uint8Array(part) : new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
      if (--one.left > 0) return;
      const whole = new Uint8Array(one.parts.reduce((n, p) => n + p.length, 0)); // a buffer of its own: parts are not aligned
      one.parts.reduce((at, p) => (whole.set(p, at), at + p.length), 0);
      one.resolve(whole);
    }
    waiting.delete(content.id);
  };
  model.on("msg:custom", onMessage);
  const ask = (content: object): Promise<any> =>
    new Promise((resolve, reject) => {
      const id = `${own}-${++last}`;
      waiting.set(id, { resolve, reject, parts: [], left: -1 });
      model.send({ ...content, id });
    });
  return {
    block: (name: string): Promise<Uint8Array> => ask({ get: "block", name }),
    ask,
    close() {
      model.off("msg:custom", onMessage);
      for (const one of waiting.values()) one.reject(new Error("the view is gone"));
      waiting.clear();
    },
  };
}

export async function render({ model, el }: { model: Model; el: HTMLElement }): Promise<() => void> {
  const page = document.createElement("div");
  page.className = "symphony";
  page.textContent = "Loading…";
  el.append(page);
  const kernel = talk(model);
  const media = blockMedia(kernel.block);
  const undo: (() => void)[] = [kernel.close, media.close, () => page.remove()];
  let gone = false;
  const start = async () => {
    const spec = read(model.get("_spec")) as Spec;
    const engine = await makeEngine(spec, () => kernel.block("data"), (state, query) => kernel.ask({ query, state }));
    if (gone) return;
    const first = read(model.get("_state"));
    const store: Store = new Store(spec, engine, {
      media,
      component: async (name) => {
        const esm = spec.custom?.[name]?.esm;
        if (!esm) throw new Error("its module is not in this page");
        const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
        return (await import(url).finally(() => URL.revokeObjectURL(url))).default;
      },
      annotate: (changed) => model.send({ annotations: changed }),
    }, first?.state);
    page.textContent = "";
    undo.push(show(page, store));
    const onState = () => {
      const message = read(model.get("_state"));
      if (message?.state) store.receive(message);
    };
    const onMessage = (content: any) => content?.annotations && store.receiveAnnotations(content.annotations);
    model.on("change:_state", onState);
    model.on("msg:custom", onMessage);
    const asText = typeof model.get("_state") === "string";
    undo.push(() => model.off("change:_state", onState), () => model.off("msg:custom", onMessage));
    undo.push(sendStates(store, (message) => {
      model.set("_state", asText ? JSON.stringify(message) : message);
      model.save_changes();
    }));
    page.dataset.ready = "true";
  };
  start().catch((error) => {
    if (!gone) page.textContent = `This page could not be shown: ${error.message}`;
  });
  return () => {
    gone = true;
    for (const fn of undo.reverse()) fn();
  };
}
