"""Weights of others and a task make a checkpoint."""

import json

import golden
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from geminifusion_model import GeminiFusion, GeminiFusionConfig, load_official
from geminifusion_model.checkpoint import CheckpointError, read_info
from geminifusion_model.data.task_files import TaskFileError, task_named
from geminifusion_model.import_commands import import_weights as import_command
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.loop.initialization import start_network
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_model.weights.importing import TaskMismatchError, import_weights
from geminifusion_model.weights.sources import open_weights


def weights_of(name, num_modalities=None):
    """A golden case's weights by the rule, in the original's layout; of DeLiVER also those of fewer modalities."""
    case = golden.MANIFEST["cases"][name]
    shapes = {
        key: shape
        for key, shape in case["params"]
        if num_modalities is None or not ("extra_score" in key or ".ln_2." in key or ".ln_3." in key)
    }
    return golden.with_integers({key: torch.from_numpy(golden.tensor_value(key, s)) for key, s in shapes.items()})


def saved_by_main(weights, path):
    """As the original's main branch writes it: DDP's prefix, counters, and the best score as a NumPy scalar."""
    content = {
        "segmenter": {f"module.{name}": tensor for name, tensor in weights.items()},
        "epoch_start": 300,
        "best_val": np.nanmean(np.array([0.568, np.nan])) * 100.0,
    }
    torch.save(content, path)
    return path


def saved_by_deliver(weights, path):
    """As its DeLiVER branch writes a resumable state."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
    content = {
        "epoch": 7,
        "model_state_dict": weights,
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": np.float32(0.3),
        "scheduler_state_dict": {"base_lrs": [2e-4], "last_epoch": 9},
        "best_miou": np.float64(66.9),
    }
    torch.save(content, path)
    return path


SLOW = pytest.mark.slow
CASES = [
    pytest.param("mit_b0_b1_64x96", None, "nyuv2-40", 0.001, None, id="mit_b0"),
    pytest.param("mit_b0_b1_70x90_nc37", None, "sunrgbd-37", 10 / 255, None, id="sun_mit_b0"),
    pytest.param("mit_b3_b1_64x64", None, "nyuv2-40", "none", None, id="mit_b3", marks=SLOW),
    pytest.param("swin_tiny_b1_64x64", None, "nyuv2-40", 0.0002, None, id="swin_tiny", marks=SLOW),
    pytest.param("deliver_b2_rgbdel_b1_64x64", None, "deliver-25", None, None, id="rgbdel", marks=SLOW),
    pytest.param("deliver_b2_rgbdel_b1_64x64", 2, "deliver-25", None, ("rgb", "depth"), id="rgbd", marks=SLOW),
]


@pytest.mark.parametrize(("case", "num_modalities", "task", "unit", "modalities"), CASES)
def test_the_originals_files_become_checkpoints(tmp_path, case, num_modalities, task, unit, modalities):
    weights = weights_of(case, num_modalities)
    save = saved_by_deliver if "deliver" in case else saved_by_main
    imported = import_weights(
        save(weights, tmp_path / "best.pth.tar"), task, metres_per_unit=unit, modalities=modalities
    )
    assert imported.report.complete
    imported.write(tmp_path / "checkpoint")
    net, info = GeminiFusion.from_pretrained(tmp_path / "checkpoint"), read_info(tmp_path / "checkpoint")
    expected, _ = load_official(weights)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(net.state_dict()[name], tensor), name
    names = modalities or tuple(m.name for m in task_named(task).modalities)
    assert info.task == task_named(task, unit if isinstance(unit, float) else None).only(names)
    assert info.network.modalities == names
    assert "best.pth.tar" in info.training["summary"]


@pytest.fixture(scope="module")
def nyu_file(tmp_path_factory):
    return saved_by_main(weights_of("mit_b0_b1_64x96"), tmp_path_factory.mktemp("nyu") / "model-best.pth.tar")


def test_the_command_prints_a_short_table_and_writes_the_checkpoint(nyu_file, tmp_path):
    arguments = [str(nyu_file), str(tmp_path / "net"), "--task", "nyuv2-40", "--metres-per-unit", "0.0392156863"]
    done = CliRunner().invoke(import_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "365 used, 0 missing, 0 left over, 0 of another shape" in done.output
    assert "mit_b0, fusion geminifusion, 40 classes" in done.output
    assert read_info(tmp_path / "net").task.modalities[1].metres_per_unit == 0.0392156863
    again = CliRunner().invoke(import_command, arguments)
    assert again.exit_code == 2
    assert "exists; remove it" in again.output


@pytest.mark.parametrize("value", ["0", "-1", "inf", "metres"])
def test_a_unit_that_is_no_length_is_wrong_usage(nyu_file, tmp_path, value):
    arguments = [str(nyu_file), str(tmp_path / "net"), "--task", "nyuv2-40", "--metres-per-unit", value]
    refused = CliRunner().invoke(import_command, arguments)
    assert refused.exit_code == 2
    assert "neither a positive number of metres nor none" in " ".join(refused.output.split())


@pytest.mark.parametrize(
    ("task", "options", "error", "complaint"),
    [
        (
            "nyuv2-40",
            {},
            TaskMismatchError,
            r"say it with --metres-per-unit: 0\.0392156863 .* 0\.001 .* 0\.0002 .* none",
        ),
        ("nyu40", {}, TaskFileError, r"there is none of that name; the nearest names are nyuv2-40"),
        (
            "sunrgbd-37",
            {},
            TaskMismatchError,
            r"predicts 40 classes, and sunrgbd-37 has 37; .*with 40 classes: nyuv2-40",
        ),
        ("nyuv2-40", {"modalities": ("rgb",)}, TaskMismatchError, r"is a network of 2 modalities, and rgb were asked"),
        (
            "nyuv2-40",
            {"modalities": ("rgb", "event"), "metres_per_unit": None},
            TaskMismatchError,
            r"has the modalities",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(nyu_file, task, options, error, complaint):
    with pytest.raises(error, match=complaint) as refused:
        import_weights(nyu_file, task, **options)
    assert "\n" not in str(refused.value)


def test_two_of_four_modalities_have_to_be_named(tmp_path):
    path = saved_by_deliver(weights_of("deliver_b0_rgbdel_b1_64x96", 2), tmp_path / "b0.pth")
    with pytest.raises(
        TaskMismatchError, match=r"network of 2 modalities, and deliver-25 has rgb, depth, event, lidar"
    ):
        import_weights(path, "deliver-25")
    imported = import_weights(path, "deliver-25", modalities=("rgb", "event"))
    assert imported.net.config.modalities == ("rgb", "event")
    with pytest.raises(TaskMismatchError, match="leave the option out"):
        import_weights(path, "deliver-25", modalities=("rgb", "event"), metres_per_unit=0.001)


def test_incomplete_weights_name_what_is_missing_and_left_over(tmp_path):
    weights = weights_of("mit_b0_b1_64x96")
    del weights["encoder.block1.0.attn.k_noise.weight"]
    weights["encoder.extra"] = torch.zeros(1)
    path = saved_by_main(weights, tmp_path / "broken.pth")
    with pytest.raises(
        OfficialWeightsError, match=r"broken\.pth: .*1 missing: .*k_noise.*1 unexpected: encoder\.extra"
    ):
        import_weights(path, "nyuv2-40", metres_per_unit=0.001)


def test_a_checkpoint_without_a_task_gets_one(tmp_path):
    GeminiFusion(GeminiFusionConfig(num_classes=9, modalities=("rgb", "thermal"))).save_pretrained(tmp_path / "bare")
    imported = import_weights(tmp_path / "bare", "mfnet-9")
    imported.write(tmp_path / "net")
    assert read_info(tmp_path / "net").task == task_named("mfnet-9")
    with pytest.raises(TaskMismatchError, match="was trained on rgb, thermal"):
        import_weights(tmp_path / "bare", "mfnet-9", modalities=("rgb",))


class TestOpenWeights:
    def refused(self, path):
        with pytest.raises(OfficialWeightsError) as error:
            open_weights(path)
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_a_state_dict_of_another_network(self, tmp_path):
        torch.save({"layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
        message = self.refused(tmp_path / "resnet.pth")
        assert "layer1.0.conv1.weight" in message
        assert "expected a checkpoint of ours, GeminiFusion's weights in the original authors' layout" in message

    def test_token_fusion(self, tmp_path):
        weights = weights_of("mit_b0_b1_64x96")
        kept = {n: t for n, t in weights.items() if "cross_attn" not in n and "_noise" not in n and "judger" not in n}
        kept["encoder.score_predictor.0.score_nets.0.0.weight"] = torch.zeros(32)
        assert "these are TokenFusion weights" in self.refused(saved_by_main(kept, tmp_path / "tf.pth"))

    def test_mmsegmentations_own_segformer(self, tmp_path):
        torch.save({"state_dict": {"backbone.layers.0.0.projection.weight": torch.zeros(1)}}, tmp_path / "mm.pth")
        assert "mmsegmentation's own SegFormer" in self.refused(tmp_path / "mm.pth")

    def test_a_detector(self, tmp_path):
        torch.save({"state_dict": {"pts_voxel_encoder.vfe_layers.0.0.weight": torch.zeros(1)}}, tmp_path / "mvx.pth")
        assert "--task object-detection-3d" in self.refused(tmp_path / "mvx.pth")

    def test_a_directory_without_a_configuration(self, tmp_path):
        assert "has no config.json" in self.refused(tmp_path)

    def test_a_directory_of_another_model(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "upernet"}))
        assert "describes upernet" in self.refused(tmp_path)
        with pytest.raises(CheckpointError, match="geminifusion import"):
            read_info(tmp_path)

    def test_the_weight_file_of_a_checkpoint_of_ours(self, tmp_path):
        GeminiFusion(GeminiFusionConfig(num_classes=3, decoder_channels=8)).save_pretrained(tmp_path)
        assert "give its directory" in self.refused(tmp_path / "model.safetensors")

    def test_nothing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            open_weights(tmp_path / "nothing.pth")


class TestStartOfTraining:
    def config(self, **changes):
        from geminifusion_model.data.augment import Augmentation
        from geminifusion_model.training.config import TrainingConfig

        network = GeminiFusionConfig(num_classes=40)
        fields = {"network": network, "augmentation": Augmentation(crop=(32, 32)), "steps": 1, "batch_size": 1}
        return TrainingConfig(**{**fields, "learning_rate": 1e-3, **changes})

    def test_the_originals_file_fills_the_whole_network(self, nyu_file):
        net = start_network(self.config(start_from=str(nyu_file)))
        expected, _ = load_official(nyu_file)
        assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in net.state_dict().items())

    def test_another_file_is_refused(self, tmp_path):
        torch.save({"layer1.weight": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(ConfigError, match=r"start_from is .*other\.pth: .* no weights of a GeminiFusion network"):
            start_network(self.config(start_from=str(tmp_path / "other.pth")))
