// The scene as points: their colors, and the 3-D view that is loaded when it is asked for.

import { Problem } from "./api.js";
import { ASSUMED_ANGLE, camera, pointsOf } from "./cloud.js";
import { $, el } from "./dom.js";
import { gateColor } from "./layers.js";
import { option } from "./panels.js";
import { answerNow, at, colors, depthInput, state } from "./state.js";

const MOST_SHOWN = 2_000_000; // points that the 3-D view draws; files have all

let cloud = null;

export function scenePoints(most = Infinity) {
  const depth = depthInput();
  if (!depth) throw new Problem("The 3-D view needs depth: choose a depth image, then segment again.");
  const { registered } = answerNow();
  if (registered) return { answer: answerNow(), lens: registered.lens, ...registered.points };
  const lens = camera(option("intrinsics")?.value ?? "", depth.size.width, depth.size.height);
  if (!lens) throw new Problem("The camera is not four numbers fx,fy,cx,cy with focal lengths above 0; correct it under Options, or leave it empty.");
  const answer = answerNow();
  return { answer, lens, ...pointsOf(depth.size, depth.values, lens, answer, most) };
}

/** Red, green and blue of each point, by the image (rgb), the class or the gate. */
export function cloudColors(points, kind) {
  const answer = answerNow();
  const byClass = colors();
  const rgb = new Uint8ClampedArray(3 * points.count);
  const picture = state.run.inputs.get("rgb")?.bitmap;
  let pixels;
  if (kind !== "gate" && picture) {
    const canvas = el("canvas", { width: answer.width, height: answer.height });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(picture, 0, 0, answer.width, answer.height);
    pixels = pen.getImageData(0, 0, answer.width, answer.height).data;
  }
  const gate = kind === "gate" && answer.maps.gate;
  for (let k = 0; k < points.count; k++) {
    const i = points.labelPixel[k];
    if (kind === "rgb" && pixels) {
      for (let channel = 0; channel < 3; channel++) rgb[3 * k + channel] = pixels[4 * i + channel];
      continue;
    }
    const color = gate ? gateColor(at(gate, i % answer.width, Math.floor(i / answer.width))) : byClass[answer.labels[i]];
    // The light of the image on the colors of the classes: flat colors alone show no shape.
    const light = pixels ? 0.45 + (0.6 * (pixels[4 * i] + 2 * pixels[4 * i + 1] + pixels[4 * i + 2])) / 1020 : 1;
    for (let channel = 0; channel < 3; channel++) rgb[3 * k + channel] = color[channel] * light;
  }
  return rgb;
}

export async function showCloud() {
  const answer = answerNow();
  const cached = state.layers.points?.answer === answer;
  const points = cached ? state.layers.points : scenePoints(MOST_SHOWN);
  state.layers.points = points;
  if (!cloud) {
    const { Cloud } = await import("./view3d.js");
    cloud = Cloud.on($("cloud-canvas"));
    if (!cloud) throw new Problem("This browser has no WebGL2, which the 3-D view needs; the PLY below opens in any viewer of point clouds.");
  }
  if (cloud.points !== points) cloud.show(points);
  const { labels } = answer;
  cloud.color(cloudColors(points, state.cloudColor), Uint8Array.from(points.labelPixel, (i) => (state.hidden.has(labels[i]) ? 0 : 1)));
  $("result-note").textContent = `${points.count.toLocaleString("en")} points${points.step > 1 ? `, one for ${points.step} × ${points.step} pixels` : ""}${points.lens.assumed ? `, angle of view of ${ASSUMED_ANGLE}° assumed` : ""}`;
}
