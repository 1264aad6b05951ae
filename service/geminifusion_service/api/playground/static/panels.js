// What stands around the images: classes, times, history, options. Each function draws one of them anew.

import { $, el, swatch } from "./dom.js";
import { isMetric, percent } from "./inputs.js";

const metres = (value) => (value == null ? "" : `${value.toFixed(value < 10 ? 1 : 0)} m`);

/** The sides of a class's box along the camera's axes, where a camera was given. */
const boxOf = (space) => (space ? `, box ${[0, 1, 2].map((i) => (space.box_max_m[i] - space.box_min_m[i]).toFixed(2)).join(" × ")} m` : "");

/** Every class of the model: those in the image first, with share and nearest distance. */
export function showLegend(classes, shares, hidden, onToggle) {
  const found = new Map(shares.map((share) => [share.id, share]));
  const order = [...shares.map(({ id }) => id), ...classes.map(({ id }) => id).filter((id) => !found.has(id))];
  const byId = new Map(classes.map((one) => [one.id, one]));
  $("legend").replaceChildren(...order.map((id) => {
    const [{ name, color }, share] = [byId.get(id), found.get(id)];
    const bar = el("span", { class: "bar" }, el("i"));
    bar.firstChild.style.width = `${100 * (share?.fraction ?? 0)}%`;
    bar.firstChild.style.backgroundColor = `rgb(${color.join(" ")})`;
    const box = el("input", { type: "checkbox", checked: !hidden.has(id), onchange: ({ target }) => onToggle(id, target.checked) });
    const facts = share && el("span", { class: "facts" }, el("b", {}, String(share.count ?? percent(share.fraction))),
      share.nearest_depth_m == null ? null : ` from ${metres(share.nearest_depth_m)}`);
    if (share?.median_depth_m != null) facts.title = `nearest ${metres(share.nearest_depth_m)}, median ${metres(share.median_depth_m)}${boxOf(share.space)}`;
    return el("li", {}, el("label", share ? {} : { class: "absent" }, box, swatch(color), el("span", { class: "name" }, name), facts, share && bar));
  }));
}

const STAGES = ["decode", "queue", "compute", "encode"];

/** The stages of an answer, or of none. */
export function showTimes(answer) {
  if (!answer) {
    for (const id of ["time-total", "time-bar", "time-list", "notes"]) $(id).replaceChildren();
    $("time-bar").setAttribute("aria-label", "No run yet");
    return;
  }
  const { document: { timings_ms: times, batch_size: batch, warnings }, ms } = answer;
  const rest = Math.max(0, ms - STAGES.reduce((sum, stage) => sum + times[stage], 0));
  const parts = [...STAGES.map((stage) => [stage, times[stage]]), ["network and browser", rest]];
  $("time-total").textContent = `${ms.toFixed(0)} ms${batch > 1 ? `, in a batch of ${batch}` : ""}`;
  $("time-bar").setAttribute("aria-label", parts.map(([stage, value]) => `${stage} ${value.toFixed(1)} ms`).join(", "));
  $("time-bar").replaceChildren(...parts.map(([, value], i) => {
    const part = el("i", { class: `t${i}` });
    part.style.flexGrow = value / ms;
    return part;
  }));
  $("time-list").replaceChildren(...parts.map(([stage, value], i) => el("li", {}, el("i", { class: `swatch t${i}` }), `${stage} ${value.toFixed(1)} ms`)));
  $("notes").textContent = warnings.length ? `The server notes: ${warnings.join("; ")}.` : "";
}

export function showHistory(runs, current, onChoose) {
  if (!runs.length) return;
  $("history").replaceChildren(...runs.map((run, i) => el("li", {},
    el("button", { type: "button", "aria-current": String(run === current), title: run.title, onclick: () => onChoose(run) },
      thumbnail(run), el("span", {}, `${runs.length - i}. ${run.title}`)))));
}

function thumbnail({ picture }) {
  const canvas = el("canvas", { width: 208, height: 156, "aria-hidden": "true" });
  const scale = Math.min(208 / picture.width, 156 / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  canvas.getContext("2d").drawImage(picture, (208 - width) / 2, (156 - height) / 2, width, height);
  return canvas;
}

/** Fields of the options that depend on the model: units and markers of what measures, camera, alignment. */
export function showOptions(specs, onChange) {
  const field = (name, label, placeholder, pattern) =>
    el("label", {}, label, el("input", { name, placeholder, pattern, autocomplete: "off", inputMode: "decimal", onchange: onChange }));
  const numbers = "[0-9.eE,+ -]*";
  // HHA may come as the depth that it is computed from.
  const measuring = specs.map((spec) => (spec.encoding === "hha" ? { ...spec, name: "depth", unit: "metre" } : spec)).filter(({ unit }) => unit !== "intensity");
  const fields = measuring.flatMap((spec) => [
    ...(isMetric(spec) ? [field(`${spec.name}_scale`, `Metres of one stored unit of ${spec.name}`, "0.001 for integers, 1 for floats", numbers)] : []),
    field(`${spec.name}_invalid`, `Stored values of ${spec.name} that mean “not measured”`, "such as 65535", numbers),
  ]);
  if (measuring.some(isMetric))
    fields.push(field("intrinsics", "Camera of the depth, in pixels: fx,fy,cx,cy", "an angle of view of 60° is assumed", numbers));
  if (specs.some(isMetric) && specs.some(({ name }) => name === "rgb"))
    fields.push(
      field("rgb_intrinsics", "To register depth to RGB, the camera of RGB: fx,fy,cx,cy", "depth is taken as aligned", numbers),
      field("extrinsics", "and the twelve numbers of [R|t] from depth to RGB, in metres", "1,0,0,0.025,0,1,0,0,0,0,1,0", numbers));
  if (specs.length > 1)
    fields.push(el("label", { class: "check" }, el("input", { type: "checkbox", name: "align", onchange: onChange }), "Scale all images to the size of the first"));
  $("option-fields").replaceChildren(...fields);
}

export const option = (name) => document.querySelector(`#option-fields [name="${name}"]`);

/** A group of which one is chosen: native radio buttons, so that a keyboard works as everywhere. */
export function showSegments(group, choices, onChoose) {
  const legend = group.querySelector("legend");
  group.replaceChildren(legend, ...choices.map(({ value, title, checked, disabled, why }) =>
    el("label", { title: why ?? "" }, el("input", { type: "radio", name: group.id, value, checked: !!checked, disabled: !!disabled, onchange: () => onChoose(value) }), title)));
}
