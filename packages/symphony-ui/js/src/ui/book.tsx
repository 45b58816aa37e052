// The tabs of a book, and the pages under them.

import { signal, type Signal } from "@preact/signals";
import { render as mount } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Tabs } from "./shell.tsx";
import { watchTheme } from "./theme.ts";

export interface BookSpec {
  v: number;
  title: string;
  /** the pages of a tab by their numbers */
  tabs: { tab: string; pages: number[] }[];
}

type Open = (holder: HTMLElement, page: number) => unknown;

const uid = (id: string): string => `sym-book-${id}`;
const address = (name: string): string => `#tab=${encodeURIComponent(name)}`;

/** Shows the tabs, and the pages of the one that is seen; each holder is marked when its page is there. */
export function showBook(element: Element, book: BookSpec, open: Open): void {
  const names = book.tabs.map((t) => t.tab);
  const addressed = () => names.find((name) => location.hash === address(name)) ?? names[0];
  const now = signal(addressed());
  const seen = new Set<string>();
  element.classList.add("symphony");
  watchTheme();
  addEventListener("hashchange", () => (now.value = addressed()));
  mount(<Book book={book} names={names} now={now} seen={seen} open={open} />, element);
}

interface BookProps {
  book: BookSpec;
  names: string[];
  now: Signal<string>;
  /** tabs whose pages stay, hidden while another is shown */
  seen: Set<string>;
  open: Open;
}

function Book({ book, names, now, seen, open }: BookProps) {
  const name = now.value;
  seen.add(name);
  const go = (next: string) => (location.hash = address((now.value = next)));
  return (
    <div>
      <div class="sym-title sym-book"><h1>{book.title}</h1><Tabs names={names} now={name} go={go} uid={uid} /></div>
      {book.tabs.map(({ tab, pages }, k) => seen.has(tab) && (
        <div key={tab} role="tabpanel" id={uid(`panel-${k}`)} aria-labelledby={uid(`tab-${k}`)} hidden={tab !== name}>
          {pages.map((page) => <Holder key={page} page={page} open={open} />)}
        </div>
      ))}
    </div>
  );
}

function Holder({ page, open }: { page: number; open: Open }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    open(ref.current!, page);
  }, []);
  return <div ref={ref} data-page={page} />;
}
