"""The options of a request: what is accepted as text and as typed values, and the sentence of everything else."""

import pickle
import subprocess
import sys

import pytest

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.modality_options import check_modalities, check_overlay
from geminifusion_runtime.option_sets import as_text, given_values
from geminifusion_runtime.option_types import modality_options
from geminifusion_runtime.options import OPTION_NAMES, SEGMENT_OPTIONS, SegmentOptions
from geminifusion_runtime.preprocessing import images_by_modality


def test_text_and_typed_values_give_the_same_options():
    text = {
        "model": "tiny@1",
        "depth_scale": "0.001",
        "depth_invalid": "65535,1.5",
        "intrinsics": "500,501,320.5,240",
        "rgb_intrinsics": "600,601,320.5,240",
        "extrinsics": "1,0,0,0.05,0,1,0,0,0,0,1,0",
        "align": "register",
        "sensor_policy": "drop-modality",
        "format": "json",
        "overlay_on": "thermal",
        "confidence": "1",
        "gate": "true",
        "disagreement": "TRUE",
        "classes": "0",
        "priority": "high",
        "deadline_ms": "250",
        "request_id": "r-1",
    }
    values = {
        **text,
        "depth_scale": 0.001,
        "depth_invalid": [65535, 1.5],
        "intrinsics": [500, 501, 320.5, 240],
        "rgb_intrinsics": [600, 601, 320.5, 240],
        "extrinsics": [1, 0, 0, 0.05, 0, 1, 0, 0, 0, 0, 1, 0],
        "confidence": True,
        "gate": True,
        "disagreement": True,
        "classes": False,
        "deadline_ms": 250,
    }
    assert SEGMENT_OPTIONS.parse_text(text) == SEGMENT_OPTIONS.parse_values(values)
    assert set(text) == set(OPTION_NAMES)


def test_every_modality_may_have_a_scale_and_marks():
    options = SEGMENT_OPTIONS.parse_text({"lidar_scale": "0.5", "thermal_invalid": "65535,1", "depth_scale": "0.001"})
    assert options == SEGMENT_OPTIONS.parse_values(
        {"lidar_scale": 0.5, "thermal_invalid": [65535, 1], "depth_scale": 0.001}
    )
    assert (options.scales, options.invalids) == ({"lidar": 0.5}, {"thermal": (65535.0, 1.0)})
    assert (
        SEGMENT_OPTIONS.parse_text(as_text(options)) == SEGMENT_OPTIONS.parse_values(given_values(options)) == options
    )


@pytest.fixture(scope="module")
def metadata(make_spec, make_sensor_artifact, tmp_path_factory):
    specs = [
        make_spec("rgb", encoding="imagenet"),
        make_spec("lidar", encoding="metric", unit="metre"),
        make_spec("thermal", unit="count"),
        make_spec("hha", encoding="hha"),
    ]
    return read_metadata(make_sensor_artifact(tmp_path_factory.mktemp("artifacts") / "four", specs))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lidar_scale": 0.5, "lidar_invalid": 9},
        {"thermal_invalid": 65535},
        {"depth_scale": 0.001, "depth_invalid": 65535, "intrinsics": [500, 500, 3, 4]},
        {"hha_scale": 0.001},
        {"overlay_on": "thermal"},
    ],
)
def test_a_model_takes_the_options_that_its_modalities_have_a_use_for(options, metadata):
    parsed = SEGMENT_OPTIONS.parse_values(options)
    check_modalities(parsed, metadata)
    check_overlay(parsed, metadata)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"lidr_scale": 1},
            "there is no option 'lidr_scale': the modalities of four@1 are rgb, lidar, thermal, hha; did you mean "
            "lidar_scale?",
        ),
        ({"x_scale": 1}, "there is no option 'x_scale': the modalities of four@1 are rgb, lidar, thermal, hha; leave"),
        ({"rgb_scale": 1}, "rgb_scale makes no sense: rgb of four@1 is an 8-bit picture, only distances have a scale"),
        ({"thermal_scale": 1}, "thermal_scale makes no sense: thermal of four@1 is of stored numbers, only distances"),
        ({"rgb_invalid": 1}, "rgb_invalid makes no sense: rgb of four@1 is an 8-bit picture, every value of it is"),
        ({"overlay_on": "depth"}, "overlay_on is 'depth', expected a modality of four@1: rgb, lidar, thermal, hha"),
    ],
)
def test_options_that_do_not_fit_the_model_are_refused_with_its_modalities(options, sentence, metadata):
    check = check_overlay if "overlay_on" in options else check_modalities
    with pytest.raises(InvalidOptionError) as rejected:
        check(SEGMENT_OPTIONS.parse_values(options), metadata)
    assert str(rejected.value).startswith(sentence)


def test_depth_and_a_camera_have_the_options_of_hha_that_is_computed_from_it(metadata):
    hha = metadata.modalities[3]
    assert metadata.hha_from_depth == hha
    assert modality_options(SEGMENT_OPTIONS.parse_values({"depth_scale": 0.5, "depth_invalid": 7}), hha) == (
        0.5,
        (7.0,),
    )
    assert modality_options(SEGMENT_OPTIONS.parse_values({"depth_scale": 0.5, "hha_scale": 0.25}), hha) == (0.25, ())
    assert images_by_modality(metadata, {"rgb": 1, "depth": 2}) == {"rgb": 1, "hha": 2}
    assert images_by_modality(metadata, {"depth": 1, "hha": 2}) == {"depth": 1, "hha": 2}


def test_one_stored_value_need_not_be_a_list():
    assert SEGMENT_OPTIONS.parse_values({"depth_invalid": 65535}) == SEGMENT_OPTIONS.parse_text(
        {"depth_invalid": "65535"}
    )
    assert SEGMENT_OPTIONS.parse_text({"depth_invalid": ""}) == SegmentOptions()


def test_what_is_sent_is_what_differs_from_the_defaults():
    options = SegmentOptions(depth_invalid=(65535.0,), gate=True)
    assert given_values(options) == {"depth_invalid": (65535.0,), "gate": True}
    assert as_text(options) == {"depth_invalid": "65535.0", "gate": "1"}
    assert SEGMENT_OPTIONS.parse_text(as_text(options)) == options


def test_options_travel_between_processes():
    options = SegmentOptions(format=None, deadline_ms=5, request_id="r-1")
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ({"format": "gif"}, "format is 'gif', expected one of png, palette, json, npz, overlay, ply, pcd, cloud-npz"),
        ({"depthscale": "1"}, "there is no option 'depthscale'; did you mean depth_scale?"),
        ({"colour": "1"}, f"there is no option 'colour'; expected {', '.join(OPTION_NAMES)}"),
        (
            {"depth_scale": "mm"},
            "depth_scale is 'mm', expected metres per stored unit in (0, 1000]; millimetres are 0.001",
        ),
        ({"deadline_ms": "0"}, "deadline_ms is '0', expected milliseconds above 0 and at most 3600000"),
        ({"depth_invalid": "1,2,3,4,5,6,7,8,9"}, "depth_invalid is 9 values, expected at most 8"),
        (
            {"lidar_scale": "-1"},
            "lidar_scale is '-1', expected metres per stored unit in (0, 1000]; millimetres are 0.001",
        ),
        ({"thermal_invalid": "1,2,3,4,5,6,7,8,9"}, "thermal_invalid is 9 values, expected at most 8"),
        (
            {"intrinsics": "500,500,3"},
            "intrinsics is '500,500,3', expected fx,fy,cx,cy of the depth camera in pixels, the focal lengths above 0",
        ),
        (
            {"extrinsics": "2,0,0,0,0,1,0,0,0,0,1,0"},
            "extrinsics have a matrix that is no rotation: the products of its rows are off by 3; send [R|t] row "
            "by row, twelve numbers, R with rows of length 1 at right angles",
        ),
        (
            {"extrinsics": "1,0,0,0,0,1,0,0,0,0,-1,0"},
            "extrinsics have a matrix that mirrors; send a rotation, whose determinant is 1, not -1",
        ),
        (
            {"extrinsics": "1,0,0,50,0,1,0,0,0,0,1,0"},
            "extrinsics put the cameras 50 m apart; send the translation in metres, not millimetres",
        ),
        (
            {"extrinsics": "0.05,0,0"},
            "extrinsics is '0.05,0,0', expected the twelve numbers of [R|t] from the depth camera to the rgb camera, "
            "row by row, t in metres",
        ),
        ({"confidence": "yes"}, "confidence is 'yes', expected 1 or 0"),
        ({"request_id": "a\n"}, r"request_id is 'a\n', expected 1 to 128 of A-Z a-z 0-9 . _ : -"),
    ],
)
def test_bad_text_is_one_sentence_that_names_option_value_and_expectation(text, sentence):
    with pytest.raises(InvalidOptionError) as rejected:
        SEGMENT_OPTIONS.parse_text(text)
    assert str(rejected.value) == sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"confidence": 1}, "confidence is 1, expected true or false"),
        ({"confidence": "1"}, "confidence is '1', expected true or false"),
        ({"model": 3}, "model is 3, expected text"),
        ({"depth_scale": True}, "depth_scale is True, expected metres per stored unit"),
        ({"depth_scale": 10**400}, "depth_scale is 1000000000"),
        ({"depth_invalid": [1, float("nan")]}, "depth_invalid is nan, expected stored values"),
        ({"depth_invalid": "65535"}, "depth_invalid is '65535', expected stored values"),
        ({"__dataclass_self__": 1}, "there is no option '__dataclass_self__'"),
    ],
)
def test_types_are_strict(values, sentence):
    with pytest.raises(InvalidOptionError) as rejected:
        SEGMENT_OPTIONS.parse_values(values)
    assert str(rejected.value).startswith(sentence)
    assert len(str(rejected.value)) < 250


def test_every_option_is_described_for_openapi_and_the_command_line():
    schemas = SEGMENT_OPTIONS.schemas()
    assert tuple(schemas) == OPTION_NAMES
    for name, schema in schemas.items():
        assert schema["type"] in ("string", "number", "boolean", "array"), name
        assert 10 < len(schema["description"]) < 100, name


def test_the_module_needs_neither_an_image_library_nor_a_web_framework():
    heavy = ("cv2", "numpy", "isal", "onnxruntime", "fastapi", "grpc", "httpx", "click")
    code = f"import sys; sys.modules |= dict.fromkeys({heavy}); import geminifusion_runtime.options"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
