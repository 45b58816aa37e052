import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, FilterError } from "../src/core/filter.ts";
import { parse, print } from "../src/core/parse.ts";
import { column, source, vectors } from "./helpers.ts";

const { columns, cases, errors, refused } = vectors("filter");
const table = source(columns.map(column));
const kept = (tree: any) => [...evaluate(tree, table)].flatMap((keep, row) => (keep ? [row] : []));

test("each text reads as its tree", () => {
  for (const { text, tree } of cases) assert.deepEqual(parse(text, table.names()), tree, text);
});

test("each tree prints as a text that reads as the tree", () => {
  for (const { tree } of cases) assert.deepEqual(parse(print(tree)), tree, print(tree));
});

test("each tree keeps its rows", () => {
  for (const { text, tree, rows } of cases) assert.deepEqual(kept(tree), rows, text);
});

test("a filter and its complement share out the rows", () => {
  for (const { tree, rows } of cases) assert.deepEqual(kept(["not", tree]).concat(rows).sort(), [...Array(8).keys()]);
});

test("an error says where it is and what would do", () => {
  for (const { text, pos, says } of errors) {
    assert.throws(() => parse(text, table.names()), (e: any) => {
      assert.ok(e instanceof FilterError, text);
      assert.equal(e.pos, pos, text);
      assert.ok(e.message.includes(says), `${text}: ${e.message}`);
      return true;
    });
  }
});

test("values that do not compare with a column are refused", () => {
  for (const tree of refused) assert.throws(() => evaluate(tree, table), FilterError, JSON.stringify(tree));
});

test("blank text is no filter", () => {
  assert.equal(parse("  "), null);
  assert.equal(print(null), "");
});
