"""Files of the original authors, from import to served masks that equal the original's arithmetic in torch."""

import dataclasses
import itertools
import json

import cv2
import httpx
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geminifusion import Client, load
from geminifusion.server_process import running_server
from geminifusion_export.build import ExportOptions, build_artifact
from geminifusion_model import load_official
from geminifusion_model.weights.importing import import_weights
from geminifusion_runtime.bundled import demo_pairs

METRES_PER_UNIT = 10 / 255
PATIENCE_S = 600  # large networks are slow to warm up on a busy machine
MEAN, STD = (torch.tensor(v)[None, :, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A released network and the original's preprocessing for it (shorter side, bicubic or bilinear logits)."""

    golden: str
    task: str
    shorter_side: int
    upsampling: str
    num_modalities: int | None = None
    modalities: tuple[str, ...] = ("rgb", "depth")
    sizes: tuple[tuple[int, int], ...] = ((480, 640), (437, 613))

    @property
    def is_deliver(self):
        return self.task == "deliver-25"


SLOW, BY_HAND = pytest.mark.slow, pytest.mark.exhaustive
NYU = {"task": "nyuv2-40", "shorter_side": 480, "upsampling": "bicubic"}
SUN = {"task": "sunrgbd-37", "shorter_side": 480, "upsampling": "bicubic", "sizes": ((530, 730), (427, 561))}
DELIVER = {"task": "deliver-25", "shorter_side": 1024, "upsampling": "bilinear", "sizes": ((1042, 1042), (511, 700))}
FOUR = ("rgb", "depth", "event", "lidar")
CASES = [
    pytest.param(Case(golden="mit_b0_b1_64x96", **NYU), id="mit_b0", marks=SLOW),
    pytest.param(Case(golden="mit_b3_b1_64x64", **NYU), id="mit_b3", marks=BY_HAND),
    pytest.param(Case(golden="swin_tiny_b1_64x64", **NYU), id="swin_tiny", marks=BY_HAND),
    pytest.param(Case(golden="mit_b0_b1_70x90_nc37", **SUN), id="sun_mit_b0", marks=SLOW),
    pytest.param(
        Case(golden="deliver_b2_rgbdel_b1_64x64", num_modalities=2, **DELIVER), id="deliver_rgbd", marks=BY_HAND
    ),
    pytest.param(
        Case(golden="deliver_b2_rgbdel_b1_64x64", modalities=FOUR, **DELIVER), id="deliver_rgbdel", marks=BY_HAND
    ),
]


def original_labels(net, case, images):
    """The original's evaluation on one frame, labels at the frame's own size: `REPORT (f)` in few lines.

    The shorter side to S, both sides up to multiples of 32 by a second resize, without antialiasing; RGB normalized,
    every other stored value over 255; the ensemble's logits enlarged once.
    """
    height, width = images["rgb"].shape[:2]
    shorter = min(height, width)
    first = tuple(int(side * case.shorter_side / shorter + 0.5) for side in (height, width))
    second = tuple(-(-side // 32) * 32 for side in first)
    inputs = []
    for name in case.modalities:
        values = torch.from_numpy(images[name].astype(np.float32))
        planes = values.permute(2, 0, 1)[None] if values.ndim == 3 else values[None, None].repeat(1, 3, 1, 1)
        planes = planes / 255
        if name == "rgb":
            planes = (planes - MEAN) / STD
        for size in (first, second):
            planes = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)
        inputs.append(planes)
    with torch.inference_mode():
        logits = net(*inputs).ensemble
        logits = F.interpolate(logits, size=(height, width), mode=case.upsampling, align_corners=False)
    return logits.argmax(1)[0].numpy().astype(np.uint8)


def frames(case):
    """Real pairs at each size: colour, depth as the original stored it, and made-up images of the other sensors."""
    rng = np.random.default_rng(0)
    for pair, (height, width) in zip(itertools.cycle(demo_pairs().values()), case.sizes, strict=False):
        rgb = cv2.imread(str(pair.rgb))[..., ::-1]
        images = {"rgb": np.ascontiguousarray(cv2.resize(rgb, (width, height)))}
        for name in case.modalities[1:]:
            if case.is_deliver:
                images[name] = cv2.resize(rng.integers(20, 250, (9, 12, 3), np.uint8), (width, height))
            else:
                metres = cv2.imread(str(pair.depth), cv2.IMREAD_UNCHANGED) * np.float32(pair.depth_scale)
                nearest = cv2.resize(metres, (width, height), interpolation=cv2.INTER_NEAREST)
                images[name] = (nearest / METRES_PER_UNIT).round().clip(0, 255).astype(np.uint8)
        yield images


def posted(case, images):
    """What a client has: depth in metres where the network was trained on stored numbers."""
    if case.is_deliver:
        return images
    return images | {"depth": images["depth"].astype(np.float32) * np.float32(METRES_PER_UNIT)}


@pytest.mark.parametrize("case", CASES)
def test_the_originals_file_serves_the_originals_labels(case, original_weights, tmp_path):
    weights = original_weights(case.golden, case.num_modalities)
    path = tmp_path / "model-best.pth.tar"
    saved = (
        weights if case.is_deliver else {"segmenter": {f"module.{k}": v for k, v in weights.items()}, "epoch_start": 9}
    )
    torch.save(saved, path)
    imported = import_weights(
        path, case.task, metres_per_unit=None if case.is_deliver else METRES_PER_UNIT, modalities=case.modalities
    )
    assert imported.report.complete
    imported.write(tmp_path / "checkpoint")
    build_artifact(tmp_path / "checkpoint", tmp_path / "original", ExportOptions(name="original"))
    net, _ = load_official(weights)
    net.eval()
    local = load(tmp_path / "original")
    with (
        running_server(["--artifact", tmp_path / "original"], tmp_path / "server.log", ready_s=PATIENCE_S) as server,
        Client(server.http_url, timeout=PATIENCE_S) as rest,
        Client(server.grpc_url, timeout=PATIENCE_S) as grpc,
    ):
        for images in frames(case):
            sent = posted(case, images)
            here = local(**sent).labels
            assert (here == original_labels(net, case, images)).mean() >= 0.999
            np.testing.assert_array_equal(rest.segment(**sent).labels, here)
            np.testing.assert_array_equal(grpc.segment(**sent).labels, here)
            np.testing.assert_array_equal(open_inference(server.http_url, local.metadata, sent), here)


def open_inference(url, metadata, images):
    """Labels by the Open Inference Protocol, tensors as JSON-free binary."""
    inputs, body = [], b""
    for spec in metadata.modalities:
        array = np.ascontiguousarray(images[spec.name], spec.dtype)[None]
        inputs.append(
            {
                "name": spec.name,
                "shape": list(array.shape),
                "datatype": {"uint8": "UINT8", "float32": "FP32"}[spec.dtype],
                "parameters": {"binary_data_size": array.nbytes},
            }
        )
        body += array.tobytes()
    request = {
        "inputs": inputs,
        "outputs": [{"name": "labels", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(request).encode()
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as http:
        response = http.post(
            f"{url}/v2/models/{metadata.name}/infer",
            content=head + body,
            headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
        )
    assert response.status_code == 200, response.text
    length = int(response.headers["Inference-Header-Content-Length"])
    labels = np.frombuffer(response.content[length:], np.uint8)
    return labels.reshape(next(iter(images.values())).shape[:2])
