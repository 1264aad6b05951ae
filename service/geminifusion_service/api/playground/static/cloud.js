// The points of a depth image in metres, and files of them.

const SIZE = 20; // bytes of a point in a PLY

// Where no intrinsics are known: the horizontal angle of view of the usual RGB-D camera.
export const ASSUMED_ANGLE = 60;

/** {fx, fy, cx, cy} of "fx,fy,cx,cy", or of an assumed camera; null for text that is neither. */
export function camera(text, width, height) {
  if (!text.trim()) {
    const focal = width / 2 / Math.tan((ASSUMED_ANGLE * Math.PI) / 360);
    return { fx: focal, fy: focal, cx: (width - 1) / 2, cy: (height - 1) / 2, assumed: true };
  }
  const [fx, fy, cx, cy, ...more] = text.split(",").map(Number);
  return [fx, fy, cx, cy].every(Number.isFinite) && fx > 0 && fy > 0 && !more.length ? { fx, fy, cx, cy } : null;
}

/**
 * Points in metres (x right, y down, z forward), with the pixel of the labels that each belongs to.
 * @param depth {width, height} and its values in metres, 0 where nothing was measured
 * @param size of the labels, which the depth may differ from
 * @param most points wanted; every second, third… row and column is left out until there are no more
 */
export function pointsOf(depth, values, { fx, fy, cx, cy }, size, most = Infinity) {
  const step = Math.max(1, Math.ceil(Math.sqrt(values.length / most)));
  const positions = new Float32Array(3 * Math.ceil(depth.width / step) * Math.ceil(depth.height / step));
  const labelPixel = new Uint32Array(positions.length / 3);
  let count = 0;
  for (let y = 0; y < depth.height; y += step) {
    const row = Math.floor((y * size.height) / depth.height) * size.width;
    for (let x = 0; x < depth.width; x += step) {
      const z = values[y * depth.width + x];
      if (!z) continue;
      positions[3 * count] = ((x - cx) / fx) * z;
      positions[3 * count + 1] = ((y - cy) / fy) * z;
      positions[3 * count + 2] = z;
      labelPixel[count++] = row + Math.floor((x * size.width) / depth.width);
    }
  }
  return { positions: positions.slice(0, 3 * count), labelPixel: labelPixel.slice(0, count), count, step, focal: fx / step };
}

/**
 * What a server made of depth that it registered: its file, the points in it, and the depth at the pixels of the labels.
 * @param content the PLY, whose records are those of `plyOf`
 * @param lens camera of the pixels
 * @param size of the labels
 */
export function registeredOf(content, lens, { width, height }) {
  const end = "end_header\n";
  const start = new TextDecoder("latin1").decode(content.slice(0, 1 << 16)).indexOf(end) + end.length;
  const data = new DataView(content, start);
  const count = data.byteLength / SIZE;
  const [positions, labelPixel, values] = [new Float32Array(3 * count), new Uint32Array(count), new Float32Array(width * height)];
  for (let k = 0; k < count; k++) {
    const [x, y, z] = [0, 4, 8].map((offset) => data.getFloat32(SIZE * k + offset, true));
    positions.set([x, y, z], 3 * k);
    labelPixel[k] = Math.round((y / z) * lens.fy + lens.cy) * width + Math.round((x / z) * lens.fx + lens.cx);
    values[labelPixel[k]] = z;
  }
  return { content, size: { width, height }, values, lens, points: { positions, labelPixel, count, step: 1, focal: lens.fx } };
}

/** Binary PLY with position, color, class and confidence of each point. */
export function plyOf({ positions, labelPixel, count }, colors, labels, confidence, comments) {
  const ascii = (text) => text.replace(/[^\x20-\x7e]/g, "?");
  const header = ["ply", "format binary_little_endian 1.0", ...comments.map((text) => `comment ${ascii(text)}`), `element vertex ${count}`,
    "property float x", "property float y", "property float z", "property uchar red", "property uchar green", "property uchar blue",
    "property uchar label", "property float confidence", "end_header", ""].join("\n");
  const body = new DataView(new ArrayBuffer(SIZE * count));
  for (let k = 0; k < count; k++) {
    for (let axis = 0; axis < 3; axis++) {
      body.setFloat32(SIZE * k + 4 * axis, positions[3 * k + axis], true);
      body.setUint8(SIZE * k + 12 + axis, colors[3 * k + axis]);
    }
    body.setUint8(SIZE * k + 15, labels[labelPixel[k]]);
    body.setFloat32(SIZE * k + 16, confidence(labelPixel[k]), true);
  }
  return new Blob([header, body.buffer], { type: "application/octet-stream" });
}
