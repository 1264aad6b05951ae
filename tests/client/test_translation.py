"""Translation by the client: in process, over HTTP and over gRPC the same values; files; `predict`."""

import asyncio
import dataclasses
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from tests.service.conftest import running_server
from tests.translator_artifact import expected_output, write_translator

import geminifusion
from geminifusion import AsyncClient, Client
from geminifusion.commands import predict
from geminifusion.errors import InvalidInputError, ServerError
from geminifusion_runtime.artifact import read_metadata, write_metadata
from geminifusion_runtime.png_encoder import encode_png
from geminifusion_runtime.tasks.translation import runtime

SIZE = (50, 70)


@pytest.fixture(scope="module", params=["image", "depth"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return {
        "rgb": rng.integers(0, 200, (*SIZE, 3), dtype=np.uint8),
        "edge": rng.integers(0, 50, SIZE, dtype=np.uint8),
    }


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, kind):
    return write_translator(tmp_path_factory.mktemp("translators") / kind, kind)


@pytest.fixture(scope="module")
def live(artifact):
    with running_server(artifact) as server:
        yield server


def test_every_way_gives_the_same_values_bit_for_bit(live, artifact, kind, images):
    expected = geminifusion.load(artifact, threads=1).translate(**images)
    np.testing.assert_array_equal(expected.output, expected_output(kind, **images))

    async def ask(url):
        async with AsyncClient(url) as client:
            return await client.translate(**images)

    for url in (live.url, f"grpc://{live.grpc_target}"):
        with Client(url) as client:
            found = client.translate(**images)
        assert found.output.dtype == expected.output.dtype
        np.testing.assert_array_equal(found.output, expected.output)
        np.testing.assert_array_equal(asyncio.run(ask(url)).output, expected.output)
        assert (found.model, found.domain) == (expected.model, expected.domain)
        assert set(found.sensors) == {"rgb", "edge"}


def test_warnings_come_as_they_are_whatever_they_say(live, images, monkeypatch):
    said = ("a depth of 0 … 10 m; check it", 'an "x", too')
    monkeypatch.setattr(runtime, "absence_warnings", lambda *_: said)
    for url in (live.url, f"grpc://{live.grpc_target}"):
        with Client(url) as client:
            assert client.translate(**images).warnings == said


def test_a_result_is_saved_as_values_or_as_a_picture(artifact, kind, images, tmp_path):
    result = geminifusion.load(artifact, threads=1).translate(**images)
    np.testing.assert_array_equal(np.load(result.save(tmp_path / "out.npy")), result.output)
    stored = cv2.imread(str(result.save(tmp_path / "out.png")), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == (np.uint8 if kind == "image" else np.uint16)
    assert result.picture().shape == (*SIZE, 3)
    with pytest.raises(InvalidInputError, match=r"use \.png or \.npy"):
        result.save(tmp_path / "out.jpg")
    assert f"{SIZE[1]}x{SIZE[0]}" in repr(result)


def test_the_wrong_task_is_a_sentence(live, artifact, images, tiny_artifact):
    with Client(live.url) as client, pytest.raises(ServerError, match=r"Client\.translate"):
        client.segment(images["rgb"])
    with pytest.raises(InvalidInputError, match=r"image-translation; call translate\(\)"):
        geminifusion.load(artifact, threads=1)(images["rgb"])
    with pytest.raises(InvalidInputError, match="semantic-segmentation; load a translator"):
        geminifusion.load(tiny_artifact, threads=1).translate(**images)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "no image was given"),
        ({"allign": "resize"}, "did you mean the option align"),
        ({"align": "register"}, "align is 'register', expected one of none, resize"),
        ({"deadline_ms": 5.0}, "deadline_ms is an option of a server"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(artifact, images, arguments, sentence):
    given = images if arguments else {}
    with pytest.raises(InvalidInputError, match=sentence):
        geminifusion.load(artifact, threads=1).translate(**given, **arguments)


@pytest.mark.parametrize("served", [False, True])
def test_predict_writes_images_of_files_and_folders(live, artifact, kind, images, tmp_path, served):
    for name, image in images.items():
        (tmp_path / name).mkdir()
        for stem in ("a", "b"):
            (tmp_path / name / f"{stem}.png").write_bytes(encode_png(image))
    where = ["--url", live.url] if served else ["--artifact", str(artifact)]
    domain = "normal" if kind == "image" else "depth"

    def run(rgb, edge, *more):
        arguments = [str(rgb), "--input", f"edge={edge}", *where, "--output", str(tmp_path / "out"), *more]
        return CliRunner().invoke(predict, arguments, catch_exceptions=False)

    one = run(tmp_path / "rgb" / "a.png", tmp_path / "edge" / "a.png", "--format", "npy")
    assert one.exit_code == 0, one.output
    assert f"{domain}, 70x50" in one.output
    np.testing.assert_array_equal(np.load(tmp_path / "out" / f"a_{domain}.npy"), expected_output(kind, **images))
    several = run(tmp_path / "rgb", tmp_path / "edge")
    assert "2 views translated; wrote 4 files" in several.output
    assert {path.name for path in (tmp_path / "out").glob("b_*")} == {f"b_{domain}.png", f"b_{domain}_picture.png"}
    refused = run(tmp_path / "rgb", tmp_path / "edge", "--overwrite", "--recursive")
    assert refused.exit_code == 2
    assert "--recursive, --overwrite: not for image translation; leave it out" in refused.output
    picture = run(tmp_path / "rgb" / "a.png", tmp_path / "edge" / "a.png", "--format", "picture")
    assert f"wrote {tmp_path / 'out' / f'a_{domain}_picture.png'}" in picture.output


@pytest.mark.parametrize("served", [False, True])
def test_predict_with_a_domain_the_model_was_not_trained_for_is_a_sentence(live, artifact, images, tmp_path, served):
    for name, image in images.items():
        (tmp_path / f"{name}.png").write_bytes(encode_png(image))
    where = ["--url", live.url] if served else ["--artifact", str(artifact)]
    arguments = [str(tmp_path / "rgb.png"), "--input", f"edge={tmp_path / 'edge.png'}"]
    arguments += ["--input", f"thermal={tmp_path / 'edge.png'}", *where, "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(predict, [*arguments, "--format", "npy"])
    assert done.exit_code != 0
    assert "'thermal'" in str(done.exception)
    assert "send rgb and edge" in str(done.exception)


def test_predict_with_a_model_that_there_is_not_is_a_sentence(live, images, tmp_path):
    (tmp_path / "rgb.png").write_bytes(encode_png(images["rgb"]))
    arguments = [str(tmp_path / "rgb.png"), "--url", live.url, "--model", "to-night", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(predict, [*arguments, "--format", "npy"])
    assert done.exit_code != 0
    assert "to-night" in str(done.exception)


def test_a_version_decides_what_predict_does(artifact, kind, images, tmp_path, tiny_artifact):
    """Two versions of one name are for two tasks, and the server's default is for the other."""
    other = tmp_path / "masks"
    shutil.copytree(tiny_artifact, other)
    metadata = read_metadata(other)
    write_metadata(other, dataclasses.replace(metadata, name=f"to-{kind}", version="2"))
    for name, image in images.items():
        (tmp_path / f"{name}.png").write_bytes(encode_png(image))
    with running_server(other, artifacts=(other, artifact)) as server:
        arguments = [tmp_path / "rgb.png", "--url", server.url, "--output", tmp_path / "out"]
        edge = ["--input", f"edge={tmp_path / 'edge.png'}"]
        one = CliRunner().invoke(predict, [*map(str, arguments), *edge, "--model", f"to-{kind}@1"])
        assert one.exit_code == 0, one.exception
        (tmp_path / "depth.png").write_bytes(encode_png(np.full(SIZE, 1500, np.uint16)))
        depth = ["--input", f"depth={tmp_path / 'depth.png'}"]
        two = CliRunner().invoke(predict, [*map(str, arguments), *depth, "--model", f"to-{kind}@2"])
        assert two.exit_code == 0, two.exception
    assert "70x50" in one.output
    assert (tmp_path / "out" / "rgb_mask.png").is_file()
