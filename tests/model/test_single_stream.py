"""The network that sees the RGB alone: what it computes, and every step from images to a score."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import read_info
from geminifusion_model.commands import evaluate, train
from geminifusion_model.data.dataset_names import DATASETS
from geminifusion_model.data.deliver import deliver
from geminifusion_model.data.loader import collate
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.evaluation.corruptions import conditions
from geminifusion_model.fusions.registry import FUSIONS
from geminifusion_model.inference_form import InferenceForm
from geminifusion_model.training.loop.loss import segmentation_losses
from geminifusion_model.weights.filling import single_stream_name
from geminifusion_model.weights.imagenet import load_imagenet
from geminifusion_model.weights.official_names import official_names

SMALL = {"num_classes": 5, "decoder_channels": 16, "fusion": "none"}
ENCODERS = ["mit_b0", "swin_tiny"]


def alone(encoder):
    torch.manual_seed(1)
    return GeminiFusion(GeminiFusionConfig(encoder=encoder, modalities=("rgb",), **SMALL)).eval()


def pair(encoder):
    """A two-stream network whose streams have norms of their own."""
    torch.manual_seed(2)
    net = GeminiFusion(GeminiFusionConfig(encoder=encoder, **SMALL)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def images(batch=2, size=(64, 96)):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


class TestNetwork:
    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_it_is_the_rgb_stream_of_two_unfused_streams(self, encoder):
        single, double = alone(encoder), pair(encoder)
        weights, own = double.state_dict(), single.state_dict()
        assert weights.keys() == own.keys()
        single.load_state_dict({n: v if v.shape == own[n].shape else v[:1] for n, v in weights.items()})
        rgb = images(1, (48, 64))
        with torch.no_grad():
            prediction = single(rgb)
            torch.testing.assert_close(
                prediction.per_stream[0], double(rgb, torch.randn_like(rgb)).per_stream[0], rtol=0, atol=1e-5
            )
        assert len(prediction.per_stream) == 1
        assert torch.equal(prediction.ensemble, prediction.per_stream[0])

    @pytest.mark.parametrize(
        ("encoder", "shape"),
        [("mit_b0", (2, (64, 96))), ("mit_b0", (1, (29, 29))), ("swin_tiny", (2, (38, 45)))],
    )
    def test_inference_form_equals_the_training_form(self, encoder, shape):
        net, rgb = alone(encoder), images(*shape)
        with torch.no_grad():
            output = InferenceForm(net)(rgb)
            torch.testing.assert_close(output.logits, net(rgb).ensemble, rtol=0, atol=1e-5)
        assert not output.gate.any(), "there is nothing else to attend to"

    def test_gradients_reach_every_parameter(self):
        net = alone("mit_b0").train()
        labels = torch.randint(0, 5, (1, 48, 64))
        sum(segmentation_losses(net(images(1, (48, 64))), labels)).backward()
        assert [name for name, p in net.named_parameters() if p.grad is None] == []

    @pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "none"])
    def test_a_fusion_needs_a_second_modality(self, fusion):
        with pytest.raises(ValueError, match=r"fusion is .* nothing to be fused with: set fusion to 'none'"):
            GeminiFusionConfig(modalities=("rgb",), fusion=fusion)

    def test_a_second_input_is_refused(self):
        with pytest.raises(ValueError, match="got 2 inputs; expected 1: rgb"):
            alone("mit_b0")(images(), images())

    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_an_imagenet_classifier_fills_its_encoder(self, encoder):
        net = alone(encoder)
        classifier = {}
        for name, parameter in net.state_dict().items():
            official = official_names(name, parameter, encoder)[0]
            found = single_stream_name(official)
            if found is not None:
                classifier[found] = torch.randn(parameter.shape[1:] if ".ln_" in official else parameter.shape)
        assert load_imagenet(net, classifier).complete
        name = "encoder.stages.0.patch_embed.norm" if encoder == "mit_b0" else "encoder.patch_embed.norm"
        stored = classifier[single_stream_name(official_names(f"{name}.bias", torch.zeros(1, 1), encoder)[0])]
        assert torch.equal(net.state_dict()[f"{name}.bias"], stored[None])


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures and labels without any depth, in every layout there is: four frames to train on and one to test on."""
    root = tmp_path_factory.mktemp("data")
    for number in range(5):
        random = np.random.default_rng(number)
        labels = np.zeros((48, 64), np.uint8)
        labels[:, int(random.integers(16, 48)) :] = 1
        split = "train" if number < 4 else "test"
        write(root / "rgb" / f"{number}.jpg", random.integers(0, 256, (48, 64, 3), np.uint8))
        write(root / "label13" / f"{number}.png", labels)
        write(root / "img" / "sun" / split / "MAP" / f"{number}_rgb_front.png", np.zeros((48, 64, 3), np.uint8))
        write(root / "semantic" / "sun" / split / "MAP" / f"{number}_semantic_front.png", labels + 1)
    for split, numbers in (("train", range(4)), ("test", (4,))):
        (root / f"{split}.txt").write_text("".join(f"{number}\n" for number in numbers))
    lists = root / "lists"
    lists.mkdir()
    for split in ("train", "test"):
        lines = [f"../rgb/{n}.jpg\t../label13/{n}.png" for n in (range(4) if split == "train" else (4,))]
        (lists / f"{split}.txt").write_text("\n".join(lines))
    everything = {"rgb": "rgb", "labels": "label13"}
    contract = {"name": "images", "license": "CC0-1.0", "classes": ["left", "right"], "splits": {"train": everything}}
    (root / "dataset.yaml").write_text(yaml.safe_dump(contract))
    return root


class TestData:
    @pytest.mark.parametrize("kind", DATASETS)
    def test_every_reader_gives_images_without_looking_for_depth(self, data, kind, monkeypatch):
        monkeypatch.setenv("GEMINIFUSION_DATA_FOLDERS", str(data))  # the lists lie beside the images
        root = data / "lists" if kind in ("nyuv2-lists", "sunrgbd") else data
        dataset = open_dataset(kind, root, "train", modalities=("rgb",))
        samples = [dataset[index] for index in range(2)]
        assert [sample.others for sample in samples] == [{}, {}]
        assert [modality.name for modality in dataset.task.modalities] == ["rgb"]
        batch = collate(samples, dataset.task)
        assert [tuple(values.shape) for values in batch.inputs] == [(2, 3, 48, 64)]

    def test_any_modalities_of_a_data_set_may_be_chosen_in_any_order(self, tmp_path):
        for folder, kind in (("img", "rgb"), ("lidar", "lidar"), ("event", "event"), ("semantic", "semantic")):
            write(tmp_path / folder / "sun" / "val" / "MAP" / f"1_{kind}_front.png", np.ones((8, 8, 3), np.uint8))
        assert list(deliver(tmp_path, "val", modalities=("rgb", "lidar"))[0].others) == ["lidar"]
        dataset = open_dataset("deliver", tmp_path, "val", modalities=("rgb", "lidar", "event"))
        assert [modality.name for modality in dataset.task.modalities] == ["rgb", "lidar", "event"]

    @pytest.mark.parametrize("modalities", [("depth",), ("rgb", "rgb"), ("rgb", "thermal")])
    def test_modalities_a_data_set_lacks_are_refused(self, data, modalities):
        with pytest.raises(DatasetError, match=r"has the modalities rgb, depth, and .* were asked for"):
            open_dataset("nyuv2", data, "train", modalities=modalities)

    def test_an_encoding_of_depth_that_is_not_read_is_refused(self, data):
        with pytest.raises(DatasetError, match="no depth is read; leave it out"):
            open_dataset("nyuv2", data, "train", modalities=("rgb",), encoding="log")
        with pytest.raises(DatasetError, match="no depth in metres to compute HHA from"):
            open_dataset("nyuv2", data, "train", modalities=("rgb",), encoding="hha")


def test_a_lone_modality_can_be_noisy_but_not_missing():
    assert [condition.name.split(":")[0] for condition in conditions(("rgb",))] == [
        "all modalities intact", "NM low", "NM mid", "NM high",
    ]  # fmt: skip


def test_network_of_one_modality_is_trained_evaluated_and_calibrated_like_any_other(data, tmp_path):
    settings = [
        "network.modalities=[rgb]", "network.fusion=none", "network.decoder_channels=16", "steps=2", "batch_size=2",
        "holdout=2", "augmentation.crop=[48,64]", "input_scale=1.0",
    ]  # fmt: skip
    arguments = ["--data", data, "--out", tmp_path / "run", "--threads", 1]
    arguments += [part for setting in settings for part in ("--set", setting)]
    trained = CliRunner().invoke(train, list(map(str, arguments)), catch_exceptions=False)
    assert trained.exit_code == 0, trained.output
    final, page = tmp_path / "run" / "final", tmp_path / "report.html"
    info = read_info(final)
    assert info.network.modalities == ("rgb",)
    assert [modality.name for modality in info.task.modalities] == ["rgb"]
    measures = ["--robustness", "--fit-temperature", "--record", "--report", page, "--report-frames", 1]
    arguments = [final, "--data", data, "--threads", 1, *measures]
    scored = CliRunner().invoke(evaluate, list(map(str, arguments)), catch_exceptions=False)
    assert scored.exit_code == 0, scored.output
    assert "NM high" in scored.output
    assert "EMM" not in scored.output
    record = json.loads(json.dumps(read_info(final).training))
    assert record["robustness"]["means"] == {}
    assert record["calibration"]["value"] > 0
    text = page.read_text(encoding="utf-8")
    assert "When sensors fail" in text
    assert "<figcaption>Depth" not in text
    assert "<figcaption>Gate" not in text
