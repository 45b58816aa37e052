// The live page: spec and blocks by fetch, states by server-sent events and posts.

import { makeEngine, openPage } from "./open.ts";
import type { Store } from "../core/store.ts";
import type { Spec } from "../core/types.ts";

async function get(path: string): Promise<Response> {
  const answer = await fetch(path, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  return answer;
}

async function post(path: string, body: unknown): Promise<any> {
  const answer = await fetch(path, { method: "POST", credentials: "same-origin", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text.slice(0, 300) || `${path}: ${answer.status}`);
  return text ? JSON.parse(text) : null;
}

export async function startLive(page: Element): Promise<Store> {
  const spec: Spec = await (await get("spec")).json();
  const number = new Map(spec.columns.map((c, k) => [c.name, k]));
  const engine = await makeEngine(
    spec, async () => new Uint8Array(await (await get("block/data")).arrayBuffer()),
    async (state, queries) => (await post("query", { state, queries })).results,
  );
  const there = (column: string, row: number) => `m/${number.get(column)}/${row}`;
  const store: Store = await openPage(page, spec, engine, {
    media: {
      url: async (column, row) => there(column, row),
      text: async (column, row) => (await get(there(column, row))).text(),
    },
    component: async (name) => (await import(new URL(`custom/${encodeURIComponent(name)}.js`, document.baseURI).href)).default,
    annotate: (changed) => void post("annotations", changed).catch((error) => store.notify("annotations", `the annotation was not kept: ${error.message}`)),
  }, (message) => void post("state", message).catch((error) => store.notify("connection", `This page has lost its server: ${error.message}. It shows the last state.`)));
  const events = new EventSource("events");
  const linked = store.received === null; // the address held a state: it goes before the server's first
  events.addEventListener("state", (event) => {
    const message = JSON.parse(event.data);
    if (!(linked && message.origin === "server")) store.receive(message);
  });
  events.addEventListener("annotations", (event) => store.receiveAnnotations(JSON.parse(event.data)));
  events.onopen = () => store.notify("connection", null);
  events.onerror = () => store.notify("connection", "This page has lost its server. It shows the last state, and goes on when the server is back.");
  return store;
}
