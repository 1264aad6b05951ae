"""What the metadata says about inputs, without the cost of an export."""

import dataclasses

import pytest

from geminifusion_export.build import ExportOptions, _trained_without, build_artifact
from geminifusion_export.errors import ExportError
from geminifusion_export.graph import modality_spec
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import CheckpointInfo, write_checkpoint
from geminifusion_model.data.depth_encodings import hha_encoding, raw_encoding, raw_metres_encoding
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.training.recipes.named import nyuv2_b0_from_scratch, nyuv2_b0_robust

RGB, DEPTH = nyuv2_task(13).modalities


@pytest.mark.parametrize("encoding", ["metric", "inverse", "log"])
def test_depth_is_sent_in_metres_however_it_is_encoded(encoding):
    spec = modality_spec(dataclasses.replace(DEPTH, encoding=encoding, range=(0.5, 10.0)), optional=True)
    assert (spec.dtype, spec.channels, spec.unit, spec.encoding) == ("float32", 1, "metre", encoding)
    assert spec.invalid == (0.0, None)
    assert spec.optional


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        (raw_encoding("event", 3), ("uint8", 3, "intensity", (0.0, 1.0))),
        (raw_encoding("thermal", 1), ("uint8", 1, "intensity", (0.0, 1.0))),
        (raw_encoding("thermal", 1, bits=16), ("float32", 1, "count", (0.0, 65535.0))),
        # how checkpoints were written that knew no counts
        (
            dataclasses.replace(raw_encoding("thermal", 3), unit="intensity", range=(0.0, 257.0)),
            ("float32", 3, "count", (0.0, 65535.0)),
        ),
        (hha_encoding("depth"), ("uint8", 3, "intensity", (0.0, 1.0))),
        (raw_metres_encoding("depth", 10 / 255), ("float32", 1, "metre", (0.0, 10.0))),
    ],
)
def test_every_other_encoding_says_what_to_send(encoding, expected):
    spec = modality_spec(encoding)
    assert (spec.dtype, spec.channels, spec.unit, spec.range) == expected
    assert spec.metres_per_unit == encoding.metres_per_unit
    assert (spec.mean, spec.std) == (encoding.mean, encoding.std)


def test_what_nobody_could_send_is_refused_before_anything_is_traced(tmp_path):
    stored = dataclasses.replace(raw_encoding("event", 3), unit="intensity", name="Event camera")
    with pytest.raises(ExportError, match=r"Event camera cannot be served as the task describes it: .* pattern"):
        modality_spec(stored)
    task = dataclasses.replace(nyuv2_task(13), modalities=(RGB, stored))
    net = GeminiFusion(GeminiFusionConfig(num_classes=13))
    write_checkpoint(net, tmp_path / "checkpoint", task=task)
    with pytest.raises(ExportError, match="Event camera cannot be served"):
        build_artifact(tmp_path / "checkpoint", tmp_path / "artifact", ExportOptions(name="event"))


@pytest.mark.parametrize(("recipe", "expected"), [(nyuv2_b0_robust, True), (nyuv2_b0_from_scratch, False)])
def test_a_modality_may_be_absent_if_training_left_it_out(recipe, expected):
    record = {"config": recipe().model_dump(mode="json")}
    assert _trained_without(CheckpointInfo(network=GeminiFusionConfig(), training=record), "depth") is expected
    assert _trained_without(CheckpointInfo(network=GeminiFusionConfig(), training=record), "rgb") is expected
    assert _trained_without(CheckpointInfo(network=GeminiFusionConfig(), training=record), "thermal") is False
    assert _trained_without(CheckpointInfo(network=GeminiFusionConfig()), "depth") is False
