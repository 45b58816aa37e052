// The state in the page's address, so that a link opens the page as it was.

import { effect } from "@preact/signals";
import { fitState, fromFragment, toFragment } from "../core/state.ts";
import type { Store } from "../core/store.ts";
import type { State } from "../core/types.ts";

/** The state that the address holds, or null; a bad one is told in `problem`. */
export async function addressState(): Promise<{ state: State | null; problem: string | null }> {
  try {
    return { state: await fromFragment(location.hash), problem: null };
  } catch (error) {
    return { state: null, problem: `the address holds no state that this page can read: ${(error as Error).message}` };
  }
}

/** Writes each state into the address and follows the address when it is changed by hand. */
export function followAddress(store: Store): () => void {
  let own = location.hash;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const first = store.state.peek();
  const stop = effect(() => {
    const state = store.state.value;
    clearTimeout(timer);
    if (state === first) return;
    timer = setTimeout(async () => {
      const { text, dropped } = await toFragment(state);
      if (state !== store.state.peek()) return;
      own = text ? `#${text}` : "";
      try {
        history.replaceState(history.state, "", own || location.pathname + location.search);
      } catch {
        return; // a sandboxed frame has no address of its own
      }
      store.notify("address", dropped ? "The selection is too large for the address: a link to this page leaves it out." : null);
    }, 300);
  });
  const onHash = async () => {
    if (location.hash === own) return;
    own = location.hash;
    const { state, problem } = await addressState();
    store.notify("address", problem);
    if (state) store.set(fitState(state, store.spec));
  };
  addEventListener("hashchange", onHash);
  return () => {
    stop();
    clearTimeout(timer);
    removeEventListener("hashchange", onHash);
  };
}
