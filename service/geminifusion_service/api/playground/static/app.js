// The page: what is chosen, what was answered, and what is shown of it.

import { Problem, call, json, key, segment, setKey } from "./api.js";
import { ASSUMED_ANGLE, camera, plyOf, pointsOf } from "./cloud.js";
import { labelsOf, mapOf } from "./codecs.js";
import { $, el, save, swatch } from "./dom.js";
import { isMetric, measure, openInput, percent, scenesOf, unitCheck } from "./inputs.js";
import { MAPS, changesLayer, gateColor, mapLayer, maskLayer } from "./layers.js";
import { option, showHistory, showLegend, showOptions, showSegments, showTimes } from "./panels.js";
import { Pane, View } from "./panes.js";
import { snippets } from "./snippets.js";
import "./theme-button.js";

const MOST_RUNS = 24; // kept in the page, with their images
const FULL = ""; // the answer with all inputs; others are named after the one left out

const view = new View();
const state = {
  about: { grpc_port: 8001, samples: [] }, models: [], model: null, inputs: new Map(), panes: [], waiting: [],
  runs: [], run: null, without: FULL, shown: "mask", cloudColor: "rgb", language: "curl", hidden: new Set(), layers: {}, map: null, note: "", cancel: null,
};
let cloud = null;
let hatch = null;

// ---- models ----

async function connect() {
  try {
    state.about = await json("playground/about");
    state.models = (await json("v1/models")).models.filter((model) => model.modalities);
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

function chooseModel(model) {
  state.model = model;
  const specs = model.modalities;
  showOptions(specs, onOptions);
  showViews();
  showSamples();
  forget();
  for (const name of [...state.inputs.keys()]) if (!specs.some((spec) => spec.name === name)) state.inputs.delete(name);
  showInputs();
  showLegend(model.classes, [], state.hidden, toggleClass);
}

function showSamples() {
  const fits = state.model.modalities.every(({ name, optional }) => ["rgb", "depth"].includes(name) || optional);
  $("samples").replaceChildren(...(fits ? state.about.samples : []).map(({ name, title, license }) => el("button", { type: "button", title: `${title} (${license})`, onclick: () => openSample(name) },
    el("img", { src: `playground/samples/${name}/rgb`, width: 112, height: 84, alt: "" }), el("span", {}, title.split(/[:,]|\bseen\b/)[0]))));
}

async function openSample(name) {
  await attempt(async () => {
    const scene = new Map();
    for (const { name: modality } of state.model.modalities) {
      if (modality !== "rgb" && modality !== "depth") continue;
      const blob = await (await call(`playground/samples/${name}/${modality}`)).blob();
      scene.set(modality, new File([blob], `${name}.${modality}.${blob.type.endsWith("png") ? "png" : "jpg"}`, { type: blob.type }));
    }
    await useScenes([scene]);
  });
}

// ---- inputs ----

/** Run scenes one after the other; the last one stays on screen. */
async function useScenes(scenes) {
  const specs = state.model.modalities;
  for (const [i, scene] of scenes.entries()) {
    if (scenes.length > 1) state.inputs.clear();
    for (const [name, file] of scene) state.inputs.set(name, await openInput(specs.find((spec) => spec.name === name), file));
    forget();
    applyOptions();
    showInputs();
    const whole = specs.every(({ name }) => state.inputs.has(name));
    if (whole || scenes.length > 1) if (!(await run(scenes.length > 1 ? `Segmenting ${i + 1} of ${scenes.length}…` : undefined))) break;
  }
}

async function addFiles(files) {
  if (!state.model) state.waiting = [...files]; // until `connect` knows what they may be
  if (!files.length || !state.model) return;
  const all = [...files]; // a list that the browser empties
  await attempt(async () => {
    const scenes = scenesOf(all, state.model.modalities);
    if (!scenes.length) throw new Problem(`This model takes ${state.model.modalities.map(({ name }) => name).join(" and ")}; choose a file for each.`);
    await useScenes(scenes);
  });
}

async function setInput(spec, file) {
  await attempt(() => useScenes([new Map([[spec.name, file]])]));
}

const optionsOf = (input) => [option(`${input.part}_scale`)?.value ?? "", option(`${input.part}_invalid`)?.value ?? ""];

/** Measure what the options of the page changed. */
function applyOptions() {
  for (const input of state.inputs.values()) {
    const [scale, invalid] = optionsOf(input);
    if (scale !== input.scale || invalid !== input.invalid) measure(Object.assign(input, { scale, invalid }));
  }
}

function onOptions() {
  applyOptions();
  forget();
  showInputs();
}

function showInputs() {
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

const titleOf = ({ name }) => (name.length < 4 ? name.toUpperCase() : name[0].toUpperCase() + name.slice(1));

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
  const canvas = el("canvas", { tabIndex: 0, role: "img", "aria-label": `${titleOf(spec)}: ${input.file.name}`, "aria-describedby": "keys" });
  figure.append(canvas, el("figcaption", {}, el("b", {}, titleOf(spec)), el("span", { title: input.file.name }, input.file.name),
    el("button", { type: "button", class: "remove", "aria-label": `Remove ${input.file.name}`, onclick: () => removeInput(spec) }, "✕")));
  state.panes.push(new Pane(canvas, view, (context) => drawInput(context, input)));
  if (input.raster || !input.layer) {
    const check = unitCheck(input);
    const fix = check.fix && el("button", { type: "button", class: "small", onclick: () => applyFix(input, check.fix) }, check.label);
    figure.append(el("p", { class: `strip${check.ok ? "" : " bad"}`, role: check.ok ? "note" : "status" }, el("span", {}, check.text), fix));
  }
  return figure;
}

function removeInput(spec) {
  state.inputs.delete(spec.name);
  forget();
  showInputs();
}

function applyFix(input, fix) {
  for (const [name, value] of Object.entries(fix)) option(`${input.part}_${name}`).value = value;
  onOptions();
  run();
}

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

function drawInput(context, { layer, raster }) {
  if (!layer) return;
  if (raster) {
    context.fillStyle = stripes(context);
    context.fillRect(0, 0, view.width, view.height);
  }
  context.drawImage(layer, 0, 0, view.width, view.height);
}

// ---- runs ----

/** The parts and the options of a request of these inputs. */
function requestOf(inputs, without = FULL) {
  const sent = [...inputs.values()].filter(({ spec }) => spec.name !== without);
  const query = { format: "json", confidence: "1", gate: "1" };
  if (state.models.length > 1) query.model = state.model.reference;
  for (const { part } of sent) {
    for (const kind of ["scale", "invalid"]) {
      const text = option(`${part}_${kind}`)?.value.replace(/\s/g, "");
      if (text) query[`${part}_${kind}`] = text;
    }
  }
  const intrinsics = option("intrinsics")?.value.replace(/\s/g, "");
  if (intrinsics && sent.some(({ spec, part }) => spec.encoding === "hha" && part === "depth")) query.intrinsics = intrinsics;
  if (option("align")?.checked && sent.length > 1) query.align = "resize";
  return { parts: sent, query };
}

async function ask(inputs, without, more = {}) {
  const { parts, query } = requestOf(inputs, without);
  const all = { ...query, ...more };
  const { content, ms } = await segment(parts, all, state.cancel?.signal);
  const document = JSON.parse(await content.text());
  if (document.model !== state.model.reference)
    throw new Problem(`The server has replaced this model by ${document.model}; reload the page, then segment again.`);
  const maps = {};
  for (const name of Object.keys(MAPS)) if (document[name]) maps[name] = mapOf(document[name]);
  for (const [name, map] of Object.entries(document.modality_weights ?? {})) maps[`weight ${name}`] = mapOf(map);
  return { parts, query: all, content, ms, document, maps, labels: labelsOf(document), ...document.size };
}

/** Segment what is chosen; whether it worked. */
async function run(text = "Segmenting…") {
  if (!state.inputs.size) return false;
  return attempt(async () => {
    const inputs = new Map(state.inputs);
    const answer = await ask(inputs, FULL);
    const named = [...inputs.values()][0];
    const made = {
      inputs, answers: new Map([[FULL, answer]]), model: state.model, picture: (inputs.get("rgb") ?? named).layer ?? answerPicture(answer),
      title: named.file.name.replace(/\.[^.]*$/, "").replace(/[._-](rgb|depth)$/i, ""),
      options: [...document.querySelectorAll("#option-fields input")].map(({ name, value, checked }) => ({ name, value, checked })),
    };
    state.runs = [made, ...state.runs].slice(0, MOST_RUNS);
    state.without = FULL;
    if (state.shown === "disagreement") await fetchDisagreement(made);
    show(made);
  }, text);
}

const answerPicture = (answer) => maskLayer(answer, colors(), new Set());
const colors = () => Object.fromEntries(state.model.classes.map(({ id, color }) => [id, color]));

async function fetchDisagreement(made) {
  const answer = made.answers.get(FULL);
  if (answer.maps.disagreement) return;
  made.answers.set(FULL, await ask(made.inputs, FULL, { disagreement: "1" }));
}

/** Do one thing, with its problem on screen; whether it worked. */
async function attempt(work, text = "Working…") {
  const cancel = new AbortController();
  state.cancel?.abort();
  state.cancel = cancel;
  hideProblem();
  $("busy-text").textContent = text;
  const slow = setTimeout(() => { $("busy").hidden = false; }, 120); // a fast answer needs no flicker
  try {
    await work();
    return true;
  } catch (error) {
    if (!cancel.signal.aborted) showProblem(error, null);
    return false;
  } finally {
    clearTimeout(slow);
    if (state.cancel === cancel || cancel.signal.aborted) $("busy").hidden = true;
  }
}

function showProblem(error, again) {
  if (!(error instanceof Problem)) console.error(error);
  const text = error instanceof Problem ? error.message : `This page failed: ${error.message}. Reload it; if that does not help, report it.`;
  const actions = [];
  if (error.code === "unauthenticated" || error.status === 401) actions.push(el("button", { type: "button", onclick: () => $("key-dialog").showModal() }, "Enter the key"));
  if (/align=resize/.test(text) && option("align")) actions.push(el("button", { type: "button", onclick: () => { option("align").checked = true; run(); } }, "Scale it"));
  if (again) actions.push(el("button", { type: "button", onclick: again }, "Try again"));
  else actions.push(el("button", { type: "button", onclick: hideProblem }, "Close"));
  $("problem").replaceChildren(el("div", {}, text, error.requestId ? el("small", {}, `${error.code}, request ${error.requestId}`) : null), ...actions);
  $("problem").hidden = false;
}

function hideProblem() {
  $("problem").hidden = true;
}

// ---- what is shown ----

const answerNow = () => state.run?.answers.get(state.without) ?? state.run?.answers.get(FULL);

function forget() {
  Object.assign(state, { run: null, layers: {}, without: FULL });
  state.note = "";
  for (const button of document.querySelectorAll("#downloads button")) button.disabled = true;
  showVariants();
  showStage();
}

/** Put a run on screen, with the inputs and the options it was made of. */
function show(made) {
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
  showHistory(state.runs, made, (one) => { state.without = FULL; hideProblem(); show(one); });
}

function showAnswer() {
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
  $("result-canvas").setAttribute("aria-label", `Result: ${answer.document.classes.slice(0, 5).map(({ name, fraction }) => `${name} ${percent(fraction)}`).join(", ")}`);
  showLegend(state.model.classes, answer.document.classes, state.hidden, toggleClass);
  showTimes(answer);
  showVariants();
  showCall();
  for (const button of document.querySelectorAll("#downloads button")) button.disabled = button.dataset.save === "ply" && !depthInput();
  showStage();
}

function showVariants() {
  const { modalities } = state.model;
  $("variants").replaceChildren(...(modalities.length < 2 ? [] : modalities).map((spec) => {
    const others = state.run && [...state.run.inputs.keys()].filter((name) => name !== spec.name);
    const why = !spec.optional ? `This model was not trained to miss ${spec.name}.` : !others?.length || !state.run.inputs.has(spec.name) ? `Segment with ${spec.name} and another input first.` : "";
    return el("button", { type: "button", "aria-pressed": String(state.without === spec.name), disabled: !!why, title: why, onclick: () => leaveOut(spec.name) }, `without ${spec.name.length < 4 ? spec.name.toUpperCase() : spec.name}`);
  }));
}

async function leaveOut(name) {
  const made = state.run;
  const wanted = state.without === name ? FULL : name;
  await attempt(async () => {
    if (!made.answers.has(wanted)) made.answers.set(wanted, await ask(made.inputs, wanted));
    state.without = wanted;
    showAnswer();
    [...$("variants").children].find((button) => button.textContent.toLowerCase() === `without ${name}`)?.focus();
  }, `Segmenting without ${name}…`);
}

function viewsOf({ modalities }) {
  const several = modalities.length > 1;
  const maps = several ? Object.entries(MAPS) : [["confidence", MAPS.confidence]];
  return [
    { value: "mask", title: "Mask" },
    ...maps.map(([value, { title }]) => ({ value, title })),
    ...(modalities.length > 2 ? modalities.slice(1).map(({ name }) => ({ value: `weight ${name}`, title: `Weight of ${name}` })) : []),
    ...(modalities.some(isMetric) ? [{ value: "cloud", title: "3-D" }] : []),
  ];
}

function showViews() {
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
    await attempt(async () => { await fetchDisagreement(made); if (state.run === made) showAnswer(); }, "Segmenting once more without the other inputs…");
  }
  showStage();
}

/** The canvas, the color scale and the controls that belong to the chosen view. */
function showStage() {
  const inSpace = state.shown === "cloud";
  const map = state.shown.startsWith("weight") ? { title: `Weight of ${state.shown.slice(7)}`, color: gateColor, low: "none", high: "all" } : MAPS[state.shown];
  state.layers.mask = state.layers.map = null;
  $("result-title").textContent = inSpace ? "3-D" : map?.title ?? "Result";
  $("opacity-row").hidden = inSpace;
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
  if (inSpace && state.run) attempt(showCloud, "Building the cloud…");
  else resultPane.redraw();
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
  } else if (!state.map) draw(state.layers.mask ??= maskLayer(answer, colors(), state.hidden), alpha);
  if (state.layers.changes) draw(state.layers.changes, 1);
}

function toggleClass(id, visible) {
  if (visible) state.hidden.delete(id);
  else state.hidden.add(id);
  state.layers.mask = null;
  if (state.shown === "cloud" && state.run) showCloud();
  else resultPane.redraw();
}

const at = ({ width, height, values }, x, y) => values[Math.floor((y * height) / view.height) * width + Math.floor((x * width) / view.width)];
const depthInput = () => [...(state.run?.inputs ?? state.inputs).values()].find(({ spec, part, values }) => values && (isMetric(spec) || part === "depth"));

/** One pixel, in words and numbers. */
function readoutAt({ x, y }) {
  const answer = answerNow();
  const depth = depthInput();
  const metres = depth && at({ ...depth.size, width: depth.size.width, height: depth.size.height, values: depth.values }, x, y);
  const found = { pixel: `${x}, ${y}`, metres: depth ? (metres ? `${metres.toFixed(3)} m` : "hole") : "–", name: "–", confidence: "–", gate: "–" };
  if (answer) {
    const id = answer.labels[y * answer.width + x];
    const spec = state.model.classes.find((one) => one.id === id);
    const before = state.run.answers.get(FULL).labels[y * answer.width + x];
    Object.assign(found, { name: spec?.name ?? String(id), color: spec?.color, confidence: answer.maps.confidence ? percent(at(answer.maps.confidence, x, y)) : "–", gate: answer.maps.gate ? at(answer.maps.gate, x, y).toFixed(2) : "–" });
    if (before !== id) found.before = state.model.classes.find((one) => one.id === before)?.name;
    const shown = state.map && answer.maps[state.shown];
    if (shown && !(state.shown in found)) found.extra = `${state.map.title} ${at(shown, x, y).toFixed(2)}`;
  }
  return found;
}

function showReadout() {
  const found = view.probe ? readoutAt(view.probe) : { pixel: "–", name: "–", confidence: "–", metres: "–", gate: "–" };
  $("at-pixel").textContent = found.pixel;
  $("at-confidence").textContent = found.confidence;
  $("at-metres").textContent = found.metres;
  $("at-gate").textContent = found.gate;
  const extra = found.before ? ` with it: ${found.before}` : found.extra ? ` ${found.extra}` : "";
  $("at-class").replaceChildren(...(found.color ? [swatch(found.color)] : []), found.name, el("small", {}, extra));
  return found;
}

let speaking = 0;
view.addEventListener("probe", () => {
  const found = showReadout();
  clearTimeout(speaking);
  // Spoken for those who move it by keyboard, once they rest.
  if (document.activeElement?.tagName === "CANVAS" && view.probe)
    speaking = setTimeout(() => { $("spoken").textContent = `Pixel ${found.pixel}: ${found.name}, confidence ${found.confidence}, distance ${found.metres}, gate ${found.gate}`; }, 350);
});

// ---- cloud ----

function scenePoints() {
  const depth = depthInput();
  if (!depth) throw new Problem("The 3-D view needs depth: choose a depth image, then segment again.");
  const lens = camera(option("intrinsics")?.value ?? "", depth.size.width, depth.size.height);
  if (!lens) throw new Problem("The camera is not four numbers fx,fy,cx,cy with focal lengths above 0; correct it under Options, or leave it empty.");
  const answer = answerNow();
  if (state.layers.points?.answer !== answer) state.layers.points = { answer, ...pointsOf(depth.size, depth.values, lens, answer), lens };
  return state.layers.points;
}

function cloudColors(points, kind) {
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

async function showCloud() {
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

// ---- downloads and the call ----

async function download(kind) {
  const { parts, query, content, labels, maps, width, document } = answerNow();
  const name = state.run.title;
  await attempt(async () => {
    if (kind === "json") save(content, `${name}.json`);
    else if (kind === "ply") {
      const points = scenePoints();
      const { fx, fy, cx, cy, assumed } = points.lens;
      const comments = [`model ${document.model}`, `camera fx ${fx} fy ${fy} cx ${cx} cy ${cy}${assumed ? " (assumed)" : ""}`, "metres; x right, y down, z forward", ...state.model.classes.map((one) => `label ${one.id} ${one.name}`)];
      const confidence = maps.confidence ? (i) => at(maps.confidence, i % width, Math.floor(i / width)) : () => NaN;
      save(plyOf(points, cloudColors(points, state.cloudColor), labels, confidence, comments), `${name}.ply`);
    } else {
      const { confidence, gate, ...plain } = query;
      if (kind !== "npz") delete plain.disagreement;
      const { content: made } = await segment(parts, { ...plain, format: kind }, state.cancel.signal);
      save(made, kind === "npz" ? `${name}.npz` : `${name}_${kind === "png" ? "mask" : kind}.png`);
    }
  }, "Preparing the file…");
}

function showCall() {
  if (!state.inputs.size) {
    $("call").textContent = "Choose images first.";
    return;
  }
  const { parts, query } = answerNow() ?? requestOf(state.inputs);
  const { protocol, hostname } = location;
  const texts = snippets(parts, query, {
    origin: new URL(".", location.href).href, host: hostname, grpcPort: state.about.grpc_port, secure: protocol === "https:", keyed: !!key(),
  });
  $("call").textContent = texts[state.language];
}

// ---- wiring ----

const resultPane = new Pane($("result-canvas"), view, drawResult);
$("opacity").addEventListener("input", () => resultPane.redraw());
$("segment").addEventListener("click", () => run());
$("clear").addEventListener("click", () => { state.inputs.clear(); forget(); hideProblem(); showInputs(); showLegend(state.model.classes, [], state.hidden, toggleClass); });
$("cancel").addEventListener("click", () => state.cancel?.abort());
$("files").addEventListener("change", ({ target }) => { addFiles(target.files).then(() => { target.value = ""; }); });
$("model").addEventListener("change", ({ target }) => chooseModel(state.models.find(({ reference }) => reference === target.value)));
for (const [id, visible] of [["all-classes", true], ["no-classes", false]]) {
  $(id).addEventListener("click", () => {
    for (const box of document.querySelectorAll("#legend input")) if (box.checked !== visible) box.click();
  });
}
for (const button of document.querySelectorAll("#downloads button")) button.addEventListener("click", () => download(button.dataset.save));
showSegments($("languages"), ["curl", "Python", "gRPC"].map((value) => ({ value, title: value, checked: value === "curl" })), (value) => { state.language = value; showCall(); });
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("call").textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("call")); // no clipboard on plain http: marked, to be copied by hand
    $("copy").textContent = "Press Ctrl+C";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
});

for (const name of ["dragenter", "dragover"]) addEventListener(name, (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dragging"); addFiles(event.dataTransfer.files); });
addEventListener("paste", (event) => event.clipboardData.files.length && addFiles(event.clipboardData.files));

$("key-open").addEventListener("click", () => { $("key").value = key(); $("key-dialog").showModal(); });
$("key-forget").addEventListener("click", () => { setKey(""); $("key-dialog").close(); showCall(); });
$("key-dialog").addEventListener("close", () => {
  if ($("key-dialog").returnValue !== "use") return;
  $("key-dialog").returnValue = "";
  setKey($("key").value.trim());
  $("key").value = "";
  if (state.model) { hideProblem(); showCall(); } else connect();
});

let stream = null;
function closeCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  $("camera-dialog").close();
}
$("camera-open").addEventListener("click", () => attempt(async () => {
  if (!navigator.mediaDevices) throw new Problem("Browsers give a camera only to pages of https:// or localhost; open this page under such an address.");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch (error) {
    throw new Problem(error.name === "NotAllowedError" ? "The browser did not allow the camera; allow it beside the address, then try again." : "There is no camera that this browser can use; connect one, then try again.");
  }
  $("video").srcObject = stream;
  $("camera-take").disabled = true;
  $("camera-dialog").showModal();
  await $("video").play();
  $("camera-take").disabled = false;
}));
$("camera-close").addEventListener("click", closeCamera);
$("camera-dialog").addEventListener("cancel", closeCamera);
$("camera-take").addEventListener("click", () => {
  const video = $("video");
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  closeCamera();
  const spec = state.model?.modalities.find(({ encoding }) => encoding === "imagenet");
  if (spec) canvas.toBlob((blob) => setInput(spec, new File([blob], "webcam.jpg", { type: blob.type })), "image/jpeg", 0.92);
});

connect();
