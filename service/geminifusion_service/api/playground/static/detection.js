// 3-D object detection: what is sent beside the image, and how the boxes of an answer are drawn. Loaded with a detector.

import { post, Problem } from "./api.js";
import { readRaster } from "./codecs.js";
import { state } from "./state.js";

// One hue a class, those of the pictures that the server draws.
const COLORS = [[0, 158, 115], [240, 228, 66], [86, 180, 233], [230, 159, 0], [204, 121, 167], [213, 94, 0], [0, 114, 178]];
const LONGER_SIDE = 800; // of the view from above
const LINE_EVERY_M = 10;
const NEAREST_M = 0.1; // edges are cut there: a box may reach behind the camera

const POINTS = { name: "points", unit: "points", accepts: /\.(bin|npy)$/i, open: openPoints, send: "the LiDAR’s sweep: KITTI’s .bin, or npy of P × 4 numbers" };
const CALIBRATION = { name: "calibration", unit: "text", accepts: /\.(txt|json)$/i, open: openCalibration, send: "KITTI’s text, or JSON with P2, R0_rect and Tr_velo_to_cam" };

const DETECTION = { verb: "detect", button: "Detect", lead: "What stands where?", lines: true, views: [{ value: "mask", title: "Boxes" }], saves: ["overlay", "json"], query: { format: "json" }, ask };

/** A detector as the page has its models: with all that it takes, and with its classes in their colors. */
export const detector = (model) => ({
  ...model, does: DETECTION, modalities: [...model.modalities, POINTS, CALIBRATION],
  classes: model.anchors.classes.map(({ name }, id) => ({ id, name, color: COLORS[id % COLORS.length] })),
});

async function openPoints(file) {
  const found = /\.npy$/i.test(file.name) ? await readRaster(file) : { values: new Float32Array(await file.slice(0, file.size - (file.size % 16)).arrayBuffer()), width: 4 };
  return { draw: drawAbove, above: () => ({ points: found ?? { values: [], width: 4 }, ...groundOf(state.model) }) };
}

/** The ground of a model's range as a picture: its size, and where a place in metres is in it. Forward is up, left is left. */
function groundOf({ grid }) {
  const ranges = [0, 1].map((axis) => grid.high[axis] - grid.low[axis]);
  const scale = LONGER_SIDE / Math.max(...ranges);
  const size = { width: Math.ceil(ranges[1] * scale), height: Math.ceil(ranges[0] * scale) };
  const place = (x, y) => [(grid.high[1] - y) * scale, (grid.high[0] - x) * scale];
  return { size, place, grid };
}

async function openCalibration(file) {
  return { text: await file.slice(0, 1 << 16).text() };
}

/** The twelve numbers of P2, or null. */
function projectionOf(text) {
  let numbers;
  try {
    numbers = JSON.parse(text).P2?.flat();
  } catch {
    numbers = /^P2:(.*)$/m.exec(text)?.[1].trim().split(/\s+/).map(Number);
  }
  return numbers?.length === 12 && numbers.every(Number.isFinite) ? numbers : null;
}

async function ask(parts, query, signal) {
  const { content, ms } = await post("detect", parts, query, signal);
  const found = JSON.parse(await content.text());
  if (found.model !== state.model.reference)
    throw new Problem(`The server has replaced this model by ${found.model}; reload the page, then detect again.`);
  const p2 = projectionOf(parts.find(({ part }) => part === "calibration").text);
  const boxes = found.boxes.map((box) => ({ ...box, edges: p2 ? edgesOf(box.camera, p2) : [] }));
  const classes = state.model.classes.map(({ id, name }) => {
    const metres = boxes.filter((box) => box.class_id === id).map((box) => Math.hypot(...box.camera.location)).sort((a, b) => a - b);
    return { id, name, count: metres.length, fraction: metres.length / Math.max(1, boxes.length), nearest_depth_m: metres[0], median_depth_m: metres[metres.length >> 1] };
  }).filter(({ count }) => count);
  return { parts, query, content, ms, document: { ...found, classes }, maps: {}, registered: null, labels: null, boxes, draw: drawBoxes, read: boxAt, ...found.size };
}

/** The edges of a box in pixels of the image, as far as they are before the camera. */
function edgesOf({ location: [x, y, z], dimensions: [height, width, length], rotation_y: turn }, p) {
  const [sin, cos] = [Math.sin(turn), Math.cos(turn)];
  const corners = [0, height].flatMap((up) => [[1, 1], [1, -1], [-1, -1], [-1, 1]].map(([front, side]) => {
    const [dx, dz] = [(front * length) / 2, (side * width) / 2];
    return [x + dx * cos + dz * sin, y - up, z - dx * sin + dz * cos];
  }));
  const pixel = (at) => {
    const [u, v, w] = [0, 4, 8].map((row) => p[row] * at[0] + p[row + 1] * at[1] + p[row + 2] * at[2] + p[row + 3]);
    return [u / w, v / w];
  };
  const cut = (from, to) => (from[2] >= NEAREST_M ? from : from.map((value, i) => value + ((to[i] - value) * (NEAREST_M - from[2])) / (to[2] - from[2])));
  return [0, 1, 2, 3].flatMap((i) => [[i, (i + 1) % 4], [i + 4, ((i + 1) % 4) + 4], [i, i + 4]])
    .map(([i, j]) => [corners[i], corners[j]]).filter(([from, to]) => Math.max(from[2], to[2]) > NEAREST_M)
    .map(([from, to]) => [pixel(cut(from, to)), pixel(cut(to, from))]);
}

const shownOf = (boxes) => boxes.filter((box) => !state.hidden.has(box.class_id)).reverse(); // the surest on top
const colorOf = (box) => `rgb(${COLORS[box.class_id % COLORS.length].join(" ")})`;
const unitOf = (context) => (window.devicePixelRatio || 1) / context.getTransform().a; // image pixels in one of the screen

function drawBoxes(context, { boxes }) {
  const unit = unitOf(context);
  context.font = `600 ${12 * unit}px system-ui, sans-serif`;
  for (const box of shownOf(boxes)) {
    context.lineWidth = 2 * unit;
    context.strokeStyle = colorOf(box);
    context.beginPath();
    for (const [from, to] of box.edges) { context.moveTo(...from); context.lineTo(...to); }
    if (!box.edges.length) { const [left, top, right, bottom] = box.image; context.rect(left, top, right - left, bottom - top); }
    context.stroke();
    const text = `${box.class} ${box.score.toFixed(2)}`;
    const [left, top] = [box.image[0], Math.max(box.image[1], 16 * unit)];
    context.fillStyle = "rgb(12 14 19 / 0.75)";
    context.fillRect(left, top - 16 * unit, context.measureText(text).width + 8 * unit, 16 * unit);
    context.fillStyle = colorOf(box);
    context.fillText(text, left + 4 * unit, top - 4 * unit);
  }
}

/** Points from above with a line every ten metres, and the boxes with a line to where they face. */
function drawAbove(context, { points: { values, width: stride }, size, place, grid }, boxes) {
  const unit = unitOf(context);
  context.lineWidth = unit;
  context.strokeStyle = "#3c3f4a";
  context.beginPath();
  for (let axis = 0; axis < 2; axis++) {
    for (let at = Math.ceil(grid.low[axis] / LINE_EVERY_M) * LINE_EVERY_M; at <= grid.high[axis]; at += LINE_EVERY_M) {
      const ends = [grid.low, grid.high].map((end) => (axis ? [end[0], at] : [at, end[1]]));
      context.moveTo(...place(...ends[0]));
      context.lineTo(...place(...ends[1]));
    }
  }
  context.stroke();
  context.fillStyle = "#b9bec9";
  const dot = 1.5 * unit;
  for (let i = 0; i < values.length; i += stride) {
    const [column, row] = place(values[i], values[i + 1]);
    if (column >= 0 && row >= 0 && column < size.width && row < size.height) context.fillRect(column, row, dot, dot);
  }
  context.lineWidth = 2 * unit;
  for (const { lidar: { center: [x, y], size: [length, width], yaw }, ...box } of shownOf(boxes)) {
    const [sin, cos] = [Math.sin(yaw), Math.cos(yaw)];
    const at = (front, side) => place(x + front * length * cos - side * width * sin, y + front * length * sin + side * width * cos);
    context.strokeStyle = colorOf(box);
    context.beginPath();
    for (const [front, side] of [[0.5, 0.5], [0.5, -0.5], [-0.5, -0.5], [-0.5, 0.5]]) context.lineTo(...at(front, side));
    context.closePath();
    context.moveTo(...at(0, 0));
    context.lineTo(...at(0.5, 0));
    context.stroke();
  }
}

/** The nearest box over a pixel, in the words of the readout; null where there is none. */
function boxAt({ boxes }, x, y) {
  const over = shownOf(boxes).filter(({ image: [left, top, right, bottom] }) => x >= left && x <= right && y >= top && y <= bottom);
  if (!over.length) return null;
  const metres = (box) => Math.hypot(...box.camera.location);
  const box = over.reduce((best, one) => (metres(one) < metres(best) ? one : best));
  return { name: box.class, color: COLORS[box.class_id % COLORS.length], confidence: `${(100 * box.score).toFixed(0)} %`, metres: `${metres(box).toFixed(1)} m` };
}
