// Pictures of label maps, of maps between 0 and 1, and of distances, drawn on canvases of their own size.

// Polynomials of the Turbo and the Magma color maps, highest power last; t is 0 to 1.
const TURBO = [
  [0.1357, 4.6154, -42.6603, 132.1311, -152.9424, 59.2864],
  [0.0914, 2.1942, 4.843, -14.185, 4.2773, 2.8296],
  [0.1067, 12.6419, -60.582, 110.3628, -89.9031, 27.3482],
];
const MAGMA = [
  [-0.0021, 0.2516, 8.3537, -27.6687, 52.1761, -50.7685, 18.6557],
  [-0.0007, 0.6775, -3.5777, 14.2647, -27.9436, 29.0466, -11.4898],
  [-0.0054, 2.4940, 0.3144, -13.6492, 12.9442, 4.2341, -5.6020],
];
const polynomial = (factors, t) => factors.reduceRight((sum, factor) => sum * t + factor, 0);
const byPolynomials = (channels) => (t) => channels.map((factors) => 255 * Math.min(1, Math.max(0, polynomial(factors, t))));

const turbo = byPolynomials(TURBO);
const magma = byPolynomials(MAGMA);
/** From rgb alone (blue) over both alike (pale) to the other modalities (orange). */
export const gateColor = (t) => {
  const [from, to, k] = t < 0.5 ? [[38, 96, 190], [240, 238, 232], 2 * t] : [[240, 238, 232], [214, 96, 20], 2 * t - 1];
  return from.map((value, i) => value + (to[i] - value) * k);
};

export const MAPS = {
  confidence: { title: "Confidence", color: magma, low: "unsure", high: "sure" },
  gate: { title: "Gate", color: gateColor, low: "looks at RGB", high: "looks at the others" },
  disagreement: { title: "Disagreement", color: magma, low: "same without them", high: "depends on them" },
};

function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

// Pixels are written as one number, the bytes of red, green, blue and alpha from the lowest on: images have millions.
const packed = ([red, green, blue], alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
const CLEAR = 0;

/** A canvas whose pixel i is `pixel(i)`. */
function painted(width, height, pixel) {
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = pixel(i);
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The class colors of a label map; hidden classes are transparent. */
export function maskLayer({ width, height, labels }, colors, hidden) {
  const table = Uint32Array.from({ length: 256 }, (_, id) => (hidden.has(id) ? CLEAR : packed(colors[id] ?? [0, 0, 0])));
  return painted(width, height, (i) => table[labels[i]]);
}

const tableOf = (color) => Uint32Array.from({ length: 256 }, (_, i) => packed(color(i / 255)));
const level = (value) => (value > 0 ? Math.min(255, Math.round(value)) : 0);

export function mapLayer({ width, height, values }, color) {
  const table = tableOf(color);
  return painted(width, height, (i) => table[level(255 * values[i])]);
}

/** Measured values in false colors between two bounds; what was not measured (0) is transparent. */
export function rasterLayer({ width, height }, values, [low, high]) {
  const table = tableOf(turbo);
  const scale = 255 / Math.max(high - low, 1e-9);
  return painted(width, height, (i) => (values[i] ? table[level((values[i] - low) * scale)] : CLEAR));
}

/** Where two label maps differ: a veil, with a light edge inside and a dark one around it. */
export function changesLayer({ width, height, labels }, other) {
  const changed = new Uint8Array(labels.length);
  let count = 0;
  for (let i = 0; i < labels.length; i++) if (labels[i] !== other[i]) count += changed[i] = 1;
  const [light, dark, veil] = [packed([255, 255, 255]), packed([12, 14, 18]), packed([255, 255, 255], 70)];
  const canvas = painted(width, height, (i) => {
    const x = i % width;
    const left = x > 0 ? changed[i - 1] : changed[i];
    const right = x < width - 1 ? changed[i + 1] : changed[i];
    const above = i >= width ? changed[i - width] : changed[i];
    const below = i + width < changed.length ? changed[i + width] : changed[i];
    if (changed[i]) return left & right & above & below ? veil : light;
    return left | right | above | below ? dark : CLEAR;
  });
  return { canvas, share: count / labels.length };
}
