// The one state: its defaults, its text in the URL fragment, row sets as delta varints.

import type { Spec, State, Tree } from "./types.ts";

export const FRAGMENT_LIMIT = 16384;

export const emptyState = (): State => ({
  v: 1, filter: null, brushes: {}, group_by: [], selection: { rows: "" },
  sort: [], tab: null, views: {}, show_unfiltered: false,
});

/** A whole state out of a possibly partial one; an unknown version is refused. */
export function readState(raw: any): State {
  if (!raw || typeof raw !== "object") throw new Error("the state is not an object");
  if (raw.v !== 1) throw new Error(`this page reads version 1 of the state, and got version ${JSON.stringify(raw.v)}`);
  return { ...emptyState(), ...raw };
}

/** The columns that a state names and the page does not have are left out of it. */
export function fitState(state: State, spec: Spec): State {
  const names = new Set(spec.columns.map((c) => c.name));
  const tabs = spec.layout.map((t) => t.tab);
  return {
    ...state,
    group_by: state.group_by.filter((name) => names.has(name)),
    sort: state.sort.filter(([name]) => names.has(name)),
    tab: state.tab !== null && tabs.includes(state.tab) ? state.tab : (tabs[0] ?? null),
  };
}

/** Sorted row numbers as base64 of delta varints. */
export function encodeRows(rows: Iterable<number>): string {
  const sorted = Float64Array.from(rows).sort();
  const bytes = new Uint8Array(8 * sorted.length);
  let n = 0;
  let last = 0;
  sorted.forEach((row, k) => {
    if (k && row === last) return;
    let delta = row - last;
    last = row;
    while (delta >= 128) {
      bytes[n++] = (delta % 128) | 128;
      delta = Math.floor(delta / 128);
    }
    bytes[n++] = delta;
  });
  return toBase64(bytes.subarray(0, n));
}

export function decodeRows(text: string): number[] {
  const rows: number[] = [];
  let value = 0;
  let place = 1;
  let last = 0;
  for (const byte of fromBase64(text)) {
    value += (byte & 127) * place;
    if (byte & 128) {
      place *= 128;
      if (place > 2 ** 49) throw new Error("a row number in the state is too large");
    } else {
      last += value;
      rows.push(last);
      value = 0;
      place = 1;
    }
  }
  if (place !== 1) throw new Error("the row numbers in the state are cut short");
  return rows;
}

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array {
  const native = (Uint8Array as any).fromBase64;
  if (native) return native(text);
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

export async function pipe(bytes: Uint8Array, through: GenericTransformStream): Promise<Uint8Array> {
  const stream = new Blob([bytes as BlobPart]).stream().pipeThrough(through as any);
  return new Uint8Array(await new Response(stream as any).arrayBuffer());
}

export interface Fragment {
  text: string;
  /** the selection was too large and is not in the text */
  dropped: boolean;
}

/** `s=` and base64url of the deflated state; what does not fit loses its selection, then everything. */
export async function toFragment(state: State): Promise<Fragment> {
  const pack = async (s: State) => {
    const bytes = await pipe(new TextEncoder().encode(JSON.stringify(s)), new CompressionStream("deflate-raw"));
    return `s=${toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
  };
  const full = await pack(state);
  if (full.length <= FRAGMENT_LIMIT) return { text: full, dropped: false };
  const brushes = Object.fromEntries(Object.entries(state.brushes).filter(([, t]) => !holdsRows(t)));
  const less = await pack({ ...state, selection: { rows: "" }, brushes });
  return { text: less.length <= FRAGMENT_LIMIT ? less : "", dropped: true };
}

const holdsRows = (tree: Tree): boolean =>
  tree[0] === "rows" || tree.slice(1).some((child) => Array.isArray(child) && typeof child[0] === "string" && holdsRows(child as Tree));

/** The state of a fragment, or null where it holds none. */
export async function fromFragment(fragment: string): Promise<State | null> {
  const found = /(?:^#?|&)s=([A-Za-z0-9_-]+)/.exec(fragment);
  if (!found) return null;
  if (found[1].length > FRAGMENT_LIMIT) throw new Error("the address holds more than 16 kB of state");
  const bytes = fromBase64(found[1].replaceAll("-", "+").replaceAll("_", "/").padEnd(Math.ceil(found[1].length / 4) * 4, "="));
  return readState(JSON.parse(new TextDecoder().decode(await pipe(bytes, new DecompressionStream("deflate-raw")))));
}
