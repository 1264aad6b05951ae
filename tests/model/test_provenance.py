import dataclasses
import json
import time

import numpy as np
import pytest

from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample, Subset
from geminifusion_model.training.errors import DataChangedError, RunRecordError
from geminifusion_model.training.records.fingerprint import fingerprint
from geminifusion_model.training.records.provenance import record_session


class Frames:
    """Small random frames; `change` maps an index to what `dataclasses.replace` gets."""

    task = nyuv2_task(13)

    def __init__(self, count=6, change=None):
        self.count, self.change, self.read = count, change or {}, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        random = np.random.default_rng(index)
        rgb = random.integers(0, 256, (8, 12, 3), np.uint8)
        depth = random.uniform(1, 5, (8, 12)).astype(np.float32)
        labels = random.integers(0, 13, (8, 12), np.uint8)
        return dataclasses.replace(
            Sample(f"frame {index}", rgb, {"depth": depth}, labels), **self.change.get(index, {})
        )


FRAME_BYTES = 8 * 12 * (3 + 4 + 1)


class Slow(Frames):
    """Frames that come in another order than they are asked for."""

    def __getitem__(self, index):
        time.sleep(0.02 * (index % 2 == 0))
        return super().__getitem__(index)


def test_fingerprint_depends_on_the_samples_alone():
    expected = fingerprint(Frames())
    assert expected == fingerprint(Slow(), workers=4)
    assert (expected.frames, expected.hashed) == (6, 6)
    assert list(expected.sha256) == ["task", "names", "rgb", "depth", "labels"]
    assert fingerprint(Subset(Frames(), [1, 0, 2, 3, 4, 5])) != expected, "the order decides which step sees a frame"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"labels": np.zeros((8, 12), np.uint8)}, ["other labels"]),
        ({"others": {"depth": np.ones((8, 12), np.float32)}}, ["other depth"]),
        ({"rgb": np.zeros((8, 12, 3), np.uint8), "name": "new"}, ["other names", "other rgb"]),
        ({"others": {"thermal": np.ones((8, 12), np.float32)}}, ["other depth", "other thermal"]),
    ],
)
def test_any_part_of_any_frame_counts_and_is_named(change, difference):
    changed = Frames(
        change={4: change} if "thermal" not in change.get("others", {}) else dict.fromkeys(range(6), change)
    )
    assert fingerprint(Frames()).differences(fingerprint(changed)) == difference


def test_a_large_data_set_is_hashed_at_frames_spread_over_it():
    frames = Frames(100)
    found = fingerprint(frames, budget_bytes=5 * FRAME_BYTES)
    assert (found.frames, found.hashed) == (100, 5)
    assert sorted(set(frames.read)) == [0, 25, 50, 74, 99]
    assert fingerprint(Frames(3), budget_bytes=1).hashed == 1


def test_a_data_set_without_frames_has_no_fingerprint():
    with pytest.raises(ValueError, match="empty"):
        fingerprint(Frames(0))


def test_record_holds_data_code_and_machine(tmp_path):
    record = record_session(tmp_path / "run", Frames(), seed=3, processes=2, data_directory=tmp_path)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == record
    assert record["seed"] == 3
    assert record["data"]["directory"] == str(tmp_path)
    assert (record["data"]["frames"], record["data"]["hashed"]) == (6, 6)
    (session,) = record["sessions"]
    assert (session["from_step"], session["processes"], session["device"]) == (0, 2, "cpu")
    assert all(
        session[name] for name in ("started", "command", "geminifusion", "python", "torch", "numpy", "processor")
    )
    assert session["threads"] >= 1


def test_each_resume_is_one_more_session(tmp_path):
    first = record_session(tmp_path, Frames(), seed=3)
    second = record_session(tmp_path, Frames(), seed=3, resume_step=40)
    assert second["data"] == first["data"]
    assert [session["from_step"] for session in second["sessions"]] == [0, 40]
    assert len(record_session(tmp_path, Frames(), seed=3)["sessions"]) == 1, "a new run forgets an abandoned one"


def test_resuming_with_other_data_is_refused_and_says_what_differs(tmp_path):
    record_session(tmp_path, Frames(), seed=3)
    before = (tmp_path / "run.json").read_text()
    with pytest.raises(DataChangedError, match=r"other labels since the run started .* new run in another directory"):
        record_session(tmp_path, Frames(change={2: {"labels": np.zeros((8, 12), np.uint8)}}), seed=3, resume_step=4)
    with pytest.raises(DataChangedError, match="5 frames instead of 6"):
        record_session(tmp_path, Frames(5), seed=3, resume_step=4)
    assert (tmp_path / "run.json").read_text() == before


def test_resumed_run_without_a_record_gets_one(tmp_path):
    record = record_session(tmp_path, Frames(), seed=3, resume_step=40)
    assert [session["from_step"] for session in record["sessions"]] == [40]


@pytest.mark.parametrize("content", ["", "[]", '{"data": {"sha256": {}, "frames": 6, "hashed": 6}, "sessions": []}'])
def test_a_damaged_record_is_reported(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunRecordError, match=r"run.json is no record of a run .*move it away"):
        record_session(tmp_path, Frames(), seed=3, resume_step=4)
    assert (tmp_path / "run.json").read_text() == content
