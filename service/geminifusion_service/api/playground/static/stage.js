// What is shown of an answer: the large pane, its views, and all that follows the answer.

import { $, el } from "./dom.js";
import { isMetric, percent } from "./inputs.js";
import { changesLayer, gateColor, mapLayer, MAPS, maskLayer } from "./layers.js";
import { chooseModel } from "./models.js";
import { option, showHistory, showLegend, showSegments, showTimes } from "./panels.js";
import { Pane } from "./panes.js";
import { showReadout } from "./readout.js";
import { fetchDisagreement, leaveOut } from "./runs.js";
import { applyOptions, showInputs } from "./scenes.js";
import { cloudColors, showCloud } from "./space.js";
import { answerNow, colors, depthInput, FULL, state, view } from "./state.js";
import { showCall } from "./takeaway.js";
import { attempt, hideProblem } from "./work.js";

let hatch = null;

/** Stripes where nothing is: holes of the depth show them. */
function stripes(context) {
  if (!hatch) {
    const tile = el("canvas", { width: 8, height: 8 });
    const pen = tile.getContext("2d");
    pen.fillStyle = "#23262f";
    pen.fillRect(0, 0, 8, 8);
    pen.strokeStyle = "#5d6475";
    pen.lineWidth = 1.6;
    for (const x of [-8, 0, 8]) { pen.moveTo(x, 8); pen.lineTo(x + 8, 0); }
    pen.stroke();
    hatch = context.createPattern(tile, "repeat");
  }
  hatch.setTransform(context.getTransform().inverse());
  return hatch;
}

export function drawInput(context, { layer, raster }) {
  if (!layer) return;
  if (raster) {
    context.fillStyle = stripes(context);
    context.fillRect(0, 0, view.width, view.height);
  }
  context.drawImage(layer, 0, 0, view.width, view.height);
}

export function forget() {
  Object.assign(state, { run: null, layers: {}, without: FULL });
  state.note = "";
  showLegend(state.model.classes, [], state.hidden, toggleClass);
  showTimes(null);
  showHistory(state.runs, null, showAgain);
  for (const button of document.querySelectorAll("#downloads button")) button.disabled = true;
  showVariants();
  showStage();
}

/** Put a run on screen, with the inputs and the options it was made of. */
export function show(made) {
  if (state.inputs !== made.inputs && made !== state.run) {
    if (made.model !== state.model) {
      $("model").value = made.model.reference;
      chooseModel(made.model);
    }
    state.inputs = new Map(made.inputs);
    for (const { name, value, checked } of made.options) Object.assign(option(name), { value, checked });
    applyOptions();
    showInputs();
  }
  state.run = made;
  showAnswer();
  showHistory(state.runs, made, showAgain);
}

function showAgain(made) {
  state.without = FULL;
  hideProblem();
  show(made);
}

export function showAnswer() {
  const answer = answerNow();
  const full = state.run.answers.get(FULL);
  state.layers = {};
  if (view.width !== answer.width || view.height !== answer.height) view.setSize(answer.width, answer.height);
  let note = `${answer.width} × ${answer.height}`;
  if (answer !== full) {
    const changes = changesLayer(answer, full.labels);
    state.layers.changes = changes.canvas;
    note = `without ${state.without}: ${percent(changes.share)} of the pixels changed`;
  }
  state.note = note;
  $("result-canvas").setAttribute("aria-label", answer.domain ? `Result: ${answer.domain}` : `Result: ${answer.document.classes.slice(0, 5).map(({ name, fraction, count }) => `${name} ${count ?? percent(fraction)}`).join(", ") || "nothing found"}`);
  showLegend(state.model.classes, answer.document.classes, state.hidden, toggleClass);
  showTimes(answer);
  showVariants();
  showCall();
  for (const button of document.querySelectorAll("#downloads button")) button.disabled = !state.model.does.saves.includes(button.dataset.save) || (button.dataset.save === "ply" && !depthInput());
  showStage();
}

function showVariants() {
  const { modalities } = state.model;
  $("variants").replaceChildren(...(modalities.length < 2 || state.model.does.ask ? [] : modalities).map((spec) => {
    const others = state.run && [...state.run.inputs.keys()].filter((name) => name !== spec.name);
    const why = !spec.optional ? `This model was not trained to miss ${spec.name}.` : !others?.length || !state.run.inputs.has(spec.name) ? `Segment with ${spec.name} and another input first.` : "";
    return el("button", { type: "button", "aria-pressed": String(state.without === spec.name), disabled: !!why, title: why, onclick: () => leaveOut(spec.name) }, `without ${spec.name.length < 4 ? spec.name.toUpperCase() : spec.name}`);
  }));
}

function viewsOf({ modalities, does }) {
  if (does.views) return does.views;
  const several = modalities.length > 1;
  const maps = several ? Object.entries(MAPS) : [["confidence", MAPS.confidence]];
  return [
    { value: "mask", title: "Mask" },
    ...maps.map(([value, { title }]) => ({ value, title })),
    ...(modalities.length > 2 ? modalities.slice(1).map(({ name }) => ({ value: `weight ${name}`, title: `Weight of ${name}` })) : []),
    ...(modalities.some((spec) => isMetric(spec) || spec.encoding === "hha") ? [{ value: "cloud", title: "3-D" }] : []),
  ];
}

export function showViews() {
  const views = viewsOf(state.model);
  if (!views.some(({ value }) => value === state.shown)) state.shown = "mask";
  showSegments($("views"), views.map((one) => ({ ...one, checked: one.value === state.shown })), chooseView);
  const cloudColors = ["rgb", "class", ...(state.model.modalities.length > 1 ? ["gate"] : [])];
  showSegments($("cloud-colors"), cloudColors.map((value) => ({ value, title: value === "rgb" ? "RGB" : value[0].toUpperCase() + value.slice(1), checked: value === state.cloudColor })), (value) => { state.cloudColor = value; showStage(); });
}

async function chooseView(value) {
  state.shown = value;
  if (value === "disagreement" && state.run) {
    const made = state.run;
    state.without = FULL;
    await attempt("Segmenting once more without the other inputs…", async (signal) => { await fetchDisagreement(made, signal); showAnswer(); });
  }
  showStage();
}

/** The canvas, the color scale and the controls that belong to the chosen view. */
export function showStage() {
  const inSpace = state.shown === "cloud";
  const map = state.shown.startsWith("weight") ? { title: `Weight of ${state.shown.slice(7)}`, color: gateColor, low: "none", high: "all" } : MAPS[state.shown];
  state.layers.mask = state.layers.map = null;
  $("result-title").textContent = inSpace ? "3-D" : map?.title ?? "Result";
  $("opacity-row").hidden = inSpace || !!state.model.does.lines;
  $("cloud-colors").hidden = !inSpace;
  $("cloud-canvas").hidden = !(inSpace && state.run);
  $("result-canvas").hidden = !!(inSpace && state.run);
  $("ramp").hidden = !(map && state.run);
  if (map) {
    const pen = $("ramp-canvas").getContext("2d");
    for (let i = 0; i < 128; i++) { pen.fillStyle = `rgb(${map.color(i / 127).map(Math.round).join(" ")})`; pen.fillRect(i, 0, 1, 1); }
    [$("ramp-low").textContent, $("ramp-high").textContent] = [map.low, map.high];
  }
  state.map = map;
  $("result-note").textContent = state.note;
  showReadout();
  if (inSpace && state.run) attempt("Building the cloud…", showCloud);
  else redraw();
}

function redraw() {
  resultPane.redraw();
  for (const pane of state.panes) pane.redraw(); // boxes are drawn there too
}

function drawResult(context) {
  const answer = answerNow();
  const rgb = state.inputs.get("rgb");
  const base = (state.without === "rgb" ? null : rgb) ?? [...state.inputs.values()].find(({ layer, spec }) => layer && spec.name !== state.without);
  if (!base?.layer) return;
  drawInput(context, base);
  if (!answer) return;
  const draw = (layer, alpha) => { context.globalAlpha = alpha; context.drawImage(layer, 0, 0, view.width, view.height); context.globalAlpha = 1; };
  const alpha = $("opacity").value / 100;
  const values = state.map && answer.maps[state.shown];
  if (values) {
    const smooth = context.imageSmoothingEnabled;
    context.imageSmoothingEnabled = true; // a map has fewer pixels than the image
    draw(state.layers.map ??= mapLayer(values, state.map.color), alpha);
    context.imageSmoothingEnabled = smooth;
  } else if (answer.draw) {
    answer.draw(context, answer);
  } else if (!state.map) draw(state.layers.mask ??= answer.layer ?? maskLayer(answer, colors(), state.hidden), alpha);
  if (state.layers.changes) draw(state.layers.changes, 1);
}

function toggleClass(id, visible) {
  if (visible) state.hidden.delete(id);
  else state.hidden.add(id);
  state.layers.mask = null;
  if (state.shown === "cloud" && state.run) attempt("Building the cloud…", showCloud);
  else redraw();
}

export const resultPane = new Pane($("result-canvas"), view, drawResult);
