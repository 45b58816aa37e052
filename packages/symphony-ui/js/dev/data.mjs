// Generated tables for the dev pages, the same at every run.
import { bool, columnFromArray, dictionary, float32, float64, int32, tableFromColumns, tableToIPC, timestamp, utf8, binary, TimeUnit } from "@uwdata/flechette";
import { deflateSync, crc32 as zlibCrc } from "node:zlib";

export function random(seed) {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const normal = (next) => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());

const TYPES = {
  float32, float64, int32, bool, text: utf8, time: () => timestamp(TimeUnit.MILLISECOND, "UTC"),
  category: () => dictionary(utf8(), int32()), // a type of its own for each column: it carries the dictionary's number
};

/** Arrow bytes and specs of columns given as {name: [type, values]}. */
export function pack(columns) {
  const made = {};
  const specs = [];
  for (const [name, [type, values, extra]] of Object.entries(columns)) {
    made[name] = columnFromArray(values, TYPES[type]());
    const kind = type === "text" || type === "category" || type === "bool" || type === "time" ? type : "number";
    const finite = kind === "number" || kind === "time" ? Array.from(values).filter((v) => v !== null && Number.isFinite(v)) : [];
    specs.push({
      name, kind, dtype: type, integer: type === "int32", zone: kind === "time" ? "UTC" : null, url: false,
      levels: kind === "category" || type === "int32" ? new Set(values).size : kind === "bool" ? 2 : null,
      extent: finite.length ? [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))] : null, media: null, ...extra,
    });
  }
  return { specs, bytes: tableToIPC(tableFromColumns(made), { format: "stream" }) };
}

function crc32(bytes) {
  if (zlibCrc) return zlibCrc(bytes);
  let c = ~0;
  for (const b of bytes) {
    c ^= b;
    for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (0xedb88320 & -(c & 1));
  }
  return ~c >>> 0;
}

/** A grey PNG of `side` x `side` values in 0..255. */
export function png(values, side) {
  const chunk = (type, body) => {
    const head = Buffer.concat([Buffer.from(type, "latin1"), body]);
    const out = Buffer.alloc(8 + head.length);
    out.writeUInt32BE(body.length, 0);
    head.copy(out, 4);
    out.writeUInt32BE(crc32(head) >>> 0, 4 + head.length);
    return out;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header[8] = 8;
  const lines = Buffer.alloc(side * (side + 1));
  for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) lines[y * (side + 1) + 1 + x] = values[y * side + x];
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", header), chunk("IDAT", deflateSync(lines)), chunk("IEND", Buffer.alloc(0))]);
}

const GLYPHS = ["0110100110011001100101100000", "0010011000100010001001110000", "0110100100010010010011110000", "1110000101100001000111100000", "0010011010101111001000100000", "1111100011100001100101100000", "0110100011101001100101100000", "1111000100100010010001000000", "0110100101101001100101100000", "0110100101110001000101100000"];

function digit(label, next) {
  const side = 16;
  const out = new Uint8Array(side * side);
  const [dx, dy, slant] = [next() * 2 - 1, next() * 2 - 1, next() * 0.5 - 0.25];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const gy = Math.floor((y - 1 + dy) / 2);
      const gx = Math.floor((x - 4 + dx + slant * (y - 8)) / 2);
      const lit = gx >= 0 && gx < 4 && gy >= 0 && gy < 7 && GLYPHS[label][gy * 4 + gx] === "1";
      out[y * side + x] = Math.max(0, Math.min(255, (lit ? 235 : 12) + 30 * (next() - 0.5)));
    }
  }
  return png(out, side);
}

const NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const view = (id, type, options = {}) => ({ id, type, options });

/** A page like an audit of images: every component, a few thousand rows at most. */
export function demo(rows) {
  const next = random(11);
  const label = [];
  const pred = [];
  const [score, age, x, y, familiarity, duplicate, split, flag, day, note, animal, animalPred, strength, loss, country] = Array.from({ length: 15 }, () => []);
  const images = [];
  const kinds = ["animal:cat", "animal:dog", "animal:horse", "vehicle:car", "vehicle:bus"];
  for (let i = 0; i < rows; i++) {
    const c = Math.floor(next() * 10);
    label.push(NAMES[c]);
    const right = next() < 0.9;
    pred.push(NAMES[right ? c : (c + 3 + Math.floor(next() * 3)) % 10]);
    score.push(next() < 0.03 ? null : Math.min(1, Math.max(0, (right ? 0.8 : 0.45) + 0.13 * normal(next))));
    age.push(Math.floor(20 + 50 * next() * next()));
    const angle = (c / 10) * 2 * Math.PI;
    x.push(6 * Math.cos(angle) + normal(next));
    y.push(6 * Math.sin(angle) + 0.8 * normal(next));
    familiarity.push(-3 + normal(next) - (next() < 0.02 ? 8 : 0));
    duplicate.push(i % 37 === 0 && i < 1200 ? Math.floor(i / 111) : -1);
    split.push(next() < 0.8 ? "train" : next() < 0.5 ? "test" : "validation");
    flag.push(next() < 0.02 ? null : next() < 0.3);
    day.push(Date.UTC(2024, 0, 1) + Math.floor(next() * 200) * 86400000);
    note.push(next() < 0.05 ? null : next() < 0.01 ? "</script><b>bold</b> & \"quoted\"" : `instance ${i}, drawn ${c % 2 ? "by hand" : "by machine"} and read as ${pred[i]}`);
    const k = Math.floor(next() * kinds.length);
    animal.push(kinds[k]);
    animalPred.push(kinds[next() < 0.75 ? k : next() < 0.7 ? Math.max(0, k - 1) : Math.floor(next() * kinds.length)]);
    strength.push([0, 0.25, 0.5, 0.75, 1][i % 5]);
    loss.push(Math.exp(-1.5 * strength[i]) * (split[i] === "train" ? 1 : 1.3) + 0.05 * Math.abs(normal(next)));
    country.push(["west", "middle", "east", null][Math.floor(next() * 4)]);
    images.push(digit(c, next));
  }
  const { specs, bytes } = pack({
    label: ["category", label], prediction: ["category", pred], score: ["float32", score], age: ["int32", age], split: ["category", split],
    flag: ["bool", flag], day: ["time", day], projection_x: ["float32", x], projection_y: ["float32", y], familiarity: ["float64", familiarity],
    duplicates: ["int32", duplicate], note: ["text", note], kind: ["category", animal], kind_predicted: ["category", animalPred],
    strength: ["float64", strength], loss: ["float64", loss], region: ["category", country],
  });
  specs.push({ name: "image", kind: "media", dtype: "media", integer: false, zone: null, url: false, levels: null, extent: null, media: { type: "image", size: 48 } });
  const media = tableToIPC(tableFromColumns({
    mime: columnFromArray(images.map(() => "image/png"), dictionary(utf8(), int32())), bytes: columnFromArray(images.map((b) => new Uint8Array(b)), binary()),
  }), { format: "stream" });
  const square = (name, a, b) => ({ type: "Feature", id: name, properties: { name }, geometry: { type: "Polygon", coordinates: [[[a, 40], [b, 41], [b - 1, 52], [(a + b) / 2, 50], [a + 1, 51], [a, 40]]] } });
  const layout = [
    { tab: "Data", rows: [[view("summary-1", "summary", { columns: ["label", "score", "age", "split", "flag", "day", "familiarity", "loss"], width: 1.25 }), view("scatter-1", "scatter", { x: "projection_x", y: "projection_y", color: "label" })], [view("instances-1", "instances", { media: "image", caption: ["label", "prediction"] })], [view("table-1", "table", { columns: ["image", "label", "prediction", "score", "age", "split", "flag", "day", "note"] })]] },
    { tab: "Quality", rows: [[view("duplicates-1", "duplicates", { column: "duplicates", caption: ["label"] }), view("familiarity-1", "familiarity", { column: "familiarity", by: "split", caption: ["label"] })], [view("annotate-1", "annotate", { labels: ["good", "blurred", "wrong label"], caption: ["label"] })]] },
    { tab: "Model", rows: [[view("confusion-1", "confusion", { label: "label", prediction: "prediction" }), view("confusion-2", "confusion", { label: "kind", prediction: "kind_predicted", sep: ":" })], [view("subgroups-1", "subgroups", { label: "label", prediction: "prediction", by: ["split", "flag"], metric: "accuracy" }), view("heatmap-1", "heatmap", { x: "split", y: "label", value: "score" })]] },
    { tab: "Results", rows: [[view("lines-1", "lines", { x: "strength", y: "loss", by: ["split"] }), view("markdown-1", "markdown", { text: "# What this shows\n\nThe **loss** falls with *strength*; see [the notes](https://example.org/notes).\n\n- one\n- two with `code`\n\n```\nx = 1 < 2\n```\n\n> quoted <b>not bold</b>" })], [view("compare-1", "compare", { columns: ["image", "label", "prediction"], caption: ["score"], slider: "strength" }), view("map-1", "choropleth", { column: "region", key: "name", geojson: { type: "FeatureCollection", features: [square("west", -8, 4), square("middle", 4, 16), square("east", 16, 30)] } })], [view("vega-1", "vega", { spec: { mark: "point" } }), view("violin-1", "violin", { column: "score" })]] },
  ];
  const violin = "export default { render({ ctx, el, signal }) { const show = () => { el.textContent = `${ctx.visible().count} rows of ${ctx.rows}`; }; show(); ctx.subscribe(['visible'], show); } };\n";
  const spec = {
    v: 1, title: "Digits audit", id: null, rows, host: "saved", engine: "browser", columns: specs, layout,
    state: { v: 1, filter: null, brushes: {}, group_by: [], selection: { rows: "" }, sort: [], tab: null, views: {}, show_unfiltered: false },
    annotations: { row: [], label: [], note: [] }, custom: { violin: { esm: violin } }, notes: [],
  };
  return { spec, blocks: { data: bytes, "media:image": media }, modules: { violin } };
}

/** Six numbers and four categories, for timing. */
export function wide(rows) {
  const next = random(5);
  const columns = {};
  const columnOf = (make) => Array.from({ length: rows }, make);
  const centre = columnOf(() => Math.floor(next() * 6));
  columns.x = ["float32", Float32Array.from(centre, (c) => 4 * Math.cos(c) + normal(next))];
  columns.y = ["float32", Float32Array.from(centre, (c) => 4 * Math.sin(1.7 * c) + normal(next))];
  columns.a = ["float32", Float32Array.from(centre, () => next())];
  columns.b = ["float32", Float32Array.from(centre, () => normal(next))];
  columns.c = ["float32", Float32Array.from(centre, (k) => k + normal(next))];
  columns.d = ["float32", Float32Array.from(centre, () => next() ** 3)];
  columns.group = ["category", centre.map((c) => `group ${c}`)];
  columns.split = ["category", columnOf(() => (next() < 0.8 ? "train" : "test"))];
  columns.level = ["category", columnOf(() => "abcdefghij"[Math.floor(next() * 10)])];
  columns.odd = ["category", columnOf(() => (next() < 0.5 ? "yes" : "no"))];
  const { specs, bytes } = pack(columns);
  const layout = [{ tab: "All", rows: [[view("summary-1", "summary", { bins: 50 }), view("scatter-1", "scatter", { x: "x", y: "y", color: "group" })], [view("table-1", "table")]] }];
  const spec = {
    v: 1, title: `${rows.toLocaleString("en")} rows`, id: null, rows, host: "saved", engine: "browser", columns: specs, layout,
    state: { v: 1, filter: null, brushes: {}, group_by: [], selection: { rows: "" }, sort: [], tab: null, views: {}, show_unfiltered: false }, notes: [],
  };
  return { spec, blocks: { data: bytes } };
}

/** A page of the other media and options: sound, long text, addresses, log axes, series by two columns, a stub of Vega. */
export function kinds(rows) {
  const next = random(21);
  const [url, batch, time, method, seed, gain, step, text] = Array.from({ length: 8 }, () => []);
  for (let i = 0; i < rows; i++) {
    url.push(i % 7 ? `https://example.org/item/${i}` : i % 2 ? "javascript:alert(1)" : null);
    batch.push(2 ** (i % 8));
    method.push(["ours", "peer", "other"][Math.floor(i / 8) % 3]);
    seed.push(Math.floor(i / 24) % 4);
    time.push(batch[i] ** (method[i] === "ours" ? 0.6 : 1) * (1 + 0.2 * next()) * (method[i] === "other" ? 4 : 1));
    gain.push(normal(next) + (method[i] === "ours" ? 0.8 : -0.3));
    step.push(Date.UTC(2024, 0, 1 + (i % 60)));
    text.push(`Answer ${i}: ${"some words of a longer answer, ".repeat(1 + Math.floor(next() * 9))}<i>not slanted</i>`);
  }
  const { specs, bytes } = pack({ url: ["text", url], batch: ["int32", batch], method: ["category", method], seed: ["int32", seed], seconds: ["float64", time], gain: ["float64", gain], day: ["time", step] });
  specs[0].url = true;
  const medium = (name, type, size) => ({ name, kind: "media", dtype: "media", integer: false, zone: null, url: false, levels: null, extent: null, media: { type, size } });
  specs.push(medium("sound", "audio"), medium("answer", "text"));
  const wav = (pitch) => {
    const n = 800;
    const out = Buffer.alloc(44 + n, 128);
    out.write("RIFF", 0); out.writeUInt32LE(36 + n, 4); out.write("WAVEfmt ", 8); out.writeUInt32LE(16, 16); out.writeUInt16LE(1, 20); out.writeUInt16LE(1, 22);
    out.writeUInt32LE(8000, 24); out.writeUInt32LE(8000, 28); out.writeUInt16LE(1, 32); out.writeUInt16LE(8, 34); out.write("data", 36); out.writeUInt32LE(n, 40);
    for (let k = 0; k < n; k++) out[44 + k] = 128 + 60 * Math.sin(k * pitch);
    return new Uint8Array(out);
  };
  const block = (mime, all) => tableToIPC(tableFromColumns({
    mime: columnFromArray(all.map((b) => (b ? mime : null)), dictionary(utf8(), int32())), bytes: columnFromArray(all, binary()),
  }), { format: "stream" });
  const range = Array.from({ length: rows }, (_, i) => i);
  const embed = "export default { embed: async (el, spec) => { el.textContent = `${spec.data.values.length} rows for ${spec.mark}`; return { finalize() {} }; } };\n";
  const layout = [{ tab: "Kinds", rows: [
    [view("lines-1", "lines", { x: "batch", y: "seconds", by: ["method"], log_x: true, log_y: true }), view("lines-2", "lines", { x: "batch", y: ["seconds", "gain"], by: ["method", "seed"], band: "std" }), view("lines-3", "lines", { x: "method", y: "gain", slider: "seed" })],
    [view("heatmap-1", "heatmap", { x: "method", y: "batch", value: "gain", center: 0 }), view("heatmap-2", "heatmap", { x: "seconds", y: "gain", bins: 10 }), view("scatter-1", "scatter", { x: "day", y: "gain", color: "seconds" })],
    [view("instances-1", "instances", { media: "sound", caption: ["method"] }), view("instances-2", "instances", { media: "answer", caption: ["method", "seed"] })],
    [view("compare-1", "compare", { columns: ["answer", "sound"], caption: ["method"] }), view("table-1", "table", { columns: ["url", "batch", "method", "seconds", "gain"] }), view("vega-1", "vega", { spec: { mark: "bar" } })],
    [view("subgroups-1", "subgroups", { label: "method", prediction: "method", metric: "f1", by: ["seed"] }), view("table-2", "table", { columns: ["nowhere"] }), view("table-3", "nothing")],
  ] }];
  const spec = {
    v: 1, title: "Kinds <b>and</b> options", id: null, rows, host: "saved", engine: "browser", columns: specs, layout,
    state: { v: 1, filter: null, brushes: {}, group_by: [], selection: { rows: "" }, sort: [], tab: null, views: {}, show_unfiltered: false },
    custom: { "vega:runtime": { esm: embed } }, notes: ["The column nested was left out.", "Two ids occur twice."],
  };
  const blocks = { data: bytes, "media:sound": block("audio/wav", range.map((i) => (i % 5 ? wav(0.05 + 0.01 * (i % 9)) : null))), "media:answer": block("text/plain", text.map((t) => new TextEncoder().encode(t))) };
  return { spec, blocks, modules: { "vega:runtime": embed } };
}
