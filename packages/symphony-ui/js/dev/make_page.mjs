// Makes saved pages out of generated data, as PROTOCOL.md says, for looking at and for timing:
//   node dev/make_page.mjs OUT.html [--rows 1797] [--wide | --kinds]
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { demo, kinds, wide } from "./data.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const built = `${here}../../src/symphony_ui/static/`;
const hash = (text) => `'sha256-${createHash("sha256").update(text, "utf8").digest("base64")}'`;
const json = (value) => JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** The text of a saved page. */
export function savedPage({ spec, blocks, modules = {} }) {
  const script = readFileSync(`${built}symphony.js`, "utf8");
  const style = readFileSync(`${built}symphony.css`, "utf8");
  const customs = Object.entries(modules).map(([name, source]) =>
    source.replace(/export default/, `(globalThis.symphonyComponents ??= {})[${JSON.stringify(name)}] =`));
  const scripts = [...customs, script];
  const policy = `default-src 'none'; script-src ${scripts.map(hash).join(" ")}; style-src ${hash(style)} 'unsafe-inline'; img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'`;
  const parts = [
    `<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="${policy.replace(" 'unsafe-inline'", "")}">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n<title></title>\n<style>${style}</style>\n</head>\n<body>\n<div id="symphony-page" class="symphony"></div>\n`,
    `<script type="application/json" id="symphony-spec">${json(spec)}</script>\n`,
    ...Object.entries(blocks).map(([name, bytes]) => `<script type="application/vnd.apache.arrow.stream" id="block:${name}" data-encoding="base64">${Buffer.from(bytes).toString("base64")}</script>\n`),
    ...scripts.map((text) => `<script type="module">${text}</script>\n`),
    "</body>\n</html>\n",
  ];
  return parts.join("");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [out, ...rest] = process.argv.slice(2);
  const at = rest.indexOf("--rows");
  const rows = at >= 0 ? Number(rest[at + 1]) : 1797;
  writeFileSync(out, savedPage((rest.includes("--wide") ? wide : rest.includes("--kinds") ? kinds : demo)(rows)));
}
