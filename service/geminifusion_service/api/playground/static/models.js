// The models of the server and the samples that fit them.

import { call, json, Problem } from "./api.js";
import { $, el } from "./dom.js";
import { showOptions } from "./panels.js";
import { addFiles, onOptions, showInputs, useScenes } from "./scenes.js";
import { forget, showViews } from "./stage.js";
import { state } from "./state.js";
import { TASK } from "./translation.js";
import { attempt, hideProblem, showProblem } from "./work.js";

export async function connect() {
  try {
    state.about = await json("playground/about");
    state.models = (await json("v1/models")).models.filter(({ modalities, classes, task }) => modalities && (classes || task === TASK))
      .map((model) => ({ classes: [], ...model }));
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
  showOptions(specs, onOptions);
  showViews();
  showSamples();
  forget();
  for (const name of [...state.inputs.keys()]) if (!specs.some((spec) => spec.name === name)) state.inputs.delete(name);
  showInputs();
}

function showSamples() {
  const fits = state.model.modalities.every(({ name, optional }) => ["rgb", "depth"].includes(name) || optional);
  $("samples").replaceChildren(...(fits ? state.about.samples : []).map(({ name, title, license }) => el("button", { type: "button", title: `${title} (${license})`, onclick: () => openSample(name) },
    el("img", { src: `playground/samples/${name}/rgb`, width: 112, height: 84, alt: "" }), el("span", {}, title.split(/[:,]|\bseen\b/)[0]))));
}

function openSample(name) {
  attempt("Fetching the sample…", async (signal) => {
    const scene = new Map();
    for (const { name: modality } of state.model.modalities) {
      if (modality !== "rgb" && modality !== "depth") continue;
      const blob = await (await call(`playground/samples/${name}/${modality}`, { signal })).blob();
      scene.set(modality, new File([blob], `${name}.${modality}.${blob.type.endsWith("png") ? "png" : "jpg"}`, { type: blob.type }));
    }
    await useScenes([scene], signal);
  });
}
