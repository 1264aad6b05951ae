// One thing at a time, and what went wrong with it in words.

import { Problem } from "./api.js";
import { $, el } from "./dom.js";
import { option } from "./panels.js";
import { segmentNow } from "./scenes.js";
import { state } from "./state.js";

/** Do one thing, which ends what was being done, with its problem on screen. */
export async function attempt(text, work) {
  const cancel = new AbortController();
  state.cancel?.abort();
  state.cancel = cancel;
  hideProblem();
  $("busy-text").textContent = text;
  const slow = setTimeout(() => { $("busy").hidden = false; }, 120); // a fast answer needs no flicker
  try {
    await work(cancel.signal);
  } catch (error) {
    if (!cancel.signal.aborted) showProblem(error, null);
  } finally {
    clearTimeout(slow);
    if (state.cancel === cancel) $("busy").hidden = true;
  }
}

export function showProblem(error, again) {
  if (!(error instanceof Problem)) console.error(error);
  const text = error instanceof Problem ? error.message : `This page failed: ${error.message}. Reload it; if that does not help, report it.`;
  const actions = [];
  if (error.code === "unauthenticated" || error.status === 401) actions.push(el("button", { type: "button", onclick: () => $("key-dialog").showModal() }, "Enter the key"));
  if (/align=resize/.test(text) && option("align")) actions.push(el("button", { type: "button", onclick: () => { option("align").checked = true; segmentNow(); } }, "Scale it"));
  if (again) actions.push(el("button", { type: "button", onclick: again }, "Try again"));
  else actions.push(el("button", { type: "button", onclick: hideProblem }, "Close"));
  $("problem").replaceChildren(el("div", {}, text, error.requestId ? el("small", {}, `${error.code}, request ${error.requestId}`) : null), ...actions);
  $("problem").hidden = false;
}

export function hideProblem() {
  $("problem").hidden = true;
}
