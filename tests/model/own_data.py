"""Small folders of one's own data: RGB and depth of three classes, with changes where a test wants them."""

import numpy as np
import yaml
from PIL import Image

SIZE = (64, 96)
METRIC = {"encoding": "metric", "metres_per_unit": 0.001, "range": [0.3, 10.0], "mean": 2.0, "std": 1.0}


def scene(number):
    """Labels: two halves and a block that moves."""
    labels = np.zeros(SIZE, np.uint8)
    labels[32:] = 1
    labels[10:40, 20 + 10 * number : 50 + 10 * number] = 2
    return labels


def write_png(path, image):
    Image.fromarray(image).save(path)


def write_own_data(
    root,
    *,
    classes=("a", "b", "c"),
    labels=None,
    write_labels=write_png,
    write_other=write_png,
    other=lambda labels: 1000 + 1000 * labels.astype(np.uint16),
    name="depth",
    modality=None,
    frames=4,
    **contract,
):
    random = np.random.default_rng(0)
    roles = ("rgb", "labels", name)
    for split in ("train", "test"):
        for role in roles:
            (root / split / role).mkdir(parents=True, exist_ok=True)
        for number in range(frames):
            found = scene(number % 4)
            rgb = (found[..., None] * 80 + random.integers(0, 40, (*SIZE, 3))).astype(np.uint8)
            write_png(root / split / "rgb" / f"{number}.png", rgb)
            write_labels(root / split / "labels" / f"{number}.png", found)
            write_other(root / split / name / f"{number}.png", other(found))
    content = {
        "name": "own",
        "license": "CC0-1.0",
        "classes": list(classes),
        "labels": {"void": [255]} if labels is None else labels,
        "modalities": {name: modality or METRIC},
        "splits": {split: {role: f"{split}/{role}" for role in roles} for split in ("train", "test")},
        **contract,
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump(content))
    return root
