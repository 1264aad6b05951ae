"""Cameras, of which none is here: adapters against stand-ins that have what the makers' libraries have."""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

import geminifusion.sources.cameras as cameras
from geminifusion.errors import InvalidInputError, MissingExtraError
from geminifusion.sources.base import SourceRequest
from geminifusion.sources.kinds import CAMERA_ADAPTERS, CAMERAS
from geminifusion.sources.registry import open_source

LIBRARIES = {"oak": "depthai", "orbbec": "pyorbbecsdk", "realsense": "pyrealsense2"}
RGB = np.arange(480 * 640 * 3, dtype=np.uint8).reshape(480, 640, 3)
DEPTH = np.full((480, 640), 1500, np.uint16)


def realsense(sdk):
    pipeline = sdk.pipeline.return_value
    profile = pipeline.start.return_value
    profile.get_device().first_depth_sensor().get_depth_scale.return_value = 0.001
    profile.get_stream().as_video_stream_profile().get_intrinsics.return_value = SimpleNamespace(
        fx=600.0, fy=601.0, ppx=319.5, ppy=239.5
    )
    frames = sdk.align.return_value.process.return_value
    frames.get_color_frame().get_data.return_value = RGB
    frames.get_depth_frame().get_data.return_value = DEPTH
    return pipeline


def orbbec(sdk):
    pipeline = sdk.Pipeline.return_value
    pipeline.get_camera_param().rgb_intrinsic = SimpleNamespace(fx=600.0, fy=601.0, cx=319.5, cy=239.5)
    frames = sdk.AlignFilter.return_value.process.return_value.as_frame_set.return_value
    for frame, image in ((frames.get_color_frame(), RGB), (frames.get_depth_frame(), DEPTH)):
        frame.get_data.return_value = image.tobytes()
        frame.get_height.return_value, frame.get_width.return_value = 480, 640
    frames.get_depth_frame().get_depth_scale.return_value = 1.0
    return pipeline


def oak(sdk):
    pipeline = sdk.Pipeline.return_value
    matrix = [[600.0, 0, 319.5], [0, 601.0, 239.5], [0, 0, 1]]
    pipeline.getDefaultDevice().readCalibration().getCameraIntrinsics.return_value = matrix
    group = {"rgb": MagicMock(), "depth": MagicMock()}
    group["rgb"].getFrame.return_value, group["depth"].getFrame.return_value = RGB, DEPTH
    pipeline.create.return_value.out.createOutputQueue.return_value.get.return_value = group
    return pipeline


STAND_INS = {"oak": oak, "orbbec": orbbec, "realsense": realsense}


@pytest.fixture(params=CAMERAS)
def camera(request, monkeypatch):
    """The name of a camera and the stand-in of its library."""
    sdk = MagicMock()
    monkeypatch.setitem(sys.modules, LIBRARIES[request.param], sdk)
    monkeypatch.delitem(sys.modules, f"{cameras.__name__}.{request.param}", raising=False)
    yield request.param, sdk
    sys.modules.pop(f"{cameras.__name__}.{request.param}", None)


def test_a_camera_gives_colour_metres_and_intrinsics(camera):
    name, sdk = camera
    pipeline = STAND_INS[name](sdk)
    source = open_source(SourceRequest(camera=name))
    frames = source.frames()
    first, second = next(frames), next(frames)
    assert (first.name, second.name, source.count) == (f"{name}_000000", f"{name}_000001", None)
    np.testing.assert_array_equal(first.images["rgb"], RGB)
    depth = first.images["depth"]
    np.testing.assert_allclose(depth * (0.001 if depth.dtype == np.uint16 else 1), 1.5)
    assert first.intrinsics == (600.0, 601.0, 319.5, 239.5)
    source.close()
    pipeline.stop.assert_called_once()


def test_a_camera_that_does_not_start_says_so(camera):
    name, sdk = camera
    maker = sdk.pipeline if name == "realsense" else sdk.Pipeline
    maker.side_effect = RuntimeError("no device")
    with pytest.raises(InvalidInputError, match=rf"no {name} camera could be started \(no device\)"):
        open_source(SourceRequest(camera=name))


@pytest.mark.parametrize("name", CAMERAS)
def test_a_library_that_is_missing_is_named_with_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)
    monkeypatch.delitem(sys.modules, f"{cameras.__name__}.{name}", raising=False)
    with pytest.raises(MissingExtraError, match=rf'--camera {name} needs .*"geminifusion\[cameras\]"'):
        open_source(SourceRequest(camera=name))


@pytest.mark.parametrize("name", CAMERAS)
def test_what_an_adapter_names_is_in_the_library(name):
    """Every `sdk.A.B` of the source, where the library is installed."""
    try:
        sdk = importlib.import_module(LIBRARIES[name])
    except ImportError as error:
        pytest.skip(f"needs {LIBRARIES[name]}: {error}")
    path = Path(cameras.__file__).parent / f"{CAMERA_ADAPTERS[name].partition(':')[0]}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (alias,) = [
        one.asname for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names
        if one.name == LIBRARIES[name]
    ]  # fmt: skip
    chains = {
        text for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and (text := ast.unparse(node)).startswith(f"{alias}.") and "(" not in text
    }  # fmt: skip
    assert chains
    for chain in chains:
        found = sdk
        for part in chain.split(".")[1:]:
            assert hasattr(found, part), chain
            found = getattr(found, part)
