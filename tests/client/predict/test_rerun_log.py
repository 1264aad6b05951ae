"""The file for the Rerun viewer, where its library is installed."""

import sys

import pytest

from geminifusion import load
from geminifusion.errors import MissingExtraError
from geminifusion.sinks.base import SinkRequest
from geminifusion.sinks.registry import open_sinks
from geminifusion.sources.base import SourceFrame


def request_of(tmp_path, segment):
    return SinkRequest(directory=tmp_path, name="room", classes=lambda: segment.metadata.classes)


def test_every_image_of_a_frame_is_logged(tiny_artifact, make_scene, tmp_path):
    pytest.importorskip("rerun", reason="needs geminifusion[rerun]")
    segment = load(tiny_artifact, threads=1)
    (sink,) = open_sinks(["rerun"], request_of(tmp_path, segment))
    for number in range(3):
        images = {"rgb": make_scene(number).rgb, "depth": make_scene(number).depth_mm}
        frame = SourceFrame(
            name=str(number), images=images, stamp_ns=number * 10**8, intrinsics=(60.0, 60.0, 40.0, 30.0)
        )
        sink.write(frame, segment(**images))
    (path,) = sink.close()
    content = path.read_bytes()
    assert content.startswith(b"RRF")
    for name in (b"camera/segmentation", b"camera/depth", b"camera/rgb"):
        assert name in content


def test_without_the_library_the_extra_is_named(tiny_artifact, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    monkeypatch.delitem(sys.modules, "geminifusion.sinks.rerun_log", raising=False)
    with pytest.raises(MissingExtraError, match=r"geminifusion\[rerun\]"):
        open_sinks(["rerun"], request_of(tmp_path, load(tiny_artifact, threads=1)))
