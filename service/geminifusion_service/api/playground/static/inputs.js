// From files to the inputs of a scene: which modality a file is, what the page can show of it, and whether its unit fits.

import { readRaster, withoutOrientation } from "./codecs.js";
import { rasterLayer } from "./layers.js";

const OTHER_NAMES = { rgb: ["color", "colour", "image", "img"], depth: ["disparity", "dpt"], thermal: ["ir", "infrared", "tir"] };
const MARKER_SHARE = 0.05; // of the pixels, as the server's own warning has it

export const isMetric = (spec) => spec.unit === "metre";
const isPicture = (spec) => spec.unit === "intensity";

/** Names of the modality in a file's name, cut at everything that is no letter. */
function names(spec, file) {
  const words = stemWords(file);
  return [spec.name, ...(OTHER_NAMES[spec.name] ?? [])].filter((name) => words.includes(name.toLowerCase()));
}

const stemWords = (file) => file.name.toLowerCase().replace(/\.[a-z0-9]+$/, "").split(/[^a-z0-9]+|(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)/);

/** The modality of a file by its name, or else by its type: what is no picture measures. */
export function modalityOf(file, specs) {
  const named = specs.find((spec) => names(spec, file).length);
  if (named) return named;
  const measures = /\.(npy|tiff?|png)$/i.test(file.name);
  return (/\.(npy|tiff?)$/i.test(file.name) && specs.find((spec) => !isPicture(spec))) || (!measures && specs.find(isPicture)) || null;
}

/** Files as scenes, each a Map of modality to file: those whose names differ only in the modality belong together. */
export function scenesOf(files, specs) {
  const scenes = new Map();
  const unknown = [];
  for (const file of files) {
    const spec = modalityOf(file, specs);
    if (!spec) { unknown.push(file); continue; }
    const drop = new Set([spec.name, ...(OTHER_NAMES[spec.name] ?? []), "mm", "m"]);
    const stem = files.length <= specs.length ? "" : stemWords(file).filter((word) => !drop.has(word)).join(" ");
    if (!scenes.has(stem)) scenes.set(stem, new Map());
    scenes.get(stem).set(spec.name, file);
  }
  for (const file of unknown) {
    // PNGs hold pictures as well as depth: the first modality that is still missing.
    const free = [...scenes.values(), scenes.size ? null : new Map()].filter(Boolean)
      .flatMap((scene) => specs.filter((spec) => !scene.has(spec.name)).map((spec) => [scene, spec]))[0];
    if (!free) continue;
    free[0].set(free[1].name, file);
    if (!scenes.size) scenes.set("", free[0]);
  }
  return [...scenes.values()];
}

/** One input: its file, and what can be shown of it. `part` is the name it is sent under. */
export async function openInput(spec, file) {
  const input = { spec, file, part: spec.name, scale: "", invalid: "", bitmap: null, raster: null };
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
  const values = new Float32Array(raster.values.length);
  for (let i = 0; i < values.length; i++) {
    const value = raster.values[i];
    if (value > 0 && Number.isFinite(value) && !markers.has(value)) values[i] = value * scale;
  }
  const sorted = values.filter((value) => value > 0).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const top = raster.float ? 0 : raster.bits === 8 ? 255 : 65535;
  Object.assign(input, {
    values, scaleUsed: scale, median: at(0.5), bounds: [at(0.02), at(0.98)],
    holes: 1 - sorted.length / values.length,
    marked: top && !markers.has(top) ? raster.values.reduce((count, value) => count + (value === top), 0) / values.length : 0,
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
