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

/** A canvas whose pixel i has the color that `paint(i, bytes, 4 * i)` writes; what it leaves is transparent. */
function painted(width, height, paint) {
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) paint(i, image.data, 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

function put(bytes, at, [red, green, blue], alpha = 255) {
  bytes[at] = red;
  bytes[at + 1] = green;
  bytes[at + 2] = blue;
  bytes[at + 3] = alpha;
}

/** The class colors of a label map; hidden classes are transparent. */
export function maskLayer({ width, height, labels }, colors, hidden) {
  return painted(width, height, (i, bytes, at) => hidden.has(labels[i]) || put(bytes, at, colors[labels[i]] ?? [0, 0, 0]));
}

const table = (color) => Array.from({ length: 256 }, (_, i) => color(i / 255));

export function mapLayer({ width, height, values }, color) {
  const colors = table(color);
  return painted(width, height, (i, bytes, at) => put(bytes, at, colors[Math.round(255 * Math.min(1, Math.max(0, values[i] || 0)))]));
}

/** Measured values in false colors between two bounds; what was not measured (0) is transparent. */
export function rasterLayer({ width, height }, values, [low, high]) {
  const colors = table(turbo);
  const scale = 255 / Math.max(high - low, 1e-9);
  return painted(width, height, (i, bytes, at) =>
    values[i] && put(bytes, at, colors[Math.round(Math.min(255, Math.max(0, (values[i] - low) * scale)))]));
}

/** Where two label maps differ: a veil, with a light edge inside and a dark one around it. */
export function changesLayer({ width, height, labels }, other) {
  const changed = (x, y) => x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] !== other[y * width + x];
  const beside = (x, y, wanted) =>
    changed(x - 1, y) === wanted || changed(x + 1, y) === wanted || changed(x, y - 1) === wanted || changed(x, y + 1) === wanted;
  let count = 0;
  const canvas = painted(width, height, (i, bytes, at) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    if (!changed(x, y)) return beside(x, y, true) && put(bytes, at, [12, 14, 18]);
    count++;
    return beside(x, y, false) ? put(bytes, at, [255, 255, 255]) : put(bytes, at, [255, 255, 255], 70);
  });
  return { canvas, share: count / (width * height) };
}
