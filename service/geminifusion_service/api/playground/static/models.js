// The models of the server and the samples that fit them.

import { call, json, Problem } from "./api.js";
import { $, el } from "./dom.js";
import { showOptions } from "./panels.js";
import { addFiles, onOptions, showInputs, useScenes } from "./scenes.js";
import { forget, showViews } from "./stage.js";
import { state } from "./state.js";
import { openModels } from "./tasks.js";
import { attempt, hideProblem, showProblem } from "./work.js";

export async function connect() {
  try {
    state.about = await json("playground/about");
    state.models = await openModels((await json("v1/models")).models);
    if (!state.models.length) throw new Problem("No model is loaded yet; wait until the server is ready, then try again.");
  } catch (error) {
    $("model").replaceChildren(el("option", {}, "no model"));
    showProblem(error, connect);
    return;
  } finally {
    document.querySelector("main").removeAttribute("aria-busy");
  }
  hideProblem();
  $("model").disabled = false;
  $("model").replaceChildren(...state.models.map(({ reference }) => el("option", { value: reference }, reference)));
  chooseModel(state.models[0]);
  await addFiles(state.waiting.splice(0));
}

export function chooseModel(model) {
  state.model = model;
  const specs = model.modalities;
  showOptions(specs.filter(({ open }) => !open), onOptions);
  $("segment").textContent = model.does.button;
  document.querySelector("#welcome .lead").textContent = model.does.lead;
  showViews();
  showSamples();
  forget();
  for (const name of [...state.inputs.keys()]) if (!specs.some((spec) => spec.name === name)) state.inputs.delete(name);
  showInputs();
}

function showSamples() {
  const { modalities, does } = state.model;
  const fits = (sample) => sample.verbs.includes(does.verb) && modalities.every(({ name, optional }) => sample.parts.includes(name) || optional);
  $("samples").replaceChildren(...state.about.samples.filter(fits).map((sample) => el("button", { type: "button", title: `${sample.title} (${sample.license})`, onclick: () => openSample(sample) },
    el("img", { src: `playground/samples/${sample.name}/rgb`, width: 112, height: 84, alt: "" }), el("span", {}, sample.title.split(/[:,]|\bseen\b/)[0]))));
}

function openSample({ name, parts }) {
  attempt("Fetching the sample…", async (signal) => {
    const scene = new Map();
    for (const { name: modality } of state.model.modalities) {
      if (!parts.includes(modality)) continue;
      const blob = await (await call(`playground/samples/${name}/${modality}`, { signal })).blob();
      const ending = { "image/png": "png", "image/jpeg": "jpg", "text/plain": "txt" }[blob.type.split(";")[0]] ?? "bin";
      scene.set(modality, new File([blob], `${name}.${modality}.${ending}`, { type: blob.type }));
    }
    await useScenes([scene], signal);
  });
}
