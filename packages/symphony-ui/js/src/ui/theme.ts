// Colours: Okabe and Ito's for categories, viridis for amounts; those of the page follow its theme.

import { signal } from "@preact/signals";
import { interpolatePuOr, interpolateViridis } from "d3-scale-chromatic";
import type { RGB } from "../core/raster.ts";

/** Okabe and Ito's eight; the eighth is black, and so the page's own ink */
export const CATEGORIES = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "var(--sym-ink)"];
export const OTHER = "var(--sym-other)";

/** rises when the page's theme changes, so that canvases are drawn anew */
export const theme = signal(0);

export function watchTheme(): () => void {
  const bump = () => theme.value++;
  const media = ["(prefers-color-scheme: dark)", "(forced-colors: active)"].map((q) => matchMedia(q));
  for (const m of media) m.addEventListener("change", bump);
  const watch = new MutationObserver(bump);
  const attributes = { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-vscode-theme-kind", "data-theme", "style"] };
  for (const element of [document.documentElement, document.body]) watch.observe(element, attributes);
  return () => {
    for (const m of media) m.removeEventListener("change", bump);
    watch.disconnect();
  };
}

export function rgb(color: string): RGB {
  const hex = /^#([0-9a-f]{6})$/i.exec(color.trim());
  if (hex) {
    const v = parseInt(hex[1], 16);
    return [v >> 16, (v >> 8) & 255, v & 255];
  }
  const parts = color.match(/[\d.]+/g)?.map(Number) ?? [128, 128, 128];
  return [parts[0], parts[1], parts[2]];
}

/** What a CSS colour is in numbers within `element`, whatever its notation. */
export function pageColor(element: Element, color: string): RGB {
  const probe = document.createElement("span");
  probe.style.cssText = "forced-color-adjust:none";
  probe.style.color = color;
  element.append(probe);
  const computed = getComputedStyle(probe).color;
  probe.remove();
  return rgb(computed);
}

export const SEQUENTIAL: RGB[] = Array.from({ length: 256 }, (_, k) => rgb(interpolateViridis(0.02 + (0.93 * k) / 255)));
const diverging = Array.from({ length: 256 }, (_, k) => rgb(interpolatePuOr(1 - k / 255)));

/** A colour for a share in [0, 1] of a sequential or diverging scale. */
export function ramp(share: number, kind: "sequential" | "diverging" = "sequential"): RGB {
  const k = Math.max(0, Math.min(255, Math.round(share * 255)));
  return (kind === "diverging" ? diverging : SEQUENTIAL)[k];
}

export const css = ([r, g, b]: RGB): string => `rgb(${Math.round(r)} ${Math.round(g)} ${Math.round(b)})`;

/** Black or white, whichever reads better on a colour. */
export function ink([r, g, b]: RGB): string {
  const linear = (v: number) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  return light > 0.179 ? "#000" : "#fff";
}
