import assert from "node:assert/strict";
import { test } from "node:test";
import { compareText, nearest } from "../src/core/text.ts";
import { inlineJson } from "../src/hosts/saved.ts";
import { number, time } from "../src/ui/format.ts";
import { blocks, inline } from "../src/ui/markdown.tsx";
import { random } from "./helpers.ts";

test("text is ordered by code points", () => {
  const words = ["", "a", "ab", "b", "Z", "é", "\u{ffff}", "\u{1f600}", "\u{1f600}a", "\u{e000}", "\u{10ffff}"];
  const points = (s: string) => [...s].map((c) => c.codePointAt(0)!);
  const slow = (a: string, b: string) => {
    const [p, q] = [points(a), points(b)];
    for (let k = 0; k < Math.min(p.length, q.length); k++) if (p[k] !== q[k]) return p[k] - q[k];
    return p.length - q.length;
  };
  for (const a of words) for (const b of words) assert.equal(Math.sign(compareText(a, b)), Math.sign(slow(a, b)), `${a} ${b}`);
});

test("the nearest name is near", () => {
  assert.equal(nearest("scor", ["score", "core", "label"]), "score");
  assert.equal(nearest("Lable", ["score", "label"]), "label");
  assert.equal(nearest("zzzzzz", ["score", "label"]), null);
});

test("JSON in a script element cannot end it", () => {
  const value = { a: "</script><!-- & \u2028\u2029", "<b>": 1 };
  const text = inlineJson(value);
  assert.doesNotMatch(text, /[<>&\u2028\u2029]/);
  assert.deepEqual(JSON.parse(text), value);
});

test("numbers read well", () => {
  const cases: [number, string][] = [[0, "0"], [1234567, "1,234,567"], [0.1 + 0.2, "0.3"], [-0.5, "−0.5"], [1e-9, "1e-9"], [12345.678, "12,345.7"], [NaN, "–"], [Infinity, "∞"], [1.5e300, "1.5e+300"]];
  for (const [v, text] of cases) assert.equal(number(v), text);
  assert.equal(time(0), "1970-01-01");
  assert.equal(time(1706703000000), "2024-01-31 12:10");
  assert.equal(time(0, "Nowhere/Never"), "1970-01-01");
});

/** The text of elements, and the links among them. */
function flat(children: any): { text: string; links: string[]; tags: string[] } {
  const out = { text: "", links: [] as string[], tags: [] as string[] };
  const walk = (node: any): void => {
    if (node === null || node === undefined || node === false) return;
    if (Array.isArray(node)) node.forEach(walk);
    else if (typeof node === "object") {
      out.tags.push(node.type);
      if (node.props.href) out.links.push(node.props.href);
      walk(node.props.children);
    } else out.text += node;
  };
  walk(children);
  return out;
}

test("Markdown makes blocks and no markup of its own", () => {
  assert.deepEqual(blocks("# One\n\ntwo\nlines\n\n- a\n- b\n\n1. c\n\n> said\n\n---\n```\n# code\n```\nend"), [
    { kind: "heading", level: 1, text: "One" }, { kind: "text", text: "two\nlines" }, { kind: "list", ordered: false, items: ["a", "b"] },
    { kind: "list", ordered: true, items: ["c"] }, { kind: "quote", text: "said" }, { kind: "rule" }, { kind: "code", text: "# code" }, { kind: "text", text: "end" },
  ]);
  const made = flat(inline("**bold** *em* `a*b*` <script>x</script> [site](https://example.org/a) [bad](javascript:alert(1)) [data](data:text/html,x)"));
  assert.deepEqual(made.links, ["https://example.org/a"]);
  assert.deepEqual(made.tags, ["strong", "em", "code", "a"]);
  assert.ok(made.text.includes("<script>x</script>") && made.text.includes("[bad](javascript:alert(1))"));
});

test("Markdown ends on any text", () => {
  const next = random(12);
  const letters = "#*_`[]()>-1. \nab<";
  for (let k = 0; k < 500; k++) {
    const text = Array.from({ length: Math.floor(next() * 60) }, () => letters[Math.floor(next() * letters.length)]).join("");
    for (const b of blocks(text)) if ("text" in b) flat(inline(b.text));
  }
});

test("a backslash keeps a character of Markdown as it is", () => {
  const escaped = String.raw`decay \*\* kappa, er\_ssl, \[a\](b), \\ and \x`;
  const found = inline(escaped);
  assert.ok(found.every((part) => typeof part === "string"));
  assert.equal(found.join(""), String.raw`decay ** kappa, er_ssl, [a](b), \ and \x`);
});
