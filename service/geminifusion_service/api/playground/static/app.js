// The page: what starts it, and what its buttons do.

import { key, setKey } from "./api.js";
import { $ } from "./dom.js";
import { chooseModel, connect } from "./models.js";
import { showSegments } from "./panels.js";
import { addFiles, segmentNow, showInputs } from "./scenes.js";
import { forget, resultPane } from "./stage.js";
import { state } from "./state.js";
import { download, showCall } from "./takeaway.js";
import { hideProblem } from "./work.js";
import "./theme-button.js";
import "./webcam.js";

$("opacity").addEventListener("input", () => resultPane.redraw());
$("segment").addEventListener("click", segmentNow);
$("clear").addEventListener("click", () => {
  if (!state.model) return;
  state.inputs.clear();
  forget();
  hideProblem();
  showInputs();
});
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

connect();
