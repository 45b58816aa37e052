// Stand-ins for the Python side: a live server and a notebook's model, as PROTOCOL.md says.
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const built = `${here}../../src/symphony_ui/static/`;

/** The page's own engine, in node: it answers the queries of a remote page. */
async function answerer(spec, bytes) {
  const made = await build({
    stdin: { contents: `export { decodeColumns } from "./src/core/columns.ts"; export { BrowserEngine } from "./src/core/engine.ts";`, resolveDir: `${here}..`, loader: "ts" },
    bundle: true, write: false, format: "esm", platform: "node", logLevel: "error",
  });
  const { decodeColumns, BrowserEngine } = await import(`data:text/javascript;base64,${Buffer.from(made.outputFiles[0].text).toString("base64")}`);
  const engine = new BrowserEngine(decodeColumns(new Uint8Array(bytes), spec.columns, spec.rows), spec.rows);
  const plain = (v) => (ArrayBuffer.isView(v) ? Array.from(v) : Array.isArray(v) ? v.map(plain) : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, plain(x)])) : v);
  return ({ state, queries }) => {
    engine.apply(state);
    return { results: queries.map((q) => plain(engine.answer(q))) };
  };
}

export async function livePage({ spec, blocks, modules = {} }, { remote = false } = {}) {
  const got = [];
  const streams = new Set();
  const live = { ...spec, host: "live", engine: remote ? "remote" : "browser" };
  const answer = remote ? await answerer(spec, blocks.data) : null;
  const page = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>live</title><link rel="icon" href="data:,"><link rel="stylesheet" href="symphony.css"></head><body><div id="symphony-page" class="symphony"></div><script type="module" src="symphony.js"></script></body></html>`;
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
    const send = (type, body) => response.writeHead(200, { "content-type": type }).end(body);
    if (request.method === "POST") {
      let text = "";
      for await (const chunk of request) text += chunk;
      const body = JSON.parse(text);
      got.push({ path, body });
      try {
        send("application/json", path === "/query" ? JSON.stringify(answer(body)) : "{}");
      } catch (error) {
        response.writeHead(400).end(error.message);
      }
    } else if (path === "/") send("text/html", page);
    else if (path === "/symphony.js") send("text/javascript", readFileSync(`${built}symphony.js`));
    else if (path === "/symphony.css") send("text/css", readFileSync(`${built}symphony.css`));
    else if (path === "/spec") send("application/json", JSON.stringify(live));
    else if (path.startsWith("/block/")) send("application/vnd.apache.arrow.stream", Buffer.from(blocks[path.slice(7)]));
    else if (path.startsWith("/custom/")) send("text/javascript", modules[path.slice(8, -3)] ?? "throw new Error('none')");
    else if (path.startsWith("/m/")) send("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M1 1h7v7z"/></svg>');
    else if (path === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`event: state\ndata: ${JSON.stringify({ state: spec.state, origin: "server", seq: 0 })}\n\n`);
      streams.add(response);
    } else response.writeHead(404).end();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    got,
    say: (event, data) => streams.forEach((s) => s.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)),
    close: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}

/** A document with a model like anywidget's, whose kernel answers in parts of 100 kB. */
export function widgetPage({ spec, blocks }) {
  const script = readFileSync(`${built}symphony.js`, "utf8");
  const style = readFileSync(`${built}symphony.css`, "utf8");
  const safe = (v) => JSON.stringify(v).replaceAll("<", "\\u003c");
  const harness = `
    const module = await import(URL.createObjectURL(new Blob([${safe(script)}], { type: "text/javascript" })));
    const blocks = ${safe(Object.fromEntries(Object.entries(blocks).map(([k, v]) => [k, Buffer.from(v).toString("base64")])))};
    const listeners = {};
    const traits = { _spec: ${safe({ ...spec, host: "widget" })}, _state: ${safe({ state: spec.state, origin: "python", seq: 0 })} };
    const emit = (event, ...args) => [...(listeners[event] ?? [])].forEach((fn) => fn(...args));
    const model = {
      saves: 0,
      get: (k) => traits[k],
      set: (k, v) => { traits[k] = v; emit("change:" + k); },
      save_changes() { this.saves++; },
      on: (e, fn) => (listeners[e] ??= new Set()).add(fn),
      off: (e, fn) => listeners[e]?.delete(fn),
      send(m) {
        if (m.get !== "block") return;
        const bytes = Uint8Array.from(atob(blocks[m.name]), (c) => c.charCodeAt(0));
        const size = 100001;
        const count = Math.max(1, Math.ceil(bytes.length / size));
        for (let i = count - 1; i >= 0; i--) setTimeout(() => emit("msg:custom", { block: m.name, id: m.id, index: i, count }, [new DataView(bytes.buffer, i * size, Math.min(size, bytes.length - i * size))]));
      },
      state: () => traits._state,
      push(v) { traits._state = v; emit("change:_state"); },
      listeners: () => Object.values(listeners).reduce((n, s) => n + s.size, 0),
    };
    globalThis.model = model;
    const stops = [];
    globalThis.again = async () => stops.push(await module.default.render({ model, el: document.body.appendChild(document.createElement("div")) }));
    globalThis.stop = () => stops.forEach((s) => s());
    await globalThis.again();
  `;
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>widget</title><style>${style}</style></head><body><script type="module">${harness}</script></body></html>`;
}
