// The scene as points: their colors, and the 3-D view that is loaded when it is asked for.

import { Problem } from "./api.js";
import { ASSUMED_ANGLE, camera, pointsOf } from "./cloud.js";
import { $, el } from "./dom.js";
import { gateColor } from "./layers.js";
import { option } from "./panels.js";
import { answerNow, at, colors, depthInput, state, view } from "./state.js";

let cloud = null;

export function scenePoints() {
  const depth = depthInput();
  if (!depth) throw new Problem("The 3-D view needs depth: choose a depth image, then segment again.");
  const lens = camera(option("intrinsics")?.value ?? "", depth.size.width, depth.size.height);
  if (!lens) throw new Problem("The camera is not four numbers fx,fy,cx,cy with focal lengths above 0; correct it under Options, or leave it empty.");
  const answer = answerNow();
  if (state.layers.points?.answer !== answer) state.layers.points = { answer, ...pointsOf(depth.size, depth.values, lens, answer), lens };
  return state.layers.points;
}

export function cloudColors(points, kind) {
  const answer = answerNow();
  const byClass = colors();
  const rgb = new Uint8Array(3 * points.count);
  const picture = state.run.inputs.get("rgb")?.bitmap;
  let pixels;
  if (kind !== "gate" && picture) {
    const canvas = el("canvas", { width: answer.width, height: answer.height });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(picture, 0, 0, answer.width, answer.height);
    pixels = pen.getImageData(0, 0, answer.width, answer.height).data;
  }
  const gate = answer.maps.gate;
  for (let k = 0; k < points.count; k++) {
    const i = points.labelPixel[k];
    const color = kind === "rgb" && pixels ? pixels.subarray(4 * i, 4 * i + 3)
      : kind === "gate" && gate ? gateColor(at(gate, i % answer.width, Math.floor(i / answer.width)))
      : byClass[answer.labels[i]] ?? [128, 128, 128];
    // The light of the image on the colors of the classes: flat colors alone show no shape.
    const light = kind === "class" && pixels ? 0.45 + (0.6 * (pixels[4 * i] + 2 * pixels[4 * i + 1] + pixels[4 * i + 2])) / 1020 : 1;
    for (let channel = 0; channel < 3; channel++) rgb[3 * k + channel] = Math.min(255, color[channel] * light);
  }
  return rgb;
}

export async function showCloud() {
  const points = scenePoints();
  if (!cloud) {
    const { Cloud } = await import("./view3d.js");
    cloud = Cloud.on($("cloud-canvas"));
    if (!cloud) throw new Problem("This browser has no WebGL2, which the 3-D view needs; the PLY below opens in any viewer of point clouds.");
  }
  if (cloud.points !== points) cloud.show(points);
  const { labels } = answerNow();
  cloud.color(cloudColors(points, state.cloudColor), Uint8Array.from(points.labelPixel, (i) => (state.hidden.has(labels[i]) ? 0 : 1)));
  $("result-note").textContent = `${points.count.toLocaleString("en")} points${points.lens.assumed ? `, angle of view of ${ASSUMED_ANGLE}° assumed` : ""}`;
}
