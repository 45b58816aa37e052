// The text form of filters: a closed grammar, read by recursive descent, never evaluated.

import { FilterError, unknownColumn } from "./filter.ts";
import type { Tree, Value } from "./types.ts";

const WORDS = new Set(
  "and or not in between contains startswith is missing true false none all bin rows lasso".split(" "),
);
const TOKEN =
  /(\s+)|("(?:[^"\\]|\\.)*")|(`(?:[^`]|``)*`)|(@[0-9][0-9T:.Z+-]*)|([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|([\p{L}_][\p{L}\p{M}\p{N}_.]*)|(==|!=|<=|>=|<|>|[()[\],])/uy;

interface Token {
  kind: "text" | "name" | "time" | "number" | "word" | "sign" | "end";
  text: string;
  pos: number;
}

function tokens(source: string): Token[] {
  const out: Token[] = [];
  const place = (at: number) => [...source.slice(0, at)].length;
  TOKEN.lastIndex = 0;
  let at = 0;
  while (at < source.length) {
    TOKEN.lastIndex = at;
    const m = TOKEN.exec(source);
    if (!m) {
      const open = source[at] === '"' ? "a text without its closing quote" : source[at] === "`" ? "a name without its closing backtick" : null;
      const hint = source[at] === "=" ? "; compare with ==" : "";
      throw new FilterError(open ?? `cannot read ${JSON.stringify(String.fromCodePoint(source.codePointAt(at)!))} here${hint}`, place(at));
    }
    const pos = place(at);
    if (m[2]) out.push({ kind: "text", text: m[2], pos });
    else if (m[3]) out.push({ kind: "name", text: m[3].slice(1, -1).replaceAll("``", "`"), pos });
    else if (m[4]) out.push({ kind: "time", text: m[4].slice(1), pos });
    else if (m[5]) out.push({ kind: "number", text: m[5], pos });
    else if (m[6]) out.push({ kind: WORDS.has(m[6]) ? "word" : "name", text: m[6], pos });
    else if (m[7]) out.push({ kind: "sign", text: m[7], pos });
    at += m[0].length;
  }
  out.push({ kind: "end", text: "the end", pos: place(at) });
  return out;
}

const LARGEST = 2n ** 53n;
const TIME = /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3}))?)?Z?)?$/;

function readTime(token: Token): Value {
  const m = TIME.exec(token.text);
  const [y, mo, d, h, mi, s] = (m ?? []).slice(1, 7).map((part) => Number(part ?? 0));
  const ms = m ? Number((m[7] ?? "0").padEnd(3, "0")) : 0;
  const date = new Date(0);
  if (m) {
    date.setUTCFullYear(y, mo - 1, d);
    date.setUTCHours(h, mi, s, ms);
  }
  if (!m || date.getUTCMonth() !== mo - 1 || date.getUTCDate() !== d || h > 23 || mi > 59 || s > 59) {
    throw new FilterError(`not a time: @${token.text}; write @2024-01-31 or @2024-01-31T12:30`, token.pos);
  }
  return { time: date.getTime() };
}

class Parser {
  at = 0;
  list: Token[];
  names: string[] | null;
  constructor(source: string, names: string[] | null) {
    this.list = tokens(source);
    this.names = names;
  }
  get now(): Token {
    return this.list[this.at];
  }
  is(text: string): boolean {
    return (this.now.kind === "word" || this.now.kind === "sign") && this.now.text === text;
  }
  take(text: string): boolean {
    if (!this.is(text)) return false;
    this.at++;
    return true;
  }
  need(text: string): void {
    if (!this.take(text)) this.fail(JSON.stringify(text));
  }
  fail(wanted: string): never {
    const got = this.now.kind === "end" ? "the end" : JSON.stringify(this.now.text);
    throw new FilterError(`expected ${wanted}, found ${got}`, this.now.pos);
  }

  chain(word: "or" | "and", next: () => Tree): Tree {
    const parts = [next()];
    while (this.take(word)) parts.push(next());
    return parts.length > 1 ? [word, ...parts] : parts[0];
  }
  either = (): Tree => this.chain("or", this.both);
  both = (): Tree => this.chain("and", this.single);
  single = (): Tree => {
    if (this.take("not")) return ["not", this.single()];
    if (this.take("(")) {
      const inner = this.either();
      this.need(")");
      return inner;
    }
    for (const call of ["all", "bin", "rows", "lasso"] as const) if (this.take(call)) return this.call(call);
    return this.test();
  };

  call(name: "all" | "bin" | "rows" | "lasso"): Tree {
    this.need("(");
    let tree: Tree = ["all"];
    if (name === "rows") tree = ["rows", this.text()];
    else if (name === "bin") {
      tree = ["bin", this.column()];
      for (let k = 0; k < 2; k++) {
        this.need(",");
        tree.push(this.take("none") ? null : this.value());
      }
    } else if (name === "lasso") {
      tree = ["lasso", this.column()];
      this.need(",");
      tree.push(this.column());
      this.need(",");
      tree.push(this.list_(() => {
        const point = this.list_(() => this.number());
        return point.length === 2 ? point : this.fail("two numbers a point");
      }));
    }
    this.need(")");
    return tree;
  }

  test(): Tree {
    const column = this.column();
    if (this.take("in")) return ["in", column, this.list_(() => (this.take("none") ? null : this.value()))];
    if (this.take("between")) {
      const lo = this.value();
      this.need("and");
      return ["between", column, lo, this.value()];
    }
    if (this.take("contains")) return ["contains", column, this.text()];
    if (this.take("startswith")) return ["startswith", column, this.text()];
    if (this.take("is")) {
      const negate = this.take("not");
      this.need("missing");
      return negate ? ["not", ["missing", column]] : ["missing", column];
    }
    for (const op of ["==", "!=", "<=", ">=", "<", ">"]) if (this.take(op)) return [op, column, this.value()];
    return this.fail("a comparison such as == or in");
  }

  column(): string {
    if (this.now.kind !== "name") this.fail("the name of a column");
    const { text, pos } = this.now;
    if (this.names && !this.names.includes(text)) throw unknownColumn(text, this.names, pos);
    this.at++;
    return text;
  }
  list_<T>(item: () => T): T[] {
    this.need("[");
    const out: T[] = [];
    if (this.take("]")) return out;
    do out.push(item());
    while (this.take(","));
    this.need("]");
    return out;
  }
  text(): string {
    if (this.now.kind !== "text") this.fail("text in double quotes");
    const token = this.list[this.at++];
    try {
      return JSON.parse(token.text);
    } catch {
      throw new FilterError("a text with an escape that is none", token.pos);
    }
  }
  number(): number {
    const v = this.value();
    return typeof v === "number" ? v : this.fail("a number");
  }
  value(): Value {
    const token = this.now;
    if (token.kind === "text") return this.text();
    if (this.take("true")) return true;
    if (this.take("false")) return false;
    if (token.kind === "time") {
      this.at++;
      return readTime(token);
    }
    if (token.kind !== "number") this.fail('a value such as 0.5, "text", true or @2024-01-31');
    this.at++;
    const v = Number(token.text);
    if (!Number.isFinite(v)) throw new FilterError(`${token.text} is beyond what a number holds`, token.pos);
    if (!/^[+-]?\d+$/.test(token.text)) return v;
    const exact = BigInt(token.text.replace("+", ""));
    return exact > LARGEST || exact < -LARGEST ? { int: exact.toString() } : v;
  }
}

/** The tree of a filter's text, or null for blank text. With `names`, unknown columns are errors. */
export function parse(source: string, names: string[] | null = null): Tree | null {
  if (!source.trim()) return null;
  const parser = new Parser(source, names);
  const tree = parser.either();
  if (parser.now.kind !== "end") parser.fail('"and", "or" or the end');
  return tree;
}

const BARE = /^[\p{L}_][\p{L}\p{M}\p{N}_.]*$/u;
const name = (s: string) => (BARE.test(s) && !WORDS.has(s) ? s : `\`${s.replaceAll("`", "``")}\``);

function literal(v: Value | null): string {
  if (v === null) return "none";
  if (typeof v === "object") return "time" in v ? `@${new Date(v.time).toISOString().replace("T00:00:00.000Z", "").replace(".000Z", "Z")}` : v.int;
  return typeof v === "number" && Math.abs(v) > 2 ** 53 ? v.toExponential() : JSON.stringify(v);
}

/** The text of a tree; reading it gives the tree again. */
export function print(tree: Tree | null): string {
  if (!tree) return "";
  const [op, a, b, c] = tree;
  if (op === "and" || op === "or") {
    return tree.slice(1).map((t: Tree) => (t[0] === "or" || t[0] === "and" ? `(${print(t)})` : print(t))).join(` ${op} `);
  }
  if (op === "not") return a[0] === "and" || a[0] === "or" ? `not (${print(a)})` : `not ${print(a)}`;
  if (op === "all") return "all()";
  if (op === "missing") return `${name(a)} is missing`;
  if (op === "rows") return `rows(${JSON.stringify(a)})`;
  if (op === "bin") return `bin(${name(a)}, ${literal(b)}, ${literal(c)})`;
  if (op === "lasso") return `lasso(${name(a)}, ${name(b)}, ${JSON.stringify(c).replaceAll(",", ", ")})`;
  if (op === "between") return `${name(a)} between ${literal(b)} and ${literal(c)}`;
  if (op === "in") return `${name(a)} in [${b.map(literal).join(", ")}]`;
  return `${name(a)} ${op} ${literal(b)}`;
}
