"""What the metadata says about inputs, without the cost of an export."""

import dataclasses

import pytest

from geminifusion_export.build import _trained_without
from geminifusion_export.errors import ExportError
from geminifusion_export.graph import modality_spec
from geminifusion_model import GeminiFusionConfig
from geminifusion_model.checkpoint import CheckpointInfo
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.training.recipes.named import nyuv2_b0_from_scratch, nyuv2_b0_robust

RGB, DEPTH = nyuv2_task(13).modalities


@pytest.mark.parametrize("encoding", ["metric", "inverse", "log"])
def test_depth_is_sent_in_metres_however_it_is_encoded(encoding):
    spec = modality_spec(dataclasses.replace(DEPTH, encoding=encoding, range=(0.5, 10.0)), optional=True)
    assert (spec.dtype, spec.channels, spec.unit, spec.encoding) == ("float32", 1, "metre", encoding)
    assert spec.invalid == (0.0, None)
    assert spec.optional


def test_images_that_cannot_be_decoded_yet_are_refused():
    with pytest.raises(ExportError, match="encoded as raw, which cannot be served yet"):
        modality_spec(dataclasses.replace(DEPTH, encoding="raw"))


@pytest.mark.parametrize(("recipe", "expected"), [(nyuv2_b0_robust, True), (nyuv2_b0_from_scratch, False)])
def test_a_modality_may_be_absent_if_training_left_it_out(recipe, expected):
    record = {"config": recipe().model_dump(mode="json")}
    assert _trained_without(CheckpointInfo(network=GeminiFusionConfig(), training=record), "depth") is expected
    assert _trained_without(CheckpointInfo(network=GeminiFusionConfig(), training=record), "thermal") is False
    assert _trained_without(CheckpointInfo(network=GeminiFusionConfig()), "depth") is False
