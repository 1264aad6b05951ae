// From files to the inputs of a scene: which modality a file is, what the page can show of it, and whether its unit fits.

import { readRaster, withoutOrientation } from "./codecs.js";
import { rasterLayer } from "./layers.js";

const OTHER_NAMES = { rgb: ["color", "colour", "image", "img"], depth: ["disparity", "dpt"], thermal: ["ir", "infrared", "tir"] };
// Words of file names that say how depth was made, not of what.
const BESIDE = ["mm", "m", "sync", "raw", "aligned", "registered"];
const MARKER_SHARE = 0.05; // of the pixels, as the server's own warning has it
const MOST_SORTED = 1_000_000; // pixels that percentiles are taken from

export const isMetric = (spec) => spec.unit === "metre";
const isPicture = (spec) => spec.unit === "intensity";
const namesOf = (spec) => [spec.name, ...(OTHER_NAMES[spec.name] ?? [])];
const wordsOf = (file) => file.name.toLowerCase().replace(/\.[a-z0-9]+$/, "").split(/[^a-z0-9]+|(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)/);

/** Whether a file, by its first bytes, is a picture (true) or measures something (false); null if it may be either. */
async function looksLikePicture(file) {
  const head = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  const text = String.fromCharCode(...head);
  if (text.startsWith("\xff\xd8") || text.startsWith("RIFF")) return true;
  if (text.startsWith("\x93NUMPY") || text.startsWith("II*") || text.startsWith("MM\0*")) return false;
  if (!text.startsWith("\x89PNG")) return null;
  const [bits, color] = [head[24], head[25]];
  return color !== 0 ? true : bits === 16 ? false : null;
}

/** Files as scenes, each a Map of modality to file: those whose names differ only in the modality belong together. */
export async function scenesOf(files, specs) {
  const scenes = new Map();
  const unsure = [];
  const put = (stem, name, file) => {
    if (!scenes.has(stem)) scenes.set(stem, new Map());
    scenes.get(stem).set(name, file);
  };
  const drop = new Set([...specs.flatMap(namesOf), ...BESIDE]);
  for (const file of files) {
    const words = wordsOf(file);
    // A few files are one scene, whatever they are called.
    const stem = files.length <= specs.length ? "" : words.filter((word) => !drop.has(word)).join(" ");
    const named = specs.find((spec) => spec.accepts?.test(file.name)) ?? specs.find((spec) => namesOf(spec).some((name) => words.includes(name.toLowerCase())));
    const picture = named ? null : await looksLikePicture(file);
    const fits = named ?? (picture === null ? null : specs.find((spec) => isPicture(spec) === picture && !scenes.get(stem)?.has(spec.name)));
    if (fits) put(stem, fits.name, file);
    else unsure.push([stem, file]);
  }
  for (const [stem, file] of unsure) {
    const free = specs.find((spec) => !scenes.get(stem)?.has(spec.name));
    if (free) put(stem, free.name, file);
  }
  return [...scenes.values()];
}

/** One input: its file, and what can be shown of it. `part` is the name it is sent under. */
export async function openInput(spec, file) {
  const input = { spec, file, part: spec.name, scale: "", invalid: "", bitmap: null, raster: null };
  if (spec.open) return Object.assign(input, await spec.open(file));
  if (!isPicture(spec) || spec.encoding === "hha") input.raster = await readRaster(file);
  // A model that takes HHA computes it from depth as well.
  if (spec.encoding === "hha" && input.raster) input.part = "depth";
  if (!input.raster) {
    try {
      input.bitmap = await createImageBitmap(await withoutOrientation(file));
    } catch {
      // nothing the browser knows: the server says what it is
    }
  }
  return measure(input);
}

/** Values and picture of an input after its file, scale or markers changed. */
export function measure(input) {
  const { raster, bitmap } = input;
  input.size = raster ?? bitmap;
  input.layer = bitmap;
  if (!raster) return input;
  const markers = new Set(String(input.invalid).split(",").filter(Boolean).map(Number));
  const scale = isMetric(input.spec) || input.part === "depth" ? Number(input.scale) || (raster.float ? 1 : 0.001) : 1;
  const stored = raster.values;
  const top = raster.float ? NaN : raster.bits === 8 ? 255 : 65535;
  const values = new Float32Array(stored.length);
  let [measured, tops] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = stored[i];
    if (value === top) tops++;
    if (value > 0 && value < Infinity && !(markers.size && markers.has(value))) {
      values[i] = value * scale;
      measured++;
    }
  }
  const step = Math.ceil(values.length / MOST_SORTED);
  const sorted = (step > 1 ? values.filter((value, i) => i % step === 0 && value > 0) : values.filter((value) => value > 0)).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  Object.assign(input, {
    values, scaleUsed: scale, median: at(0.5), bounds: [at(0.02), at(0.98)],
    holes: 1 - measured / values.length, marked: markers.has(top) ? 0 : tops / values.length,
  });
  input.layer = rasterLayer(raster, values, input.bounds);
  return input;
}

const metres = (value) => `${value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(2)} m`;
export const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`);

/** Whether the unit of a distance fits, in words; `fix` are the settings that would mend it. */
export function unitCheck(input) {
  const { raster, median, holes, marked, scaleUsed } = input;
  if (!raster) return { ok: false, text: `This page cannot show ${input.file.name}; it is sent as it is, and the server checks it.` };
  if (input.part !== "depth" && !isMetric(input.spec)) return { ok: true, text: `Stored numbers from ${input.bounds.map(Math.round).join(" to ")}.` };
  if (raster.bits === 8 && !input.scale) return { ok: false, text: "8-bit depth says no unit: give the metres of one stored unit as its scale." };
  if (!median) return { ok: false, text: "No pixel was measured: every value is 0, negative, NaN or a marker." };
  if (marked > MARKER_SHARE) {
    const marker = raster.bits === 8 ? "255" : "65535";
    return { ok: false, text: `${marker} in ${percent(marked)} of the pixels: probably a marker for “not measured”.`, fix: { invalid: marker }, label: `Ignore ${marker}` };
  }
  const found = `Median ${metres(median)}, ${percent(holes)} holes: `;
  if (median > 100) {
    const scale = median * 0.001 > 100 ? null : String(Number((scaleUsed * 0.001).toPrecision(6)));
    return { ok: false, text: `${found}too far. This looks like millimetres read as metres.`, ...(scale && { fix: { scale }, label: `Scale by ${scale}` }) };
  }
  if (median < 0.05) {
    const scale = String(Number((scaleUsed * 1000).toPrecision(6)));
    return { ok: false, text: `${found}too near. This looks like metres sent as millimetres.`, fix: { scale }, label: `Scale by ${scale}` };
  }
  return { ok: true, text: `${found}plausible.` };
}
