// A book: pages behind tabs in one document, each with a table and a state of its own.

import { Store } from "../core/store.ts";
import { showBook, type BookSpec } from "../ui/book.tsx";
import { show, showFailure } from "../ui/shell.tsx";
import { savedPage } from "./saved.ts";

export const BOOK_ID = "symphony-book";

async function open(holder: HTMLElement, number: number): Promise<void> {
  try {
    const [spec, engine, host] = await savedPage(`${number}:`);
    show(holder, new Store(spec, engine, host));
    requestAnimationFrame(() => (holder.dataset.ready = "true"));
  } catch (error) {
    showFailure(holder, error as Error);
  }
}

/** Shows a book; its pages are opened when their tab is first seen. */
export const startBook = (element: Element, book: Element): void => showBook(element, JSON.parse(book.textContent!) as BookSpec, open);
