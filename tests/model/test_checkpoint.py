import json

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import CheckpointError, read_info, write_checkpoint
from geminifusion_model.data.nyuv2 import nyuv2_task

CONFIG = GeminiFusionConfig(num_classes=13, decoder_channels=16)


def test_network_survives_a_round_trip(tmp_path):
    net = GeminiFusion(CONFIG)
    net.save_pretrained(tmp_path / "checkpoint")
    loaded = GeminiFusion.from_pretrained(tmp_path / "checkpoint")
    assert loaded.config == CONFIG
    assert not loaded.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_task_and_training_record_survive_a_round_trip(tmp_path):
    write_checkpoint(GeminiFusion(CONFIG), tmp_path, task=nyuv2_task(13), training={"steps": 3})
    info = read_info(tmp_path)
    assert info.task == nyuv2_task(13)
    assert info.training == {"steps": 3}


@pytest.mark.parametrize(
    ("part", "changes", "complaint"),
    [
        ("network", {"wings": 2}, r"network does not validate \(wings: there is no such field\)"),
        ("network", {"encoder": "mit_b9"}, r"network does not validate \(encoder is 'mit_b9'; expected one of mit_b0"),
        ("network", {"num_classes": "many"}, r"num_classes: Input should be a valid integer"),
        ("task", {"wings": 2}, r"task does not validate \(wings: there is no such field\)"),
        ("task", {"input_scale": 0.3}, r"input_scale is 0\.3; expected a multiple of 1/16"),
        ("task", {"palette": [[0, 0]]}, r"palette\.0\.2: Field required"),
    ],
)
def test_description_that_does_not_validate_is_refused_with_its_fields(tmp_path, part, changes, complaint):
    write_checkpoint(GeminiFusion(CONFIG), tmp_path, task=nyuv2_task(13))
    description = json.loads((tmp_path / "config.json").read_text())
    description[part] |= changes
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=complaint) as refused:
        read_info(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "null", '{"network": {}, "training": [1]}'])
def test_json_that_is_no_description_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_info(tmp_path)


def test_task_that_leaves_a_field_out_is_refused_rather_than_guessed(tmp_path):
    write_checkpoint(GeminiFusion(CONFIG), tmp_path, task=nyuv2_task(13))
    description = json.loads((tmp_path / "config.json").read_text())
    del description["task"]["input_scale"]
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="the task has no input_scale"):
        read_info(tmp_path)


def test_folder_without_a_checkpoint_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no config\.json; give a directory"):
        GeminiFusion.from_pretrained(tmp_path)


def test_damaged_or_missing_weights_are_refused(tmp_path):
    GeminiFusion(CONFIG).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit"):
        GeminiFusion.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        GeminiFusion.from_pretrained(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path):
    GeminiFusion(CONFIG).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["network"]["num_classes"] = 7
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="classify"):
        GeminiFusion.from_pretrained(tmp_path)


def test_state_dict_keys_are_the_published_ones():
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in GeminiFusion(CONFIG).state_dict().items()}
    published = {
        "ensemble_logits": (2,),
        "encoder.stages.0.patch_embed.conv.weight": (32, 3, 7, 7),
        "encoder.stages.0.patch_embed.norm.weight": (2, 32),
        "encoder.stages.1.blocks.1.norm1.bias": (2, 64),
        "encoder.stages.0.blocks.0.attention.query.weight": (32, 32),
        "encoder.stages.0.blocks.0.attention.key_value.weight": (64, 32),
        "encoder.stages.0.blocks.0.attention.reduce.conv.weight": (32, 32, 8, 8),
        "encoder.stages.0.blocks.0.attention.reduce.norm.weight": (2, 32),
        "encoder.stages.0.blocks.0.attention.output.bias": (32,),
        "encoder.stages.3.blocks.0.attention.fusion.in_proj_weight": (2, 768, 256),
        "encoder.stages.3.blocks.0.attention.fusion.out_proj_bias": (2, 256),
        "encoder.stages.3.blocks.0.attention.fusion.key_noise": (2, 256),
        "encoder.stages.3.blocks.0.attention.fusion.value_noise": (2, 256),
        "encoder.stages.3.blocks.0.attention.fusion.relation.fc1.weight": (256, 512),
        "encoder.stages.2.blocks.0.mlp.depthwise.weight": (640, 1, 3, 3),
        "encoder.stages.3.norm.weight": (2, 256),
        "decoder.project.2.weight": (16, 160),
        "decoder.fuse.weight": (16, 64, 1, 1),
        "decoder.norm.running_var": (16,),
        "decoder.classify.weight": (13, 16, 1, 1),
    }
    assert {name: shapes.get(name) for name in published} == published
