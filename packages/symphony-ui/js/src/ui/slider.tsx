// One value of a column at a time: a brush that replays stored results.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { GroupsAnswer, Tree, ViewSpec } from "../core/types.ts";
import { groupTree, useAnswer, useStore } from "./context.tsx";
import { cellText } from "./format.ts";

const STEP_MS = 700;

export function Slider({ view }: { view: ViewSpec }) {
  const store = useStore();
  const name: string = view.options.slider;
  const column = store.column(name)!;
  const answer = useAnswer<GroupsAnswer>({ kind: "groups", by: [name], limit: 2000, scope: "all" });
  const playing = useSignal(false);
  const key = `${view.id}:slider`;
  const keys = (answer?.groups ?? []).map((g) => g.key[0]).filter((k) => k !== null && k !== undefined);
  keys.sort((a, b) => (typeof a === "number" ? a - Number(b) : String(a) < String(b) ? -1 : 1));
  const tree = (k: number): Tree => groupTree([column], [keys[k]]);
  const now = JSON.stringify(store.state.value.brushes[key] ?? null);
  const at = keys.findIndex((_, k) => JSON.stringify(tree(k)) === now);
  const go = (k: number) => store.brush(key, tree(k), key);
  useEffect(() => {
    if (!playing.value || !keys.length) return;
    const timer = setTimeout(() => go((at + 1) % keys.length), STEP_MS);
    return () => clearTimeout(timer);
  }, [playing.value, at, keys.length]);
  if (keys.length < 2) return null;
  return (
    <div class="sym-slider">
      <button type="button" class="sym-button" aria-label={playing.value ? "Stop" : `Play through ${name}`} onClick={() => (playing.value = !playing.value)}>
        <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true"><path d={playing.value ? "M2 1h3v10h-3zM7 1h3v10h-3z" : "M2.5 1l8 5-8 5z"} fill="currentColor" /></svg>
      </button>
      <label>
        <span>{name}</span>
        <input
          type="range" min={0} max={keys.length - 1} step={1} value={at < 0 ? 0 : at} aria-valuetext={at < 0 ? "all values" : cellText(keys[at], column)}
          onInput={(e) => {
            playing.value = false;
            go(Number(e.currentTarget.value));
          }}
        />
      </label>
      <output>{at < 0 ? "all" : cellText(keys[at], column)}</output>
      {at >= 0 && (
        <button type="button" class="sym-quiet" onClick={() => {
          playing.value = false;
          store.brush(key, null);
        }}>All values</button>
      )}
    </div>
  );
}
