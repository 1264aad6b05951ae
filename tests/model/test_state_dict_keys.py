"""The names in `model.safetensors` are a public interface: changing one breaks every checkpoint out there."""

import re

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig

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
