// A picture of the webcam as the RGB input.

import { Problem } from "./api.js";
import { $, el } from "./dom.js";
import { setInput } from "./scenes.js";
import { state } from "./state.js";
import { attempt } from "./work.js";

let stream = null;

function closeCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  $("camera-dialog").close();
}

$("camera-open").addEventListener("click", () => attempt("Waiting for the camera…", async () => {
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
