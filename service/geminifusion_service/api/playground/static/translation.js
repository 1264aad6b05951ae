// Image translation: what is asked for, and what is shown of the answer.

import { post, Problem } from "./api.js";
import { state } from "./state.js";

export const TRANSLATION = { verb: "translate", button: "Translate", lead: "How does the other image look?", views: [{ value: "mask", title: "Picture" }], saves: ["png"], query: { format: "picture" }, ask };

const STAGES = ["decode", "queue", "compute", "encode"];

/** The answer to one view: a layer to draw, and the facts that an answer of segmentation has in its document. */
async function ask(parts, query, signal) {
  const { content, headers, ms } = await post("translate", parts, query, signal);
  const of = (name) => headers.get(`X-Geminifusion-${name}`) ?? "";
  if (of("Model") !== state.model.reference)
    throw new Problem(`The server has replaced this model by ${of("Model")}; reload the page, then translate again.`);
  const layer = await createImageBitmap(content);
  const { width, height } = layer;
  const document = {
    model: of("Model"), classes: [], size: { width, height }, batch_size: Number(of("Batch-Size")),
    timings_ms: Object.fromEntries(STAGES.map((stage) => [stage, Number(of(`${stage[0].toUpperCase()}${stage.slice(1)}-Ms`))])),
    warnings: JSON.parse(of("Warnings") || "[]"),
  };
  return { parts, query, content, ms, document, maps: {}, registered: null, labels: null, layer, domain: of("Domain"), width, height };
}
