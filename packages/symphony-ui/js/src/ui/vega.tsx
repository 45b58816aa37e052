// A Vega-Lite chart, where the user brought the runtime: this page ships none and fetches none.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { RowsAnswer, ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { useAnswer, useStore } from "./context.tsx";
import { count } from "./format.ts";

const ROWS = 5000;

export function Vega({ view }: { view: ViewSpec }) {
  const store = useStore();
  const field = useRef<HTMLDivElement>(null);
  const runtime = useSignal<any>(null);
  const problem = useSignal<string | null>(null);
  const names = store.spec.columns.filter((c) => c.kind !== "media").map((c) => c.name);
  const answer = useAnswer<RowsAnswer>({ kind: "rows", view: view.id, columns: names, sort: [], offset: 0, limit: ROWS, scope: "context" });
  useEffect(() => {
    store.host.component("vega:runtime").then(
      (made) => {
        if (typeof made?.embed === "function") runtime.value = made;
        else problem.value = "The Vega runtime of this page has no function embed.";
      },
      () => (problem.value = "Vega is not in this page. Install symphony-ui[vega] and make the page again: its runtime is then put into the page, and nothing is fetched."),
    );
  }, [store]);
  useEffect(() => {
    if (!runtime.value || !answer || !field.current) return;
    const spec = structuredClone(view.options.spec ?? {});
    if (!spec.data || spec.data.name === "table") spec.data = { name: "table", values: answer.rows.map((row) => Object.fromEntries(row.map((v, k) => [names[k], v]))) };
    let view_: { finalize?(): void } | null = null;
    let gone = false;
    const element = document.createElement("div");
    field.current.replaceChildren(element);
    Promise.resolve(runtime.value.embed(element, spec)).then(
      (made) => {
        view_ = made;
        if (gone) made?.finalize?.();
      },
      (error: Error) => (problem.value = `Vega: ${error.message}`),
    );
    return () => {
      gone = true;
      view_?.finalize?.();
    };
  }, [runtime.value, answer]);
  return (
    <Card view={view} title="Vega" remark={answer && answer.total > ROWS ? `the first ${count(ROWS)} of ${count(answer.total)} rows` : ""}>
      {problem.value && <Message>{problem.value}</Message>}
      <div ref={field} class="sym-custom" />
    </Card>
  );
}
