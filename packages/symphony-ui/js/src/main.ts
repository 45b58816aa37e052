// One module for every host: anywidget calls render, a page with the element symphony-page starts by itself.

import { startLive } from "./hosts/live.ts";
import { SPEC_ID, startSaved } from "./hosts/saved.ts";
import { render } from "./hosts/widget.ts";

async function start(page: HTMLElement): Promise<void> {
  try {
    await (document.getElementById(SPEC_ID) ? startSaved(page) : startLive(page));
    requestAnimationFrame(() => requestAnimationFrame(() => (page.dataset.ready = "true")));
  } catch (error) {
    page.classList.add("symphony");
    const text = document.createElement("p");
    text.className = "sym-notice";
    text.setAttribute("role", "alert");
    text.textContent = `This page could not be shown: ${(error as Error).message}`;
    page.replaceChildren(text);
    throw error;
  }
}

const page = typeof document === "undefined" ? null : document.getElementById("symphony-page");
if (page) void start(page);

export default { render };
