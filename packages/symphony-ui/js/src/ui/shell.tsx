// The page: title, toolbar, tabs, and rows of components.

import { Component, render as mount, type ComponentChildren } from "preact";

import type { Store } from "../core/store.ts";
import type { ViewSpec } from "../core/types.ts";
import { Card, Message } from "./card.tsx";
import { StoreContext, useStore } from "./context.tsx";
import { Custom } from "./custom.tsx";
import { COMPONENTS } from "./registry.ts";
import { watchTheme } from "./theme.ts";
import { Toolbar } from "./toolbar.tsx";

/** Shows the page in `element`; the answer takes it away again. */
export function show(element: Element, store: Store): () => void {
  element.classList.add("symphony");
  const unwatch = watchTheme();
  mount(<StoreContext.Provider value={store}><Page /></StoreContext.Provider>, element);
  return () => {
    mount(null, element);
    unwatch();
  };
}

/** Says why there is no page. */
export function showFailure(element: Element, error: Error): void {
  element.classList.add("symphony");
  mount(<p class="sym-notice" role="alert">This page could not be shown: {error.message}</p>, element);
}

/** Control+Z undoes, with Shift it does again; in a text field it is the field's own. */
export function undoKey(store: Store, event: KeyboardEvent): void {
  const typing = (event.target as Element).closest?.("input[type=text], textarea, select");
  if (typing || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
  if (event.shiftKey) store.redo();
  else store.undo();
  event.preventDefault();
  event.stopPropagation();
}

function Page() {
  const store = useStore();
  const { layout, title, toolbar } = store.spec;
  const tab = layout.find((t) => t.tab === store.state.value.tab) ?? layout[0];
  const full = toolbar !== false;
  return (
    <div class="sym-page" onKeyDown={(event) => undoKey(store, event)}>
      {full && <div class="sym-title"><h1>{title}</h1>{layout.length > 1 && <Tabs names={layout.map((t) => t.tab)} now={tab.tab} go={(name) => store.set({ tab: name })} uid={store.uid.bind(store)} />}</div>}
      {full && <Toolbar />}
      <Notices />
      {tab && (
        <div class="sym-tab" role={full && layout.length > 1 ? "tabpanel" : undefined} id={store.uid(`panel-${layout.indexOf(tab)}`)} aria-labelledby={full && layout.length > 1 ? store.uid(`tab-${layout.indexOf(tab)}`) : undefined}>
          {tab.rows.map((row, k) => (
            <div class="sym-line" key={`${tab.tab} ${k}`} style={{ "--sym-columns": row.map((view) => `minmax(0, ${view.options.width ?? 1}fr)`).join(" ") }}>
              {row.map((view) => <Guard key={view.id} view={view}><View view={view} /></Guard>)}
            </div>
          ))}
        </div>
      )}
    </div>
  );
}

interface TabsProps {
  names: string[];
  now: string;
  go(name: string): unknown;
  uid(id: string): string;
}

export function Tabs({ names, now, go, uid }: TabsProps) {
  const onKeyDown = (event: KeyboardEvent) => {
    const n = names.length;
    const steps: Record<string, number> = { ArrowRight: names.indexOf(now) + 1, ArrowLeft: names.indexOf(now) - 1 + n, Home: 0, End: n - 1 };
    const next = steps[event.key];
    if (next === undefined) return;
    go(names[next % n]);
    ((event.currentTarget as HTMLElement).children[next % n] as HTMLElement).focus();
    event.preventDefault();
  };
  return (
    <div class="sym-tabs" role="tablist" aria-label="Pages" onKeyDown={onKeyDown}>
      {names.map((name, k) => (
        <button
          type="button" role="tab" key={name} id={uid(`tab-${k}`)} aria-selected={name === now} aria-controls={name === now ? uid(`panel-${k}`) : undefined} tabindex={name === now ? 0 : -1}
          onClick={() => go(name)}
        >
          {name}
        </button>
      ))}
    </div>
  );
}

function Notices() {
  const store = useStore();
  const all = { ...store.notices.value, ...(store.engine.problem.value ? { engine: store.engine.problem.value } : {}) };
  const notes = store.spec.notes ?? [];
  const full = store.spec.toolbar !== false;
  return (
    <>
      {Object.entries(all).map(([topic, text]) => (
        <p class="sym-notice" role="status" key={topic}>
          {text}
          {topic !== "engine" && topic !== "connection" && <button type="button" class="sym-quiet" aria-label="Dismiss" onClick={() => store.notify(topic, null)}>×</button>}
        </p>
      ))}
      {full && notes.length > 0 && (
        <details class="sym-notes">
          <summary>{notes.length === 1 ? "A note" : `${notes.length} notes`} on the data</summary>
          <ul>{notes.map((note) => <li>{note}</li>)}</ul>
        </details>
      )}
    </>
  );
}

/** options that name a column, or several */
const COLUMN_OPTIONS = ["x", "y", "by", "lo", "hi", "value", "column", "columns", "label", "prediction", "color", "media", "caption", "slider", "similarity"];

function View({ view }: { view: ViewSpec }) {
  const store = useStore();
  const known = Object.hasOwn(COMPONENTS, view.type) ? COMPONENTS[view.type] : null;
  if (known) {
    const gone = COLUMN_OPTIONS.flatMap((key) => view.options[key] ?? []).find((name) => !store.column(name));
    if (gone !== undefined) return <Card view={view} title={view.type}><Message>There is no column “{gone}”.</Message></Card>;
    const Known = known;
    return <Known view={view} />;
  }
  if (Object.hasOwn(store.spec.custom ?? {}, view.type)) return <Custom view={view} />;
  return <Card view={view} title={view.type}><Message>This page does not know the component “{view.type}”.</Message></Card>;
}

/** A component that fails says so, and the others go on. */
class Guard extends Component<{ view: ViewSpec; children: ComponentChildren }, { error: Error | null }> {
  state = { error: null as Error | null };
  static getDerivedStateFromError(error: Error) {
    return { error };
  }
  render() {
    const { view, children } = this.props;
    if (!this.state.error) return children;
    return <Card view={view} title={view.type}><Message>{this.state.error.message}</Message></Card>;
  }
}

