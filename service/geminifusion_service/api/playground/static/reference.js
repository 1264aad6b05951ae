// The reference: what /openapi.json says, to read, and a way to send the calls that only ask.

import { call, json, key, setKey } from "./api.js";
import { $, el } from "./dom.js";
import "./theme-button.js";

const MOST_SHOWN = 20_000; // characters of a response

function typeOf(schema = {}) {
  if (schema.enum) return schema.enum.join(" · ");
  const range = [["exclusiveMinimum", "above"], ["minimum", "from"], ["maximum", "to"], ["maxItems", "at most"]]
    .filter(([name]) => name in schema).map(([name, word]) => `${word} ${schema[name]}`).join(" ");
  const kind = { binary: "file", byte: "base64" }[schema.format] ?? (schema.type === "array" ? `${schema.items?.type ?? "value"}s, separated by commas` : schema.type ?? "");
  return [kind, range].filter(Boolean).join(", ");
}

function table(head, rows) {
  return el("div", { class: "table" }, el("table", {},
    el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows.map(([name, type, text]) => el("tr", {}, el("td", {}, el("code", {}, name)), el("td", type === null ? { hidden: true } : { class: "type" }, type ?? ""), el("td", {}, text ?? ""))))));
}

const titled = (title, ...content) => (content.some(Boolean) ? [el("h3", {}, title), ...content.filter(Boolean)] : []);
/** Backticks as code. */
const words = (text = "") => text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));

function bodies(requestBody) {
  return Object.entries(requestBody?.content ?? {}).flatMap(([type, { schema }]) => {
    const properties = Object.entries(schema?.properties ?? {});
    return [el("p", {}, el("code", {}, type), schema?.description ? `: ${schema.description}` : ""),
      properties.length ? table(["Part", "Type", ""], properties.map(([name, one]) => [name + (schema.required?.includes(name) ? " *" : ""), typeOf(one), one.description])) : null];
  });
}

function sender(path, parameters) {
  const fields = parameters.filter((one) => one.in === "path").map(({ name }) => el("label", {}, `${name} `, el("input", { name, required: true, autocomplete: "off" })));
  const shown = el("pre", { tabIndex: 0, hidden: true, "aria-live": "polite" });
  const form = el("form", { class: "row", onsubmit: async (event) => {
    event.preventDefault();
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(form.elements[name].value));
    const began = performance.now();
    shown.hidden = false;
    try {
      const response = await call(filled.slice(1));
      const text = await response.text();
      const pretty = response.headers.get("content-type")?.includes("json") && text ? JSON.stringify(JSON.parse(text), null, 2) : text;
      shown.textContent = `${response.status} in ${(performance.now() - began).toFixed(0)} ms\n\n${pretty.slice(0, MOST_SHOWN)}${pretty.length > MOST_SHOWN ? "\n…" : ""}`;
    } catch (error) {
      shown.textContent = `${error.status ?? ""} ${error.message}`.trim();
    }
  } }, ...fields, el("button", {}, "Send"));
  return [form, shown];
}

function operation(path, verb, what) {
  const parameters = what.parameters ?? [];
  const options = parameters.filter((one) => one.in !== "path");
  return el("details", { class: "operation", "data-text": `${path} ${verb} ${JSON.stringify(what)}`.toLowerCase() },
    el("summary", {}, el("span", { class: `verb ${verb}` }, verb.toUpperCase()), el("span", { class: "path" }, path), el("span", { class: "what" }, what.summary ?? "")),
    el("div", {},
      el("p", {}, ...words(what.description)),
      ...titled("Options of the query", options.length && table(["Name", "Type", ""], options.map((one) => [one.name, typeOf(one.schema), one.description]))),
      ...titled("Body", ...bodies(what.requestBody)),
      ...titled("Responses", table(["Status", "", "Meaning"], Object.entries(what.responses ?? {}).map(([status, { description }]) => [status, null, description]))),
      ...titled("Examples", ...(what["x-codeSamples"] ?? []).map(({ label, source }) => el("pre", { tabIndex: 0, "aria-label": label }, el("code", {}, source)))),
      ...(verb === "get" ? titled("Try it", ...sender(path, parameters)) : [])));
}

async function show() {
  $("key-form").hidden = true;
  $("problem-text").textContent = "";
  let document;
  try {
    document = await json("openapi.json");
  } catch (error) {
    $("problem-text").textContent = error.message;
    $("key-form").hidden = error.status !== 401;
    return;
  }
  const byTag = new Map(document.tags.map(({ name }) => [name, []]));
  for (const [path, operations] of Object.entries(document.paths))
    for (const [verb, what] of Object.entries(operations)) byTag.get(what.tags[0]).push(operation(path, verb, what));
  $("operations").replaceChildren(...[...byTag].filter(([, list]) => list.length).map(([tag, list]) => el("section", {}, el("h2", {}, tag), ...list)));
  $("operations").querySelector("details").open = true;
  globalThis.document.querySelector("main").removeAttribute("aria-busy");
}

$("find").addEventListener("input", ({ target }) => {
  const wanted = target.value.toLowerCase().trim();
  for (const one of document.querySelectorAll(".operation")) one.hidden = !one.dataset.text.includes(wanted);
  for (const group of document.querySelectorAll("#operations section")) group.hidden = !group.querySelector(".operation:not([hidden])");
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value.trim());
  show();
});
$("document").hidden = !!key(); // a link carries no key
show();
