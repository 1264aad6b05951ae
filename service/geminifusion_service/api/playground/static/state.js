// What is chosen, what was answered, and what is shown of it: the one state that all parts of the page share.

import { isMetric } from "./inputs.js";
import { View } from "./panes.js";

export const FULL = ""; // the answer with all inputs; others are named after the one left out

export const view = new View();

export const state = {
  about: { grpc_port: 8001, samples: [] }, models: [], model: null, inputs: new Map(), panes: [], waiting: [],
  runs: [], run: null, without: FULL, shown: "mask", cloudColor: "rgb", language: "curl", hidden: new Set(), layers: {}, map: null, note: "", cancel: null,
};

export const answerNow = () => state.run?.answers.get(state.without) ?? state.run?.answers.get(FULL);

export const depthInput = () => [...(state.run?.inputs ?? state.inputs).values()].find(({ spec, part, values }) => values && (isMetric(spec) || part === "depth"));

export const colors = () => Object.fromEntries(state.model.classes.map(({ id, color }) => [id, color]));

export const at = ({ width, height, values }, x, y) => values[Math.floor((y * height) / view.height) * width + Math.floor((x * width) / view.width)];

export const titleOf = ({ name }) => (name.length < 4 ? name.toUpperCase() : name[0].toUpperCase() + name.slice(1));
