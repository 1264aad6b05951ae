"""Networks of other sensors, from training on generated data to a server asked by the client and by tritonclient."""

import json
import subprocess

import cv2
import numpy as np
import pytest

from geminifusion import Client, load
from geminifusion.server_process import running_server
from geminifusion_export.build import ExportOptions, build_artifact
from geminifusion_model import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.loop.run import TrainingRun

SIZE = (64, 96)
THERMAL = {
    "thermal": {"encoding": "raw", "bits": 16, "range": [28000, 32000], "mean": 117.6, "std": 4.0},
}
FOUR = {
    "depth": {"encoding": "metric", "metres_per_unit": 0.001, "range": [0.3, 10.0], "mean": 2.8, "std": 1.4},
    "event": {"encoding": "raw", "channels": 3},
    "thermal": THERMAL["thermal"],
}


def scene(seed):
    """Noise with one warm, near, moving rectangle: class 1 shows in every sensor but RGB."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SIZE, np.uint8)
    top, left = rng.integers(0, 32), rng.integers(0, 48)
    labels[top : top + 32, left : left + 48] = 1
    noise = rng.integers(0, 200, SIZE)
    return {
        "rgb": rng.integers(0, 256, (*SIZE, 3), np.uint8),
        "depth": (4000 - 2500 * labels.astype(int) + noise).astype(np.uint16),
        "event": np.repeat((200 * labels + noise // 4)[..., None], 3, axis=2).astype(np.uint8),
        "thermal": (29000 + 2000 * labels.astype(int) + noise).astype(np.uint16),
        "labels": labels,
    }


def write_data(root, modalities):
    roles = ["rgb", "labels", *modalities]
    lines = [",".join(roles)]
    root.mkdir()
    for seed in range(8):
        for role in roles:
            assert cv2.imwrite(str(root / f"{seed}_{role}.png"), scene(seed)[role])
        lines.append(",".join(f"{seed}_{role}.png" for role in roles))
    (root / "frames.csv").write_text("\n".join(lines) + "\n")
    contract = {
        "name": "warm rectangles",
        "license": "none",
        "classes": ["background", "body"],
        "modalities": modalities,
        "splits": {"train": "frames.csv", "test": "frames.csv"},
    }
    (root / "dataset.yaml").write_text(json.dumps(contract))  # JSON is YAML
    return open_dataset("folder", root, "train")


@pytest.mark.slow
@pytest.mark.parametrize("modalities", [THERMAL, FOUR], ids=["thermal", "four"])
def test_a_network_of_these_sensors_is_trained_exported_and_served(modalities, clients_python, tmp_path):
    frames = write_data(tmp_path / "data", modalities)
    names = ("rgb", *modalities)
    config = TrainingConfig(
        network=GeminiFusionConfig(num_classes=2, decoder_channels=16, modalities=names, drop_path_rate=0.0),
        augmentation=Augmentation(crop=(64, 64)),
        steps=200,
        batch_size=4,
        learning_rate=1e-3,
        warmup_steps=10,
        evaluate_every=200,
    )
    TrainingRun(config, frames, tmp_path / "run").train()
    build_artifact(tmp_path / "run" / "final", tmp_path / "sensors", ExportOptions(name="sensors"))
    here = load(tmp_path / "sensors")
    unseen = scene(100)
    images = {name: unseen[name] for name in names}
    expected = here(**images).labels
    assert (expected == unseen["labels"]).mean() > 0.9
    with running_server(["--artifact", tmp_path / "sensors"], tmp_path / "server.log") as server:
        for url in (server.http_url, server.grpc_url):
            with Client(url, timeout=60) as client:
                result = client.segment(**images)
            np.testing.assert_array_equal(result.labels, expected)
            assert set(result.modality_weights) == (set(modalities) if len(names) > 2 else set())
        found = by_tritonclient(clients_python, server.http_url, here.metadata, images, tmp_path)
        np.testing.assert_array_equal(found, expected)


_ASK = """
import sys
import numpy as np
import tritonclient.http as triton

address, model, sent, received = sys.argv[1:]
inputs = []
for name, array in np.load(sent).items():
    entry = triton.InferInput(name, list(array.shape), {"uint8": "UINT8", "float32": "FP32"}[array.dtype.name])
    entry.set_data_from_numpy(array)
    inputs.append(entry)
with triton.InferenceServerClient(address) as client:
    np.save(received, client.infer(model, inputs).as_numpy("labels")[0])
"""


def by_tritonclient(python, url, metadata, images, folder):
    arrays = {}
    for spec in metadata.modalities:
        values = images[spec.name]
        arrays[spec.name] = (values * np.float32(0.001) if spec.unit == "metre" else values).astype(spec.dtype)[None]
    np.savez(folder / "sent.npz", **arrays)
    address = url.removeprefix("http://")
    files = [folder / "sent.npz", folder / "received.npy"]
    subprocess.run([python, "-c", _ASK, address, f"{metadata.name}_raw", *files], check=True, timeout=60)
    return np.load(folder / "received.npy")
