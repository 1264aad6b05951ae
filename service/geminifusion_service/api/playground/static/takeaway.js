// Files and the exact call of what is on screen.

import { key, post, segment } from "./api.js";
import { plyOf } from "./cloud.js";
import { $, save } from "./dom.js";
import { requestOf } from "./runs.js";
import { snippets } from "./snippets.js";
import { cloudColors, scenePoints } from "./space.js";
import { answerNow, at, state } from "./state.js";
import { attempt } from "./work.js";

export async function download(kind) {
  const { parts, query, content, labels, maps, width, document } = answerNow();
  const name = state.run.title;
  await attempt("Preparing the file…", async (signal) => {
    const { does } = state.model;
    if (kind === "json") save(content, `${name}.json`);
    else if (does.ask) {
      const { content: made } = await post(does.verb, parts, { ...query, format: kind }, signal);
      save(made, `${name}_${answerNow().domain ?? kind}.png`);
    } else if (kind === "ply") {
      const { registered } = answerNow();
      if (registered) return save(new Blob([registered.content]), `${name}.ply`);
      const points = scenePoints();
      const { fx, fy, cx, cy, assumed } = points.lens;
      const comments = [`model ${document.model}`, `camera fx ${fx} fy ${fy} cx ${cx} cy ${cy}${assumed ? " (assumed)" : ""}`, "metres; x right, y down, z forward", ...state.model.classes.map((one) => `label ${one.id} ${one.name}`)];
      const confidence = maps.confidence ? (i) => at(maps.confidence, i % width, Math.floor(i / width)) : () => NaN;
      save(plyOf(points, cloudColors(points, state.cloudColor), labels, confidence, comments), `${name}.ply`);
    } else {
      const { confidence, gate, ...plain } = query;
      if (kind !== "npz") delete plain.disagreement;
      const { content: made } = await segment(parts, { ...plain, format: kind }, signal);
      save(made, kind === "npz" ? `${name}.npz` : `${name}_${kind === "png" ? "mask" : kind}.png`);
    }
  });
}

export function showCall() {
  if (!state.inputs.size) {
    $("call").textContent = "Choose images first.";
    return;
  }
  const { parts, query } = answerNow() ?? requestOf(state.inputs);
  const { protocol, hostname } = location;
  const texts = snippets(parts, query, {
    origin: new URL(".", location.href).href, host: hostname, grpcPort: state.about.grpc_port, secure: protocol === "https:", keyed: !!key(), verb: state.model.does.verb,
  });
  $("call").textContent = texts[state.language];
}
