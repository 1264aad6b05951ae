"""The names in `model.safetensors` are a public interface: changing one breaks every checkpoint out there."""

import re

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.detection.config import MVXNET, DetectorConfig
from geminifusion_model.detection.detector import Detector

LINEAR = ("weight", "bias")
FUSION = (
    *(f"{part}_{kind}" for part in ("in_proj", "out_proj") for kind in LINEAR),
    "key_noise",
    "value_noise",
    *(f"relation.{layer}.{kind}" for layer in ("fc1", "fc2") for kind in LINEAR),
)
HEAD = {
    "ensemble_logits",
    "decoder.fuse.weight",
    *(f"decoder.norm.{name}" for name in (*LINEAR, "running_mean", "running_var", "num_batches_tracked")),
    *(f"decoder.{layer}.{kind}" for layer in ("project.*", "classify") for kind in LINEAR),
}
MIT_LAYERS = (
    *("patch_embed.conv", "patch_embed.norm", "norm", "blocks.*.norm1", "blocks.*.norm2"),
    *(f"blocks.*.attention.{part}" for part in ("query", "key_value", "output", "reduce.conv", "reduce.norm")),
    *(f"blocks.*.mlp.{part}" for part in ("fc1", "depthwise", "fc2")),
)
MIT = {
    *(f"encoder.stages.*.{layer}.{kind}" for layer in MIT_LAYERS for kind in LINEAR),
    *(f"encoder.stages.*.blocks.*.attention.fusion.{name}" for name in FUSION),
}
MERGE = {
    f"encoder.stages.*.merge.score_nets.*.{layer}.{kind}" for layer in ("depthwise", "pointwise") for kind in LINEAR
}
SWIN_LAYERS = (
    *("norm", "merge.norm", "blocks.*.norm1", "blocks.*.norm2"),
    *(f"blocks.*.{part}" for part in ("attention.qkv", "attention.output", "mlp.fc1", "mlp.fc2")),
)
SWIN = {
    *(f"encoder.patch_embed.{layer}.{kind}" for layer in ("conv", "norm") for kind in LINEAR),
    *(f"encoder.stages.*.{layer}.{kind}" for layer in SWIN_LAYERS for kind in LINEAR),
    *(f"encoder.stages.*.blocks.*.fusion.{name}" for name in FUSION),
    "encoder.stages.*.blocks.*.attention.position_bias",
    "encoder.stages.*.merge.reduction.weight",
}
NORM = (*LINEAR, "running_mean", "running_var", "num_batches_tracked")
NORM_OF = tuple(f"norm.{name}" for name in NORM)
POINT_FUSION = {
    "share_logits",
    *(f"lateral.*.{kind}" for kind in LINEAR),
    *(f"{stream}_projection.linear.{kind}" for stream in ("image", "point") for kind in LINEAR),
    *(f"{stream}_projection.norm.{name}" for stream in ("image", "point") for name in NORM),
    *(f"fusion.{name}" for name in FUSION),
}
DETECTOR = {
    *(f"points.{layer}.{name}" for layer in ("first", "second") for name in ("linear.weight", *NORM_OF)),
    *(f"points.{place}_fusion.{name}" for place in ("first", "last") for name in POINT_FUSION),
    *(f"bev.{layer}.{name}" for layer in ("blocks.*.*", "upsample.*") for name in ("conv.weight", *NORM_OF)),
    *(f"head.{layer}.{kind}" for layer in ("classes", "boxes", "directions") for kind in LINEAR),
}
PILLARS = {
    *("image.backbone." + name.removeprefix("encoder.") for name in MIT if ".fusion." not in name),
    *(f"image.neck.{layer}.*.{kind}" for layer in ("lateral", "smooth") for kind in LINEAR),
}
RESNET_LAYERS = ("stem", *(f"stages.*.*.{layer}" for layer in ("reduce", "spatial", "expand", "shortcut")))
SPARSE = {
    *(f"image.backbone.{layer}.{name}" for layer in RESNET_LAYERS for name in ("conv.weight", *NORM_OF)),
    *(f"image.neck.{layer}.*.{name}" for layer in ("lateral", "smooth") for name in ("conv.weight", *NORM_OF)),
    *(f"middle.layers.*.{name}" for name in ("weight", *NORM_OF)),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"encoder": "mit_b1"}, MIT | HEAD),
        ({"modalities": ("rgb", "depth", "event")}, MIT | MERGE | HEAD),
        ({"encoder": "swin_tiny"}, SWIN | HEAD),
    ],
    ids=["mit", "three-modalities", "swin"],
)
def test_checkpoint_names_stay_what_they_are(changes, expected):
    with torch.device("meta"):
        net = GeminiFusion(GeminiFusionConfig(**changes))
    assert {re.sub(r"\.\d+\b", ".*", name) for name in net.state_dict()} == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [(DetectorConfig(), DETECTOR | PILLARS), (MVXNET, DETECTOR | SPARSE)],
    ids=["pillars", "mvxnet"],
)
def test_checkpoint_names_of_detectors_stay_what_they_are(config, expected):
    with torch.device("meta"):
        detector = Detector(config)
    assert {re.sub(r"\.\d+\b", ".*", name) for name in detector.state_dict()} == expected
