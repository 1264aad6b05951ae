// What the page does with the models of each task: the call, what is asked for, the views and the files.

import { TRANSLATION } from "./translation.js";

// Its views follow from the model's modalities, and its answers have maps: see runs.js.
const SEGMENTATION = { verb: "segment", button: "Segment", lead: "What does each pixel show?", views: null, saves: ["png", "overlay", "json", "npz", "ply"], query: { format: "json", confidence: "1", gate: "1" }, ask: null };

// Each gives the model with `does`, one of these, and with all of its inputs and classes.
const OPENED = {
  "semantic-segmentation": async (model) => ({ ...model, does: SEGMENTATION }),
  "image-translation": async (model) => ({ ...model, does: TRANSLATION, classes: [] }),
  "object-detection-3d": async (model) => (await import("./detection.js")).detector(model),
};

/** The described models that are loaded and whose task this page knows. */
export const openModels = (described) => Promise.all(described.filter(({ modalities, task }) => modalities && task in OPENED).map((model) => OPENED[model.task](model)));
