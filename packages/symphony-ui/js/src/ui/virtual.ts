// Long lists: only what is in sight is in the document. Browsers cap an element's height, so very long
// lists scroll through a shorter element.

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";

const TALLEST = 8_000_000;

export interface Window {
  first: number;
  last: number;
  /** offset of the first row within the spacer, px */
  top: number;
  /** height of the spacer, px */
  tall: number;
  ref: { current: HTMLDivElement | null };
  onScroll(): void;
  /** Brings a row into sight. */
  reveal(row: number): void;
}

export function useWindow(total: number, rowHeight: number, height: number): Window {
  const ref = useRef<HTMLDivElement>(null);
  const scroll = useSignal(0);
  const real = total * rowHeight;
  const tall = Math.min(real, TALLEST);
  const room = Math.max(1, tall - height);
  const scale = tall < real ? (real - height) / room : 1;
  const at = Math.max(0, Math.min(scroll.value, room)) * scale;
  const first = Math.max(0, Math.floor(at / rowHeight) - 4);
  const last = Math.min(total, Math.ceil((at + height) / rowHeight) + 4);
  const top = scale === 1 ? first * rowHeight : Math.max(0, scroll.value - (at - first * rowHeight));
  useLayoutEffect(() => {
    const element = ref.current;
    if (element && element.scrollTop !== scroll.peek()) scroll.value = element.scrollTop;
  }, [total, rowHeight]);
  return {
    first, last, top, tall, ref,
    onScroll: () => {
      if (ref.current) scroll.value = ref.current.scrollTop;
    },
    reveal: (row) => {
      const element = ref.current;
      if (!element) return;
      const y = row * rowHeight;
      if (y < at) element.scrollTop = y / scale;
      else if (y + rowHeight > at + height) element.scrollTop = (y + rowHeight - height) / scale;
    },
  };
}
