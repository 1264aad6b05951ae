"""Images as PIL, torch, OpenCV and NumPy hold them are the same image; what is none is refused before it is sent."""

import base64
import dataclasses
import re
import subprocess
import sys

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from geminifusion import Client, load
from geminifusion.array_inputs import plain_image
from geminifusion.errors import InvalidInputError
from geminifusion.options import segment_call


@pytest.fixture(scope="module")
def segment(tiny_artifact):
    return load(tiny_artifact, threads=1)


def opened(path):
    with PIL.Image.open(path) as image:
        image.load()
    return image


def kinds(pair):
    """RGB and depth of the pair as each library holds them."""
    bgr = cv2.imread(str(pair.rgb_path))
    masked = np.ma.masked_equal(pair.depth_mm, 0)
    return {
        "pil": (opened(pair.rgb_path), opened(pair.depth_path)),
        "pil without alpha": (PIL.Image.fromarray(pair.rgb).convert("RGBA"), PIL.Image.fromarray(pair.depth_mm)),
        "pil, 32 bits": (PIL.Image.fromarray(pair.rgb), PIL.Image.fromarray(pair.depth_mm.astype(np.int32))),
        "torch C H W": (torch.from_numpy(pair.rgb).permute(2, 0, 1), torch.from_numpy(pair.depth_mm.astype(np.int32))),
        "torch 1 C H W": (
            torch.from_numpy(pair.rgb).permute(2, 0, 1)[None],
            torch.from_numpy(pair.depth_mm * np.float32(0.001))[None, None].requires_grad_(),
        ),
        "opencv": (bgr[..., ::-1], cv2.imread(str(pair.depth_path), cv2.IMREAD_UNCHANGED)),
        "opencv umat": (cv2.UMat(pair.rgb), cv2.UMat(pair.depth_mm)),
        "big-endian": (pair.rgb, pair.depth_mm.astype(">u2")),
        "masked": (np.ma.asarray(pair.rgb), np.ma.masked_array(np.where(masked.mask, 777, masked.data), masked.mask)),
        "masked metres": (pair.rgb, np.ma.masked_array(pair.depth_mm * np.float32(0.001), pair.depth_mm == 0)),
    }


@pytest.mark.parametrize("kind", [
    "pil", "pil without alpha", "pil, 32 bits", "torch C H W", "torch 1 C H W", "opencv", "opencv umat", "big-endian",
    "masked", "masked metres",
])  # fmt: skip
def test_the_same_scene_in_every_library_has_the_same_labels(kind, pair, segment, live_server):
    rgb, depth = kinds(pair)[kind]
    expected = segment(pair.rgb, pair.depth_mm)
    here = segment(rgb, depth)
    np.testing.assert_array_equal(here.labels, expected.labels)
    assert here.classes == expected.classes
    with Client(live_server.http_url) as client:
        there = client.segment(rgb, depth)
        (streamed,) = client.stream([(rgb, depth)])
    np.testing.assert_array_equal(there.labels, expected.labels)
    assert there.classes == streamed.result.classes == expected.classes


def test_the_same_bytes_are_sent_whatever_holds_them(pair):
    expected = segment_call({"rgb": pair.rgb, "depth": pair.depth_mm}, {}).images
    for kind, (rgb, depth) in kinds(pair).items():
        sent = segment_call({"rgb": rgb, "depth": depth}, {}).images
        assert sent["rgb"] == expected["rgb"], kind
        if kind not in ("torch 1 C H W", "masked metres"):  # in metres
            assert sent["depth"] == expected["depth"], kind


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("rgb", torch.zeros(3, 4, 5), "rgb is a float32 array of shape (4, 5, 3); give HxWx3 uint8 in RGB order"),
        (
            "depth",
            torch.full((4, 5), 70_000),
            "depth has values from 70000 to 70000; give those of 16 bits, 0 to 65535",
        ),
        ("depth", torch.full((4, 5), -1), "depth has values from -1 to -1; give those of 16 bits"),
        (
            "thermal",
            np.ma.masked_equal(np.array([[1, 2], [3, 4]], np.uint16), 2),
            "thermal is masked at 1 pixels, and which of its numbers means no measurement only you know",
        ),
        ("rgb", object(), "rgb is a object; give a path, bytes, a NumPy array, a PIL image or a torch tensor"),
        ("depth", [[1, 2]], "depth is a list; give a path"),
    ],
)
def test_what_is_no_image_is_refused_before_it_is_sent(name, value, sentence):
    with pytest.raises(InvalidInputError) as refused:
        segment_call({name: value}, {})
    assert str(refused.value).startswith(sentence)


def test_bfloat16_depth_is_taken_as_metres():
    plain = plain_image(torch.ones(4, 5, dtype=torch.bfloat16), "depth")
    assert (plain.dtype, plain.shape) == (np.float32, (4, 5))


def test_images_of_other_libraries_are_read_without_importing_these_libraries():
    code = (
        "import sys, numpy as np; from geminifusion.options import segment_call\n"
        "segment_call({'rgb': np.zeros((2, 2, 3), np.uint8)}, {})\n"
        "assert not {'torch', 'PIL', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_notebook_shows_a_small_picture_a_table_and_no_markup_of_others(pair, segment):
    result = segment(pair.rgb, pair.depth_mm)
    first = dataclasses.replace(result.classes[0], name="<script>alert(1)</script>")
    hostile = dataclasses.replace(result, classes=(first, *result.classes[1:]), warnings=("a <b> & c",))
    shown = hostile._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "a &lt;b&gt; &amp; c" in shown
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(picture, result.overlay())
    assert not re.search(r"https?:", shown)
    large = dataclasses.replace(result, labels=np.zeros((900, 1600), np.uint8), sources={}, warnings=())
    (encoded,) = re.findall(r'base64,([^"]+)"', large._repr_html_())
    assert max(cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR).shape) <= 360
