// Requests of the scene on screen, whole and without one of its inputs, and what came back.

import { Problem, segment } from "./api.js";
import { camera, registeredOf } from "./cloud.js";
import { labelsOf, mapOf } from "./codecs.js";
import { $ } from "./dom.js";
import { isMetric } from "./inputs.js";
import { MAPS, maskLayer } from "./layers.js";
import { option } from "./panels.js";
import { show, showAnswer } from "./stage.js";
import { colors, FULL, state } from "./state.js";
import { attempt } from "./work.js";

const MOST_RUNS = 24; // kept in the page, with their images

/** The parts and the options of a request of these inputs. */
export function requestOf(inputs, without = FULL) {
  const sent = [...inputs.values()].filter(({ spec }) => spec.name !== without);
  const { does } = state.model;
  const query = { ...does.query };
  if (state.models.length > 1) query.model = state.model.reference;
  for (const { part } of sent) {
    for (const kind of ["scale", "invalid"]) {
      const text = option(`${part}_${kind}`)?.value.replace(/\s/g, "");
      if (text) query[`${part}_${kind}`] = text;
    }
  }
  const intrinsics = option("intrinsics")?.value.replace(/\s/g, "");
  if (intrinsics && !does.ask && sent.some(({ spec, part }) => isMetric(spec) || part === "depth")) query.intrinsics = intrinsics;
  if (option("align")?.checked && sent.length > 1) query.align = "resize";
  if (does.ask) return { parts: sent, query };
  const [rgbCamera, extrinsics] = ["rgb_intrinsics", "extrinsics"].map((name) => option(name)?.value.replace(/\s/g, ""));
  if (rgbCamera && extrinsics && sent.some(({ part }) => part === "rgb") && sent.some(({ spec }) => isMetric(spec)))
    Object.assign(query, { align: "register", rgb_intrinsics: rgbCamera, extrinsics });
  return { parts: sent, query };
}

async function ask(inputs, without, signal, more = {}) {
  const { parts, query } = requestOf(inputs, without);
  if (state.model.does.ask) return state.model.does.ask(parts, query, signal);
  const all = { ...query, ...more };
  const { content, ms } = await segment(parts, all, signal);
  const document = JSON.parse(await content.text());
  if (document.model !== state.model.reference)
    throw new Problem(`The server has replaced this model by ${document.model}; reload the page, then segment again.`);
  const maps = {};
  for (const name of Object.keys(MAPS)) if (document[name]) maps[name] = mapOf(document[name]);
  for (const [name, map] of Object.entries(document.modality_weights ?? {})) maps[`weight ${name}`] = mapOf(map);
  let registered = null; // the points of depth that the server brought to the pixels of RGB
  if (all.align === "register") {
    const { confidence, gate, disagreement, ...plain } = all;
    const made = await segment(parts, { ...plain, format: "ply" }, signal);
    registered = registeredOf(await made.content.arrayBuffer(), camera(all.rgb_intrinsics), document.size);
  }
  return { parts, query: all, content, ms, document, maps, registered, labels: labelsOf(document), ...document.size };
}

/** Segment what is chosen. */
export async function run(signal) {
  const inputs = new Map(state.inputs);
  const answer = await ask(inputs, FULL, signal, state.shown === "disagreement" ? { disagreement: "1" } : {});
  const named = [...inputs.values()][0];
  const made = {
    inputs, answers: new Map([[FULL, answer]]), model: state.model, picture: (inputs.get("rgb") ?? named).layer ?? answerPicture(answer),
    title: named.file.name.replace(/\.[^.]*$/, "").replace(/[._-](rgb|depth)$/i, ""),
    options: [...document.querySelectorAll("#option-fields input")].map(({ name, value, checked }) => ({ name, value, checked })),
  };
  state.runs = [made, ...state.runs].slice(0, MOST_RUNS);
  state.without = FULL;
  show(made);
}

const answerPicture = (answer) => answer.layer ?? maskLayer(answer, colors(), new Set());

export async function fetchDisagreement(made, signal) {
  if (!made.answers.get(FULL).maps.disagreement) made.answers.set(FULL, await ask(made.inputs, FULL, signal, { disagreement: "1" }));
}

export async function leaveOut(name) {
  const made = state.run;
  const wanted = state.without === name ? FULL : name;
  await attempt(`Segmenting without ${name}…`, async (signal) => {
    if (!made.answers.has(wanted)) made.answers.set(wanted, await ask(made.inputs, wanted, signal));
    state.without = wanted;
    showAnswer();
    [...$("variants").children].find((button) => button.textContent.toLowerCase() === `without ${name}`)?.focus();
  });
}
