import math
import sys

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from distillation_scenario import TinyTeacher, config, write_photographs
from torch.nn import functional as F

from geminifusion_model.data.sample import DatasetError
from geminifusion_model.distil_commands import distil
from geminifusion_model.distillation.batches import CropLoader, held_out
from geminifusion_model.distillation.config import DistillationConfig
from geminifusion_model.distillation.crops import Box, center_crop, cut_maps, random_crop, squeezed
from geminifusion_model.distillation.images import NO_FOLDER, Photographs
from geminifusion_model.distillation.loss import distillation_losses, weighted_sum
from geminifusion_model.distillation.statistics import channel_statistics
from geminifusion_model.distillation.student import Student, StudentOutput
from geminifusion_model.distillation.teacher_maps import TeacherMaps
from geminifusion_model.distillation.teachers import open_teacher
from geminifusion_model.training.errors import ConfigError, TrainingError

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    return write_photographs(tmp_path / "photographs")


@pytest.fixture
def photographs(folder):
    return Photographs([folder])


def maps_of(photographs, directory, teacher=None, **changes):
    settings = {"side": 64, "stages": (2, 3, 4), **changes}
    return TeacherMaps(directory, teacher or TinyTeacher(), photographs, **settings)


def loader(photographs, directory, **changes):
    maps = maps_of(photographs, directory)
    maps.complete(TinyTeacher(), CPU, lambda done: None)
    return CropLoader(photographs, maps, config(**changes), CPU)


# photographs


def test_folders_are_searched_to_any_depth_and_their_first_names_are_the_folders(folder, photographs):
    assert len(photographs) == 12
    assert photographs.folder_names == ("bedroom", "kitchen")
    assert photographs.names[0] == "0/bedroom/old/00.PNG"
    assert [photographs.folder_names[index] for index in photographs.folders] == ["bedroom"] * 6 + ["kitchen"] * 6
    sample = photographs[0]
    assert sample.rgb.shape == (48, 64, 3)
    assert (sample.labels == photographs.task.ignore_index).all()


def test_a_list_names_photographs_relative_to_itself_and_in_no_folder(folder):
    listing = folder / "some.txt"
    listing.write_text("kitchen/03.PNG\nbedroom/old/02.jpg\n")
    found = Photographs([folder / "kitchen", listing])
    assert found.names[-2:] == ["1/kitchen/03.PNG", "1/bedroom/old/02.jpg"]
    assert found.folders == [NO_FOLDER] * 8
    assert np.array_equal(found.rgb(6), found.rgb(found.names.index("0/03.PNG")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; expected one photograph a line"),
        ("kitchen/03.PNG\nkitchen/99.jpg\n", r"1 of 2 photographs .* are missing, first .*99\.jpg"),
        ("kitchen/03.PNG\nkitchen/03.PNG\n", "names 1 photographs twice"),
        (b"\xff\xd8\xff", "is no text"),
    ],
)
def test_a_list_that_cannot_be_followed_is_refused(folder, content, message):
    listing = folder / "some.txt"
    listing.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=message):
        Photographs([listing])


def test_a_folder_without_photographs_is_refused(tmp_path):
    (tmp_path / "notes.md").write_text("none here")
    with pytest.raises(DatasetError, match=r"holds no file that ends in \.jpg, \.jpeg, \.png"):
        Photographs([tmp_path])
    with pytest.raises(DatasetError, match="does not exist"):
        Photographs([tmp_path / "absent"])


def test_held_out_photographs_are_spread_over_all():
    assert held_out(10, 0) == []
    assert held_out(10, 1) == [0]
    assert held_out(9, 3) == [0, 4, 8]
    assert held_out(4, 4) == [0, 1, 2, 3]


# crops


def position_image(height, width):
    """Red grows to the right and green downwards, from 0 to 250."""
    down, right = np.mgrid[0:height, 0:width]
    red, green = 250 * (right + 0.5) / width, 250 * (down + 0.5) / height
    return np.stack([red, green, np.zeros_like(red)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("seed", range(6))
def test_the_teachers_maps_are_cut_where_the_photograph_is(seed):
    """The map holds positions, and so does the photograph; both crops have to tell the same."""
    image = position_image(240, 320)
    chosen = config(color=0.0, flip=0.5, crop_area=(0.4, 1.0))
    crop, box = random_crop(image, 64, chosen, np.random.default_rng(seed))
    positions = torch.from_numpy(squeezed(image, 128)[..., :2].astype(np.float32)).permute(2, 0, 1)
    whole = F.avg_pool2d(positions[None], 4)
    found = cut_maps(whole, [box], (8, 8))[0].permute(1, 2, 0).numpy()
    expected = cv2.resize(crop, (8, 8), interpolation=cv2.INTER_AREA)[..., :2].astype(np.float32)
    assert np.abs(found - expected)[1:-1, 1:-1].max() < 3, "borders of the map are flat, so only its inside compares"
    assert (crop[32, 0, 0] > crop[32, -1, 0]) == box.mirrored


def test_crops_depend_on_the_generator_alone_and_show_the_same_part_at_every_size():
    image = position_image(100, 140)
    (small, first), (_, again), (large, second) = (
        random_crop(image, side, config(), np.random.default_rng(3)) for side in (32, 32, 64)
    )
    assert first == again == second
    assert (small.shape, large.shape) == ((32, 32, 3), (64, 64, 3))
    area = (first.bottom - first.top) * (first.right - first.left)
    assert 0.35 < area <= 1
    assert 0 <= first.top < first.bottom <= 1
    assert 0 <= first.left < first.right <= 1


def test_the_center_is_the_largest_square():
    crop, box = center_crop(position_image(120, 160), 60)
    assert box == Box(0.0, 1.0, 0.125, 0.875)
    assert crop.shape == (60, 60, 3)


# the teacher's maps


@pytest.mark.parametrize(("end", "noted"), [(KeyboardInterrupt, 6), (ZeroDivisionError, 4)])
def test_a_teacher_that_was_interrupted_goes_on_where_it_was(photographs, tmp_path, monkeypatch, end, noted):
    monkeypatch.setattr("geminifusion_model.distillation.teacher_maps._BATCH", 2)
    monkeypatch.setattr("geminifusion_model.distillation.teacher_maps._BATCHES_A_NOTE", 2)
    whole = maps_of(photographs, tmp_path / "whole")
    whole.complete(TinyTeacher(), CPU, lambda done: None)
    broken = maps_of(photographs, tmp_path / "broken")

    def stop(done):
        if done == 6:
            raise end

    with pytest.raises(end):
        broken.complete(TinyTeacher(), CPU, stop)
    resumed, teacher = maps_of(photographs, tmp_path / "broken"), TinyTeacher()
    assert resumed.done == noted, "what was not noted is done again"
    resumed.complete(teacher, CPU, lambda done: None)
    assert teacher.images == 12 - noted
    every = list(range(12))
    assert np.array_equal(resumed.rows(every), whole.rows(every))


def test_kept_maps_are_what_the_teacher_says(photographs, tmp_path):
    maps = maps_of(photographs, tmp_path)
    maps.complete(TinyTeacher(), CPU, lambda done: None)
    images = np.stack([squeezed(photographs.rgb(index), 64) for index in (5, 2)])
    expected = TinyTeacher()(torch.from_numpy(images))
    found = maps.split(maps.rows([5, 2]), CPU)
    for kept, said in zip(found, [*expected.pyramid[1:], expected.class_map], strict=True):
        torch.testing.assert_close(kept, said, rtol=1e-3, atol=1e-3)


def test_maps_of_something_else_are_not_used(photographs, folder, tmp_path):
    maps_of(photographs, tmp_path).complete(TinyTeacher(), CPU, lambda done: None)
    with pytest.raises(TrainingError, match=r"other settings \(teacher differ\); name another directory"):
        maps_of(photographs, tmp_path, TinyTeacher(name="other"))
    with pytest.raises(TrainingError, match="side, stages"):
        maps_of(photographs, tmp_path, side=32, stages=(3, 4))
    with pytest.raises(TrainingError, match="photographs"):
        maps_of(Photographs([folder / "kitchen"]), tmp_path)
    (tmp_path / "maps.json").write_text("[]")
    with pytest.raises(TrainingError, match="does not describe a teacher's maps"):
        maps_of(photographs, tmp_path)


def test_an_adapter_that_gives_other_sizes_than_it_says_is_refused(photographs, tmp_path):
    liar = TinyTeacher()
    liar._maps[2] = torch.randn(9, 3)
    with pytest.raises(TrainingError, match=r"tiny gives a map of \(9, 4, 4\) .* expected \(8, 4, 4\)"):
        maps_of(photographs, tmp_path).complete(liar, CPU, lambda done: None)
    endless = TinyTeacher()
    endless._maps[2] = torch.full((8, 3), 1e6)
    with pytest.raises(TrainingError, match="beyond float16"):
        maps_of(photographs, tmp_path).complete(endless, CPU, lambda done: None)


def test_batches_hold_crops_and_what_the_teacher_says_at_the_students_sizes(photographs, tmp_path):
    batches = list(loader(photographs, tmp_path).random(range(12), 4))
    assert len(batches) == 4
    for batch, side in zip(batches, (32, 32, 64, 64), strict=True):
        assert batch.rgb.shape == (4, side, side, 3)
        assert [tuple(values.shape) for values in batch.maps] == [
            (4, channels, side // stride, side // stride) for channels, stride in ((6, 8), (8, 16), (10, 32))
        ]
        assert batch.logits.shape == (4, 5)
        assert set(batch.folders.tolist()) <= {0, 1}


def test_standardized_targets_have_mean_0_and_deviation_1(photographs, tmp_path):
    crops = loader(photographs, tmp_path)
    means, deviations = channel_statistics(crops.centers(range(12), 32, 5))
    student = Student(config(), TinyTeacher().info)
    student.set_statistics(means, deviations)
    (batch,) = crops.centers(range(12), 32, 12)
    for target in student.targets(batch.maps):
        torch.testing.assert_close(target.mean((0, 2, 3)), torch.zeros(target.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(target.std((0, 2, 3)), torch.ones(target.shape[1]), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="no photograph"):
        channel_statistics([])


# the loss


def test_losses_are_those_of_the_papers():
    random = torch.Generator().manual_seed(0)
    feature, target, logits, taught, folders = (
        torch.randn(2, *shape, generator=random) for shape in ((3, 4, 4), (3, 4, 4), (5,), (5,), (2,))
    )
    chosen = DistillationConfig(stages=(3,), temperature=3.0, folder_weight=0.1, feature_weight=2.0, logit_weight=0.7)
    output = StudentOutput((feature,), logits, folders)
    found = distillation_losses(output, (target,), taught, torch.tensor([1, NO_FOLDER]), chosen)
    gap = (feature - target).abs()
    assert found["stage3"].item() == pytest.approx(torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean().item())
    student, teacher = (values.div(3).softmax(1) for values in (logits, taught))
    divergence = (teacher * (teacher / student).log()).sum(1).mean()
    assert found["logits"].item() == pytest.approx(9 * divergence.item(), rel=1e-5)
    assert found["folders"].item() == pytest.approx(-folders[0].log_softmax(0)[1].item())
    total = 2 * found["stage3"] + 0.7 * found["logits"] + 0.1 * found["folders"]
    assert weighted_sum(found, chosen).item() == pytest.approx(total.item())


def test_photographs_in_no_folder_teach_no_folder():
    feature, logits = torch.zeros(2, 3, 1, 1), torch.zeros(2, 5)
    output = StudentOutput((feature,), logits, torch.randn(2, 3))
    found = distillation_losses(output, (feature,), logits, torch.full((2,), NO_FOLDER), config(stages=(4,)))
    assert found["folders"].item() == 0


# settings, teachers and the command


def test_the_last_steps_see_larger_crops():
    assert [config().crop_of(step) for step in range(8)] == [32] * 6 + [64] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "resnet50"}, "encoder is 'resnet50'; expected one of mit_b0"),
        ({"stages": (4, 2)}, r"stages are \[4, 2\]"),
        ({"crop_area": (0.0, 1.0)}, "crop_area"),
        ({"feature_weight": 0, "logit_weight": 0}, "nothing would be learned"),
        ({"fine_steps": 9}, "fine_steps is 9; expected at most steps, 8"),
        ({"temprature": 2.0}, "temprature"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DistillationConfig.checked(config().model_dump(mode="json"), changes)


def test_a_teacher_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(
        ConfigError, match=r'efficientnet_lite_pytorch, which .* run: pip install "geminifusion\[distil\]"'
    ):
        open_teacher("efficientnet-lite1")
    with pytest.raises(ConfigError, match=r"no teacher 'efficientnet-lite7'; did you mean efficientnet-lite"):
        open_teacher("efficientnet-lite7")
    with pytest.raises(ConfigError, match="expected one of efficientnet-lite0, efficientnet-lite1"):
        open_teacher("dino")


def test_the_faster_efficientnet_computes_the_same():
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="needs efficientnet-lite-pytorch")
    from geminifusion_model.distillation.efficientnet_lite import _ENCODING, EfficientNetLite
    from geminifusion_model.encoding import encode

    torch.manual_seed(0)
    networks = [package.EfficientNet.from_name("efficientnet-lite0", image_size=None).eval() for _ in range(2)]
    for module in networks[0].modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    networks[1].load_state_dict(networks[0].state_dict())
    teacher = EfficientNetLite(0, networks[1])
    rgb = torch.randint(0, 256, (2, 72, 96, 3), dtype=torch.uint8)
    output = teacher(rgb)
    with torch.no_grad():
        expected = networks[0](encode(rgb, _ENCODING))
    torch.testing.assert_close(output.class_map.mean((2, 3)), expected, rtol=1e-3, atol=1e-4)
    sizes = [tuple(values.shape[1:]) for values in output.pyramid]
    assert [channels for channels, _, _ in sizes] == list(teacher.info.channels) == [24, 40, 112, 320]
    assert [size[1:] for size in sizes] == [(math.ceil(72 / s), math.ceil(96 / s)) for s in (4, 8, 16, 32)]


def test_the_command_prints_its_settings_and_refuses_in_one_sentence(folder, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(distil, ["--out", str(tmp_path / "run"), *arguments])

    printed = CliRunner().invoke(distil, ["--set", "encoder=mit_b1", "--print-config"])
    assert printed.exit_code == 0
    assert "encoder: mit_b1\n" in printed.output
    assert "Missing option '--data'" in run().output
    assert isinstance(run("--data", str(folder), "--set", "teacher=none").exception, ConfigError)
    assert isinstance(run("--data", str(folder), "--set", "encoder=vgg").exception, ConfigError)
    assert not (tmp_path / "run").exists()
