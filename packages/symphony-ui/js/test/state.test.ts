import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeRows, emptyState, encodeRows, fromFragment, readState, toFragment } from "../src/core/state.ts";
import { random, vectors } from "./helpers.ts";

const { rows, broken, states, refused } = vectors("state");

test("row sets travel as delta varints", () => {
  for (const { rows: list, text } of rows) {
    assert.equal(encodeRows(list), text);
    assert.deepEqual(decodeRows(text), list);
  }
});

test("row sets cut short or too large are refused", () => {
  for (const text of broken) assert.throws(() => decodeRows(text), /row number/);
});

test("a fragment holds its state", async () => {
  for (const { state, fragment } of states) {
    assert.deepEqual(await fromFragment(`#${fragment}`), state);
    assert.deepEqual(await fromFragment((await toFragment(state)).text), state);
  }
});

test("an unknown version is refused", () => {
  for (const state of refused) assert.throws(() => readState(state), /version/);
});

test("a selection that does not fit is left out and said so", async () => {
  const next = random(1);
  const many = Array.from({ length: 60000 }, () => Math.floor(next() * 1e9));
  const state = { ...emptyState(), group_by: ["label"], selection: { rows: encodeRows(many) } };
  const { text, dropped } = await toFragment(state);
  assert.ok(dropped && text.length < 16384);
  assert.deepEqual(await fromFragment(text), { ...state, selection: { rows: "" } });
});

test("a fragment without a state is none", async () => {
  assert.equal(await fromFragment("#section-2"), null);
  assert.equal(await fromFragment(""), null);
});
