// One pixel in words and numbers.

import { $, el, swatch } from "./dom.js";
import { percent } from "./inputs.js";
import { answerNow, at, depthInput, FULL, state, view } from "./state.js";

function readoutAt({ x, y }) {
  const answer = answerNow();
  const depth = answer?.registered ?? depthInput();
  const metres = depth && at({ ...depth.size, width: depth.size.width, height: depth.size.height, values: depth.values }, x, y);
  const found = { pixel: `${x}, ${y}`, metres: depth ? (metres ? `${metres.toFixed(3)} m` : "hole") : "–", name: "–", confidence: "–", gate: "–" };
  if (answer?.domain) found.name = answer.domain;
  else if (answer?.read) Object.assign(found, answer.read(answer, x, y));
  else if (answer) {
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

export function showReadout() {
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
