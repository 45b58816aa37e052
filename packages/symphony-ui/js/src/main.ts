// One module for every host: anywidget calls render, a page with the element symphony-page starts by itself.

import { BOOK_ID, startBook } from "./hosts/book.ts";
import { startLive } from "./hosts/live.ts";
import { SPEC_ID, startSaved } from "./hosts/saved.ts";
import { render } from "./hosts/widget.ts";
import { showFailure } from "./ui/shell.tsx";

async function start(page: HTMLElement): Promise<void> {
  try {
    const book = document.getElementById(BOOK_ID);
    await (book ? startBook(page, book) : document.getElementById(SPEC_ID) ? startSaved(page) : startLive(page));
    requestAnimationFrame(() => requestAnimationFrame(() => (page.dataset.ready = "true")));
  } catch (error) {
    showFailure(page, error as Error);
    throw error;
  }
}

const page = typeof document === "undefined" ? null : document.getElementById("symphony-page");
if (page) void start(page);

export default { render };
