import json
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion_model.data.doctor.examine import examine
from geminifusion_model.data.doctor.findings import has_errors
from geminifusion_model.data.nyuv2 import NYUv2
from geminifusion_model.data_commands import data

HEIGHT, WIDTH = 96, 128
WALL, FLOOR = 11, 4


def write_room(root, name, seed):
    """A wall, a floor and boxes of every other class, in the NYUv2 layout, with a void frame around the labels."""
    random = np.random.default_rng(seed)
    labels = np.full((HEIGHT, WIDTH), WALL, np.uint8)
    depth = np.full((HEIGHT, WIDTH), random.uniform(3, 4))
    horizon = int(random.integers(50, 70))
    labels[horizon:] = FLOOR
    depth[horizon:] = np.linspace(depth[0, 0], 1.2, HEIGHT - horizon)[:, None]
    colors = random.integers(30, 225, (13, 3))
    rgb = colors[labels]
    for kind in random.permutation([k for k in range(13) if k not in (WALL, FLOOR)]):
        # beds stand low and windows hang high, as class numbers grow
        top = int(np.clip(70 - 5 * kind + random.integers(-8, 8), 2, HEIGHT - 24))
        left = int(random.integers(2, WIDTH - 30))
        scale = 2 if kind == 0 else 1
        tall, wide = scale * int(random.integers(12, 22)), scale * int(random.integers(14, 28))
        box = np.s_[top : top + tall, left : left + wide]
        labels[box], depth[box], rgb[box] = kind, random.uniform(1.0, 3.0), colors[kind]
    labels[:2], labels[-2:], labels[:, :2], labels[:, -2:] = 255, 255, 255, 255
    noisy = np.clip(rgb + random.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    for folder, file, image in (
        ("rgb", f"{name}.jpg", noisy),
        ("depth", f"{name}.png", np.round(1000 * depth).astype(np.uint16)),
        ("label13", f"{name}.png", labels),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / folder / file), image)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    root = tmp_path_factory.mktemp("rooms")
    splits = {"train": range(1, 15), "test": range(15, 25)}
    for split, numbers in splits.items():
        names = [f"{number:06d}" for number in numbers]
        for name in names:
            write_room(root, name, int(name))
        (root / f"{split}.txt").write_text("\n".join(names))
    return root


@pytest.fixture
def broken(intact, tmp_path):
    return shutil.copytree(intact, tmp_path / "copy")


def rewrite(path, change):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert cv2.imwrite(str(path), change(image))


def swap(root, folder, one, other):
    first, second = root / folder / one, root / folder / other
    first.rename(root / "aside")
    second.rename(first)
    (root / "aside").rename(second)


def diagnose(root):
    return examine({split: NYUv2(root, split) for split in ("train", "test")})


def found(findings):
    return {(finding.code, finding.split, frozenset(finding.frames)) for finding in findings}


def add_one(labels):
    return np.where(labels == 255, 255, labels + 1).astype(np.uint8)


def test_nothing_is_wrong_with_intact_data(intact):
    assert diagnose(intact) == []


def test_swap_unit_offset_and_leak_are_all_found_in_one_go(broken):
    swap(broken, "depth", "000003.png", "000009.png")
    rewrite(broken / "depth" / "000005.png", lambda depth: depth // 10)
    rewrite(broken / "label13" / "000007.png", add_one)
    with (broken / "test.txt").open("a") as stream:
        stream.write("\n000011")
    findings = diagnose(broken)
    errors = found(finding for finding in findings if finding.severity == "error")
    assert errors == {
        ("swapped-pair", "train", frozenset({"000003", "000009"})),
        ("depth-unit", "train", frozenset({"000005"})),
        ("label-offset", "train", frozenset({"000007"})),
        ("leakage", "train+test", frozenset({"000011 = 000011"})),
    }
    by_code = {finding.code: finding for finding in findings}
    assert "the depth of each fits the other frame" in by_code["swapped-pair"].message
    assert "10 times too small" in by_code["depth-unit"].advice
    assert "subtract one" in by_code["label-offset"].advice


@pytest.mark.parametrize(("folder", "suffix", "role"), [("rgb", "jpg", "rgb"), ("label13", "png", "labels")])
def test_whichever_image_was_swapped_is_named(broken, folder, suffix, role):
    swap(broken, folder, f"000017.{suffix}", f"000020.{suffix}")
    (finding,) = diagnose(broken)
    assert (finding.code, finding.frames) == ("swapped-pair", ("000017", "000020"))
    assert f"the {role} of each" in finding.message


def test_a_list_displaced_by_one_frame_is_one_finding(broken):
    for number in range(1, 14):
        shutil.copy(broken / "depth" / f"{number + 1:06d}.png", broken / "depth" / f"{number:06d}.png")
    codes = [finding.code for finding in diagnose(broken)]
    assert "displaced-list" in codes
    assert "swapped-pair" not in codes


def test_the_same_depth_under_two_images_is_found(broken):
    shutil.copy(broken / "depth" / "000002.png", broken / "depth" / "000006.png")
    assert ("copied-pair", "train", frozenset({"000002", "000006"})) in found(diagnose(broken))


def test_depth_moved_against_the_rgb_is_reported(broken):
    for path in (broken / "depth").iterdir():
        rewrite(path, lambda depth: np.roll(depth, 9, axis=1))
    findings = [finding for finding in diagnose(broken) if finding.code == "misaligned"]
    assert {finding.split for finding in findings} == {"train", "test"}
    assert "-7 % of the width" in findings[0].message


@pytest.mark.parametrize(("factor", "guess"), [(10, "10 times too large"), (0.1, "10 times too small")])
def test_a_split_in_another_unit_is_found(broken, factor, guess):
    for number in range(15, 25):
        rewrite(broken / "depth" / f"{number:06d}.png", lambda depth: (depth * factor).astype(np.uint16))
    (finding,) = diagnose(broken)
    assert (finding.code, finding.split, finding.severity) == ("depth-unit", "test", "error")
    assert guess in finding.advice


def test_labels_of_a_split_that_start_at_one_are_found(broken):
    for number in range(15, 25):
        rewrite(broken / "label13" / f"{number:06d}.png", add_one)
    assert ("label-offset", "test", True) in {(f.code, f.split, f.severity == "error") for f in diagnose(broken)}


def test_labels_of_a_split_that_lost_one_are_found(broken):
    for number in range(15, 25):
        rewrite(
            broken / "label13" / f"{number:06d}.png",
            lambda labels: (labels - (labels != 255)).astype(np.uint8),
        )
    findings = diagnose(broken)
    assert ("label-offset", "train+test", frozenset()) in found(findings)
    assert "with +1" in next(finding.message for finding in findings if finding.code == "label-offset")


def test_a_single_frame_off_by_one_within_the_classes_is_found_by_where_its_labels_lie(broken):
    rewrite(broken / "label13" / "000008.png", lambda labels: np.where(labels == 12, 255, labels).astype(np.uint8))
    rewrite(broken / "label13" / "000008.png", add_one)
    (finding,) = diagnose(broken)
    assert (finding.code, finding.frames) == ("label-offset", ("000008",))
    assert "subtract one" in finding.advice


def test_void_stored_as_zero_and_class_zero_stored_as_void_are_found(broken, tmp_path, intact):
    other = shutil.copytree(intact, tmp_path / "other")
    for number in range(15, 25):
        name = f"{number:06d}.png"
        rewrite(broken / "label13" / name, lambda labels: np.where(labels == 255, 0, labels).astype(np.uint8))
        rewrite(other / "label13" / name, lambda labels: np.where(labels == 0, 255, labels).astype(np.uint8))
    findings = {finding.code: finding for finding in diagnose(broken)}
    assert "void is 0 in test" in findings["void-confusion"].advice
    assert findings["void-as-class-0"].split == "test"
    assert "class 0 became 255 in test" in {f.code: f for f in diagnose(other)}["void-confusion"].advice


def test_a_void_value_that_is_not_ignored_is_named(broken):
    rewrite(
        broken / "label13" / "000001.png",
        lambda labels: np.where(labels == 255, 254, labels).astype(np.uint8),
    )
    (finding,) = diagnose(broken)
    assert (finding.code, finding.frames) == ("void-value", ("000001",))


def test_classes_nobody_labeled_and_classes_train_never_shows_are_told_apart(broken):
    for path in (broken / "label13").iterdir():
        rewrite(path, lambda labels: np.where(labels == 9, 255, labels).astype(np.uint8))
    for number in range(1, 15):
        path = broken / "label13" / f"{number:06d}.png"
        rewrite(path, lambda labels: np.where(labels == 3, 255, labels).astype(np.uint8))
    findings = {(f.code, f.split): f.message for f in diagnose(broken)}
    assert "table (9)" in findings["empty-class", "test"]
    assert "chair occurs in test" in findings["unlearnable-class", "train+test"]


def test_a_recompressed_or_mirrored_copy_in_another_split_is_found(broken):
    image = cv2.imread(str(broken / "rgb" / "000004.jpg"))
    cv2.imwrite(str(broken / "rgb" / "000016.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 40])
    cv2.imwrite(str(broken / "rgb" / "000018.jpg"), image[:, ::-1])
    leaks = [finding for finding in diagnose(broken) if finding.code == "leakage"]
    assert [leak.frames for leak in leaks] == [("000004 ~ 000016", "000004 ~ 000018")]


def test_frames_without_depth_or_labels_are_listed(broken):
    rewrite(broken / "depth" / "000002.png", np.zeros_like)
    rewrite(broken / "label13" / "000003.png", lambda labels: np.full_like(labels, 255))
    findings = found(diagnose(broken))
    assert ("no-measurement", "train", frozenset({"000002"})) in findings
    assert ("no-labels", "train", frozenset({"000003"})) in findings


def test_unreadable_and_unequal_images_do_not_stop_the_examination(broken):
    (broken / "depth" / "000001.png").write_bytes(b"no image")
    rewrite(broken / "depth" / "000002.png", lambda depth: depth[::2])
    messages = [finding.message for finding in diagnose(broken) if finding.code == "unreadable-frame"]
    assert len(messages) == 2
    assert any("depth 128x48" in message for message in messages)


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(data, ["check", *map(str, arguments)])

    def test_intact_data_exits_with_zero_and_a_summary(self, intact):
        result = self.run(intact)
        assert result.exit_code == 0
        assert "14 of train, 10 of test; 0 errors, 0 warnings" in result.output

    def test_errors_exit_with_one_and_say_what_to_do(self, broken):
        rewrite(broken / "label13" / "000001.png", add_one)
        result = self.run(broken)
        assert result.exit_code == 1
        assert "ERROR   label-offset (train: 000001)" in result.output
        assert "-> the files count classes from 1" in result.output

    def test_every_missing_file_of_every_split_is_reported_and_the_rest_is_examined(self, broken):
        (broken / "depth" / "000003.png").unlink()
        (broken / "rgb" / "000004.jpg").unlink()
        result = self.run(broken, "--json")
        assert result.exit_code == 1
        findings = json.loads(result.stdout)
        assert [finding["code"] for finding in findings] == ["layout", "layout"]
        assert {finding["split"] for finding in findings} == {"train"}

    def test_limit_and_split_choose_what_is_read(self, intact):
        result = self.run(intact, "--split", "test", "--limit", "5")
        assert "frames examined: 5 of test;" in result.output

    def test_a_folder_without_a_contract_is_a_finding(self, intact):
        result = self.run(intact, "--dataset", "folder")
        assert result.exit_code == 1
        assert "dataset.yaml is missing" in result.output


def test_only_errors_make_a_data_set_bad(intact):
    assert not has_errors([])
