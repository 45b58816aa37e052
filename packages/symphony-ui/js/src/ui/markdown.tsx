// A safe subset of Markdown, made into elements, never into markup: headings, paragraphs, lists, quotes, code,
// emphasis, links to http and https; a backslash before \\ ` * _ [ ] keeps it as it is.

import type { ComponentChildren, VNode } from "preact";
import type { ViewSpec } from "../core/types.ts";
import { useStore } from "./context.tsx";

export type Block =
  | { kind: "heading"; level: number; text: string }
  | { kind: "text" | "quote"; text: string }
  | { kind: "code"; text: string }
  | { kind: "list"; ordered: boolean; items: string[] }
  | { kind: "rule" };

/** The blocks of a text. */
export function blocks(source: string): Block[] {
  const out: Block[] = [];
  const lines = source.replace(/\r\n?/g, "\n").split("\n");
  let at = 0;
  const gather = (test: RegExp): string[] => {
    const found: string[] = [];
    for (let m; at < lines.length && (m = test.exec(lines[at])); at++) found.push(m[1]);
    return found;
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = /^(#{1,4})\s+(.*?)\s*#*$/.exec(line);
    if (!line.trim()) at++;
    else if (/^```/.test(line)) {
      at++;
      const body: string[] = [];
      while (at < lines.length && !/^```/.test(lines[at])) body.push(lines[at++]);
      at++;
      out.push({ kind: "code", text: body.join("\n") });
    } else if (heading) {
      at++;
      out.push({ kind: "heading", level: heading[1].length, text: heading[2] });
    } else if (/^\s*(---+|\*\*\*+)\s*$/.test(line)) {
      at++;
      out.push({ kind: "rule" });
    } else if (/^>\s?/.test(line)) out.push({ kind: "quote", text: gather(/^>\s?(.*)$/).join("\n") });
    else if (/^\s*[-*+]\s+/.test(line)) out.push({ kind: "list", ordered: false, items: gather(/^\s*[-*+]\s+(.*)$/) });
    else if (/^\s*\d+[.)]\s+/.test(line)) out.push({ kind: "list", ordered: true, items: gather(/^\s*\d+[.)]\s+(.*)$/) });
    else {
      const body = [lines[at++]];
      while (at < lines.length && lines[at].trim() && !/^(#{1,4}\s|```|>|\s*[-*+]\s|\s*\d+[.)]\s)/.test(lines[at])) body.push(lines[at++]);
      out.push({ kind: "text", text: body.join("\n") });
    }
  }
  return out;
}

const INLINE = /\\([\\`*_[\]])|`([^`]+)`|\*\*([^*]+)\*\*|__([^_]+)__|\*([^*\s][^*]*)\*|\b_([^_]+)_\b|\[([^\]]+)\]\(([^()\s]+)\)/;

/** Emphasis, code and links of one piece of text. */
export function inline(text: string): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let rest = text;
  for (let m; (m = INLINE.exec(rest)); rest = rest.slice(m.index + m[0].length)) {
    if (m.index) out.push(rest.slice(0, m.index));
    const [, plain, code] = m;
    const strong = m[3] ?? m[4];
    const em = m[5] ?? m[6];
    if (plain) out.push(plain);
    else if (code) out.push(<code>{code}</code>);
    else if (strong) out.push(<strong>{inline(strong)}</strong>);
    else if (em) out.push(<em>{inline(em)}</em>);
    else if (/^https?:\/\//i.test(m[8])) out.push(<a href={m[8]} target="_blank" rel="noopener noreferrer">{m[7]}</a>);
    else out.push(m[0]);
  }
  if (rest) out.push(rest);
  return out;
}

function block(b: Block): VNode {
  if (b.kind === "heading") {
    const Tag = `h${Math.min(6, b.level + 1)}` as "h2";
    return <Tag class={`sym-md-h${b.level}`}>{inline(b.text)}</Tag>;
  }
  if (b.kind === "code") return <pre tabindex={0}><code>{b.text}</code></pre>;
  if (b.kind === "rule") return <hr />;
  if (b.kind === "quote") return <blockquote>{inline(b.text)}</blockquote>;
  if (b.kind === "list") {
    const items = b.items.map((item) => <li>{inline(item)}</li>);
    return b.ordered ? <ol>{items}</ol> : <ul>{items}</ul>;
  }
  return <p>{inline(b.text)}</p>;
}

export function Markdown({ view }: { view: ViewSpec }) {
  const store = useStore();
  const { title, text } = view.options;
  return (
    <section class="sym-card sym-md" aria-label={title ?? "Text"} data-view={view.id} data-type={view.type} id={store.uid(view.id)}>
      {title && <header class="sym-card-head"><h3>{title}</h3></header>}
      <div class="sym-card-body">{blocks(text ?? "").map(block)}</div>
    </section>
  );
}
