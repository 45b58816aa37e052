import assert from "node:assert/strict";
import { test } from "node:test";
import { RemoteEngine } from "../src/core/remote.ts";
import type { Linear, Query, State } from "../src/core/types.ts";

const bins: Linear = { type: "linear", lo: 0, hi: 1, n: 4 };
const query = (column: string): Query => ({ kind: "hist", view: column, column, bins });
const rest = () => new Promise((done) => setTimeout(done));

function asked(ahead: boolean) {
  const posts: { state: State; queries: Query[] }[] = [];
  const engine = new RemoteEngine(async (state, queries) => {
    posts.push({ state, queries });
    return queries.map((_, k) => k);
  }, ahead);
  const live = [query("a"), query("b"), { kind: "count" } as Query].map((q) => engine.ask<number>(q));
  return { engine, posts, live };
}

test("all queries travel together, and one message is in flight", async () => {
  const { engine, posts, live } = asked(false);
  await rest();
  engine.drag("a", "a", bins, 0, 1);
  engine.drag("a", "a", bins, 0, 2);
  engine.drag("a", "a", bins, 0, 3);
  await rest();
  assert.deepEqual(posts.map((p) => p.queries.length), [3, 3]);
  assert.deepEqual(posts[1].state.brushes, { a: ["bin", "a", 0, 0.75] });
  assert.deepEqual(live.map((l) => l.answer.value), [0, 1, 2]);
});

test("the counts of a drag are asked for ahead of it, once, and show nothing", async () => {
  const { engine, posts, live } = asked(true);
  await rest();
  engine.prepare("a", "a", bins);
  engine.prepare("a", "a", bins);
  await rest();
  assert.equal(posts.length, 2);
  assert.deepEqual(posts[1].queries.map((q) => q.kind), ["hist", "hist"]);
  assert.deepEqual(posts[1].state.brushes, { a: ["between", "a", 0, 1] });
  assert.deepEqual(live.map((l) => l.answer.value), [0, 1, 2]);
  const none = asked(false);
  await rest();
  none.engine.prepare("a", "a", bins);
  assert.equal(none.posts.length, 1);
});
