// Files and encodings that browsers do not read by themselves: 16-bit PNG, TIFF, npy, JPEG without its orientation,
// COCO run lengths, and float16 maps. A raster is {width, height, values, float}: one channel, as stored.

const PNG = [0x89, 0x50, 0x4e, 0x47];

/** The raster in a file of one channel with more than 8 bits, or null: the browser can show it, or nobody here can. */
export async function readRaster(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const starts = (magic) => magic.every((byte, i) => bytes[i] === byte);
  try {
    if (starts(PNG)) return await readPng(bytes);
    if (starts([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59])) return readNpy(bytes);
    if (starts([0x49, 0x49, 42, 0]) || starts([0x4d, 0x4d, 0, 42])) return await readTiff(bytes);
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError)) throw error;
  }
  return null; // damaged or unusual: the server says what is wrong with it
}

async function inflate(parts) {
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function readPng(bytes) {
  const view = new DataView(bytes.buffer);
  const [width, height, bits, color, interlace] = [view.getUint32(16), view.getUint32(20), bytes[24], bytes[25], bytes[28]];
  if (color !== 0 || bits < 8 || interlace !== 0) return null;
  const data = [];
  for (let at = 8; at < bytes.length; ) {
    const length = view.getUint32(at);
    if (String.fromCharCode(...bytes.subarray(at + 4, at + 8)) === "IDAT") data.push(bytes.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const raw = await inflate(data);
  const size = bits / 8;
  const stride = width * size;
  if (raw.length < (stride + 1) * height) return null;
  const out = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) unfilter(raw, out, y, stride, size);
  const values = new Uint16Array(width * height);
  for (let i = 0; i < values.length; i++) values[i] = size === 2 ? (out[2 * i] << 8) | out[2 * i + 1] : out[i];
  return { width, height, values, float: false, bits };
}

// A loop for each filter: this is the page's slowest part.
function unfilter(raw, out, y, stride, size) {
  const filter = raw[y * (stride + 1)];
  const from = y * (stride + 1) + 1;
  const to = y * stride;
  const left = (i) => (i >= size ? out[to + i - size] : 0);
  const up = (i) => (y ? out[to + i - stride] : 0);
  const corner = (i) => (y && i >= size ? out[to + i - stride - size] : 0);
  if (filter === 0) out.set(raw.subarray(from, from + stride), to);
  else if (filter === 1) for (let i = 0; i < stride; i++) out[to + i] = raw[from + i] + left(i);
  else if (filter === 2) for (let i = 0; i < stride; i++) out[to + i] = raw[from + i] + up(i);
  else if (filter === 3) for (let i = 0; i < stride; i++) out[to + i] = raw[from + i] + ((left(i) + up(i)) >> 1);
  else for (let i = 0; i < stride; i++) out[to + i] = raw[from + i] + paeth(left(i), up(i), corner(i));
}

function paeth(left, up, corner) {
  const a = Math.abs(up - corner);
  const b = Math.abs(left - corner);
  const c = Math.abs(left + up - 2 * corner);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

const NPY = { u1: Uint8Array, u2: Uint16Array, f2: Uint16Array, f4: Float32Array, f8: Float64Array };

function readNpy(bytes) {
  const view = new DataView(bytes.buffer);
  const long = bytes[6] > 1;
  const start = (long ? 12 : 10) + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder("latin1").decode(bytes.subarray(long ? 12 : 10, start));
  const [, order, type] = /'descr':\s*'([<>|=])(\w\d)'/.exec(header) ?? [];
  const shape = /'shape':\s*\((\d+),\s*(\d+)(?:,\s*1)?,?\s*\)/.exec(header);
  if (!(type in NPY) || !shape || order === ">" || header.includes("'fortran_order': True")) return null;
  const [height, width] = [Number(shape[1]), Number(shape[2])];
  let values = new NPY[type](bytes.slice(start).buffer, 0, width * height);
  if (type === "f2") values = Float32Array.from(values, half);
  return { width, height, values: Float32Array.from(values), float: type[0] === "f" };
}

async function readTiff(bytes) {
  const view = new DataView(bytes.buffer);
  const little = bytes[0] === 0x49;
  const tags = {};
  const first = view.getUint32(4, little);
  for (let i = 0; i < view.getUint16(first, little); i++) {
    const at = first + 2 + 12 * i;
    const short = view.getUint16(at + 2, little) === 3;
    const count = view.getUint32(at + 4, little);
    const where = count * (short ? 2 : 4) > 4 ? view.getUint32(at + 8, little) : at + 8;
    tags[view.getUint16(at, little)] = Array.from({ length: Math.min(count, 1e5) }, (_, k) =>
      short ? view.getUint16(where + 2 * k, little) : view.getUint32(where + 4 * k, little));
  }
  const one = (tag, otherwise) => tags[tag]?.[0] ?? otherwise;
  const [width, height, bits, packing, predictor] = [one(256), one(257), one(258), one(259, 1), one(317, 1)];
  const float = one(339, 1) === 3;
  if (!tags[273] || one(277, 1) !== 1 || bits !== (float ? 32 : 16) || predictor > 3) return null;
  const parts = [];
  for (const [i, offset] of tags[273].entries()) {
    const strip = bytes.subarray(offset, offset + tags[279][i]);
    if (packing === 1) parts.push(strip);
    else if (packing === 8 || packing === 32946) parts.push(await inflate([strip]));
    else if (packing === 5) parts.push(unLzw(strip));
    else if (packing === 32773) parts.push(unPackBits(strip));
    else return null;
  }
  let data = new Uint8Array(await new Blob(parts).arrayBuffer());
  const wide = bits === 32;
  if (wide && predictor === 3) data = unpredictFloats(data, width, height);
  const stored = new DataView(data.buffer);
  const numbers = wide ? new Uint32Array(width * height) : new Uint16Array(width * height);
  for (let i = 0; i < numbers.length; i++) {
    numbers[i] = wide ? stored.getUint32(4 * i, little && predictor !== 3) : stored.getUint16(2 * i, little);
    if (predictor === 2 && i % width) numbers[i] += numbers[i - 1];
  }
  return { width, height, values: wide ? new Float32Array(numbers.buffer) : numbers, float };
}

/** Big-endian floats of rows that hold the first bytes of all, then the second and so on, each less the one before. */
function unpredictFloats(data, width, height) {
  const out = new Uint8Array(4 * width * height);
  for (let y = 0; y < height; y++) {
    const row = data.subarray(4 * width * y, 4 * width * (y + 1));
    for (let i = 1; i < row.length; i++) row[i] += row[i - 1];
    for (let i = 0; i < row.length; i++) out[4 * (width * y + (i % width)) + Math.floor(i / width)] = row[i];
  }
  return out;
}

function unLzw(strip) {
  const out = [];
  let table, bits, previous, held = 0, buffer = 0;
  const reset = () => { table = Array.from({ length: 258 }, (_, i) => [i]); bits = 9; previous = null; };
  reset();
  for (const byte of strip) {
    buffer = (buffer << 8) | byte;
    held += 8;
    if (held < bits) continue;
    held -= bits;
    const code = (buffer >> held) & ((1 << bits) - 1);
    buffer &= (1 << held) - 1;
    if (code === 257) break;
    if (code === 256) { reset(); continue; }
    const entry = table[code] ?? [...previous, previous[0]];
    for (const value of entry) out.push(value);
    if (previous) table.push([...previous, entry[0]]);
    previous = entry;
    if (table.length >= (1 << bits) - 1 && bits < 12) bits++;
  }
  return Uint8Array.from(out);
}

function unPackBits(strip) {
  const out = [];
  for (let at = 0; at < strip.length; ) {
    const count = strip[at++];
    if (count < 128) for (let i = 0; i <= count; i++) out.push(strip[at++]);
    else if (count > 128) { for (let i = 0; i < 257 - count; i++) out.push(strip[at]); at++; }
  }
  return Uint8Array.from(out);
}

/** A picture without its EXIF block: the server applies no orientation, so what is shown must not be turned either. */
export async function withoutOrientation(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return file;
  const parts = [bytes.subarray(0, 2)];
  let at = 2;
  while (bytes[at] === 0xff && bytes[at + 1] !== 0xda && at + 4 < bytes.length) {
    const end = at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
    if (bytes[at + 1] !== 0xe1) parts.push(bytes.subarray(at, end));
    at = end;
  }
  return new Blob([...parts, bytes.subarray(at)], { type: "image/jpeg" });
}

/** Label map (row by row) of the run lengths of every class. */
export function labelsOf({ mask, size: { height, width } }) {
  const labels = new Uint8Array(height * width);
  for (const { class_id, counts } of mask.rle) {
    let at = 0; // down the columns
    runLengths(counts).forEach((run, i) => {
      let [x, y] = [Math.floor(at / height), at % height];
      for (let left = i % 2 ? run : 0; left > 0; left--) {
        labels[y * width + x] = class_id;
        if (++y === height) { y = 0; x++; }
      }
      at += run;
    });
  }
  return labels;
}

function runLengths(text) {
  const runs = [];
  for (let at = 0; at < text.length; ) {
    let value = 0, shift = 0, group;
    do {
      group = text.charCodeAt(at++) - 48;
      value |= (group & 31) << shift;
      shift += 5;
    } while (group & 32);
    if (group & 16) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

/** {width, height, values} of a map in the response. */
export function mapOf({ shape: [height, width], data }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  return { width, height, values: Float32Array.from(new Uint16Array(bytes.buffer), half) };
}

function half(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}
