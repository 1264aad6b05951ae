// The points of a depth image in metres, and files of them.

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
 */
export function pointsOf(depth, values, { fx, fy, cx, cy }, size) {
  const pixels = [];
  for (let i = 0; i < values.length; i++) if (values[i] > 0) pixels.push(i);
  const positions = new Float32Array(3 * pixels.length);
  const labelPixel = new Uint32Array(pixels.length);
  pixels.forEach((i, k) => {
    const [x, y, z] = [i % depth.width, Math.floor(i / depth.width), values[i]];
    positions[3 * k] = ((x - cx) / fx) * z;
    positions[3 * k + 1] = ((y - cy) / fy) * z;
    positions[3 * k + 2] = z;
    labelPixel[k] = Math.floor((y * size.height) / depth.height) * size.width + Math.floor((x * size.width) / depth.width);
  });
  return { positions, labelPixel, count: pixels.length, focal: fx };
}

/** Binary PLY with position, color, class and confidence of each point. */
export function plyOf({ positions, labelPixel, count }, colors, labels, confidence, comments) {
  const ascii = (text) => text.replace(/[^\x20-\x7e]/g, "?");
  const header = ["ply", "format binary_little_endian 1.0", ...comments.map((text) => `comment ${ascii(text)}`), `element vertex ${count}`,
    "property float x", "property float y", "property float z", "property uchar red", "property uchar green", "property uchar blue",
    "property uchar label", "property float confidence", "end_header", ""].join("\n");
  const SIZE = 20;
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
