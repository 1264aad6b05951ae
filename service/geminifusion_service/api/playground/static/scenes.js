// The images of a scene: from files to their panes, and what the options make of them.

import { Problem } from "./api.js";
import { $, el } from "./dom.js";
import { measure, openInput, scenesOf, unitCheck } from "./inputs.js";
import { option } from "./panels.js";
import { Pane, View } from "./panes.js";
import { run } from "./runs.js";
import { drawInput, forget, resultPane, showStage } from "./stage.js";
import { answerNow, state, titleOf, view } from "./state.js";
import { showCall } from "./takeaway.js";
import { attempt } from "./work.js";

/** Run scenes one after the other, those after one that fails as well; the last one stays on screen. */
export async function useScenes(scenes, signal) {
  const specs = state.model.modalities;
  const several = scenes.length > 1;
  const failures = [];
  for (const [i, scene] of scenes.entries()) {
    const opened = [];
    for (const [name, file] of scene) opened.push(await openInput(specs.find((spec) => spec.name === name), file));
    signal.throwIfAborted();
    if (several) state.inputs.clear();
    for (const input of opened) state.inputs.set(input.spec.name, input);
    forget();
    applyOptions();
    showInputs();
    if (!several && !specs.every(({ name }) => state.inputs.has(name))) return; // the user says when to go
    if (several) $("busy-text").textContent = `Segmenting ${i + 1} of ${scenes.length}…`;
    try {
      await run(signal);
    } catch (error) {
      if (!several || !(error instanceof Problem)) throw error;
      failures.push(`${opened[0].file.name}: ${error.message}`);
    }
  }
  if (failures.length) throw new Problem(`${failures.length} of ${scenes.length} scenes failed. The first, ${failures[0]}`);
}

export async function addFiles(files) {
  if (!state.model) state.waiting = [...files]; // until `connect` knows what they may be
  if (!files.length || !state.model) return;
  const all = [...files]; // a list that the browser empties
  await attempt("Segmenting…", async (signal) => {
    const scenes = await scenesOf(all, state.model.modalities);
    if (!scenes.length) throw new Problem(`This model takes ${state.model.modalities.map(({ name }) => name).join(" and ")}; choose a file for each.`);
    await useScenes(scenes, signal);
  });
}

export function setInput(spec, file) {
  attempt("Segmenting…", (signal) => useScenes([new Map([[spec.name, file]])], signal));
}

export const segmentNow = () => attempt("Segmenting…", run);

const optionsOf = (input) => [option(`${input.part}_scale`)?.value ?? "", option(`${input.part}_invalid`)?.value ?? ""];

/** Measure what the options of the page changed. */
export function applyOptions() {
  for (const input of state.inputs.values()) {
    const [scale, invalid] = optionsOf(input);
    if (scale !== input.scale || invalid !== input.invalid) measure(Object.assign(input, { scale, invalid }));
  }
}

export function onOptions({ target } = {}) {
  if (target?.name === "intrinsics" && !option("extrinsics")?.value && !state.model.modalities.some(({ encoding }) => encoding === "hha")) {
    state.layers.points = null; // the camera is the 3-D view's alone
    showStage();
    return;
  }
  applyOptions();
  forget();
  showInputs();
}

export function showInputs() {
  for (const pane of state.panes) pane.remove();
  state.panes = [];
  $("inputs").replaceChildren(...state.model.modalities.map(inputPane));
  const first = [...state.inputs.values()].find(({ size }) => size);
  if (first && (view.width !== first.size.width || view.height !== first.size.height)) view.setSize(first.size.width, first.size.height);
  const missing = state.model.modalities.filter(({ name, optional }) => !optional && !state.inputs.has(name));
  $("segment").disabled = !state.inputs.size || missing.length > 0;
  $("segment").title = missing.length ? `Still missing: ${missing.map(({ name }) => name).join(", ")}` : "";
  if (state.inputs.size && $("welcome").contains(document.activeElement)) $("result-canvas").focus(); // hidden next
  $("welcome").hidden = state.inputs.size > 0;
  showCall();
  resultPane.redraw();
}

function inputPane(spec) {
  const input = state.inputs.get(spec.name);
  const chooser = el("input", { type: "file", class: "sr", "aria-label": `Choose the ${spec.name} image`, onchange: ({ target }) => target.files.length && setInput(spec, target.files[0]) });
  const figure = el("figure", { class: "pane", "data-modality": spec.name, "aria-label": titleOf(spec) });
  figure.addEventListener("drop", (event) => {
    if (event.dataTransfer.files.length !== 1) return; // several: the page sorts them
    event.preventDefault();
    event.stopPropagation();
    document.body.classList.remove("dragging");
    setInput(spec, event.dataTransfer.files[0]);
  });
  if (!input) {
    figure.append(el("label", { class: "drop" }, chooser, el("b", {}, `Choose ${titleOf(spec)}${spec.optional ? " (optional)" : ""}`), el("small", {}, spec.send ?? "")),
      el("figcaption", {}, el("b", {}, titleOf(spec))));
    return figure;
  }
  figure.append(shownInput(spec, input), el("figcaption", {}, el("b", {}, titleOf(spec)), el("span", { title: input.file.name }, input.file.name),
    el("button", { type: "button", class: "remove", "aria-label": `Remove ${input.file.name}`, onclick: () => removeInput(spec) }, "✕")));
  if (input.raster || !(input.layer || spec.open)) {
    const check = unitCheck(input);
    const fix = check.fix && el("button", { type: "button", class: "small", onclick: () => applyFix(input, check.fix) }, check.label);
    figure.append(el("p", { class: `strip${check.ok ? "" : " bad"}`, role: check.ok ? "note" : "status" }, el("span", {}, check.text), fix));
  }
  return figure;
}

/** What is in the pane of an input: its image, points seen from above, or text. */
function shownInput(spec, input) {
  const name = `${titleOf(spec)}: ${input.file.name}`;
  if (input.text !== undefined) return el("pre", { class: "text", tabIndex: 0, "aria-label": name }, input.text);
  const canvas = el("canvas", { tabIndex: 0, role: "img", "aria-label": name, "aria-describedby": "keys" });
  let [shown, draw] = [view, (context) => drawInput(context, input)];
  if (input.above) {
    const above = input.above();
    shown = new View();
    shown.setSize(above.size.width, above.size.height);
    draw = (context) => input.draw(context, above, answerNow()?.boxes ?? []);
  }
  state.panes.push(new Pane(canvas, shown, draw));
  return canvas;
}

function removeInput(spec) {
  state.inputs.delete(spec.name);
  forget();
  showInputs();
}

function applyFix(input, fix) {
  for (const [name, value] of Object.entries(fix)) option(`${input.part}_${name}`).value = value;
  onOptions();
  segmentNow();
}
