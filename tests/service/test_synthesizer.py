"""A server that makes the depth that a request lacks, over every transport, and what it refuses to make."""

import asyncio
import base64
import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from tests.translator_artifact import EDGE, RGB, synthesized_depth, write_synthesizer, write_translator

from geminifusion import Client, load
from geminifusion.commands import predict
from geminifusion.errors import ServerError
from geminifusion_runtime.artifact import GoldenSet, read_metadata, sha256_of, write_metadata
from geminifusion_runtime.errors import InvalidOptionError, MissingPartError
from geminifusion_runtime.synthesis import SYNTHESIZED, SynthesizerError
from geminifusion_service.models.loading import ModelLoader
from geminifusion_service.server import Server
from geminifusion_service.setting_fields import SettingsError
from geminifusion_service.settings import Settings


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory):
    return write_synthesizer(tmp_path_factory.mktemp("artifacts") / "to-depth")


@pytest.fixture(scope="module")
def live(serving, synthesizer):
    with serving(synthesizer=str(synthesizer)) as server:
        yield server


def expected(rgb):
    """The labels of the tiny artifact, which needs depth, with the depth that the synthesizer makes."""
    bright = rgb.astype(np.float32).mean(axis=2) > 128
    return (2 * bright + (synthesized_depth(rgb) > 2)).astype(np.uint8)


def made(warnings):
    return [text for text in warnings if text.startswith(f"{SYNTHESIZED}: ")]


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("depth", [None, "broken"])
def test_depth_that_is_missing_or_broken_is_made_and_the_answer_says_so(live, pair, scheme, depth):
    broken = np.zeros_like(pair.depth_mm)
    images = {"rgb": pair.rgb} if depth is None else {"rgb": pair.rgb, "depth": broken}
    with Client(live.url if scheme == "http" else f"grpc://{live.grpc_target}") as client:
        result = client.segment(**images, sensor_policy="synthesize")
    np.testing.assert_array_equal(result.labels, expected(pair.rgb))
    (text,) = made(result.warnings)
    assert "depth was made from rgb by to-depth@1" in text
    assert ("none was sent" if depth is None else "its sensor seems broken") in text
    assert ("depth" in result.sensors) == (depth is not None)
    assert all(one.median_depth_m is None for one in result.classes), "a guess is no measurement"


def test_the_header_and_the_open_inference_protocol_carry_the_warning(live, pair):
    answer = live.post({"rgb": pair.files()["rgb"]}, sensor_policy="synthesize")
    assert made(httpx.Response(200, content=answer.headers["x-geminifusion-warnings"]).json())
    body = {
        "inputs": [
            {
                "name": "rgb",
                "datatype": "BYTES",
                "shape": [1],
                "data": [base64.b64encode(pair.files()["rgb"]).decode()],
            }
        ],
        "outputs": [{"name": "mask"}],
        "parameters": {"sensor_policy": "synthesize"},
    }
    answer = httpx.post(f"{live.url}/v2/models/tiny/infer", json=body, trust_env=False)
    assert SYNTHESIZED in answer.text


def test_nothing_is_made_of_a_whole_frame_or_where_nobody_asks(live, pair):
    whole = live.post(pair.files(), sensor_policy="synthesize", format="json").json()
    assert whole["mask"] == live.post(pair.files(), format="json").json()["mask"]
    assert not made(whole["warnings"])
    refused = live.post({"rgb": pair.files()["rgb"]})
    assert (refused.status_code, refused.json()["code"]) == (400, "missing_part")


def test_in_a_batch_as_alone_and_as_in_this_process(live, make_pair, tiny_artifact, synthesizer):
    pairs = [make_pair(seed, 48 + 16 * (seed % 2), 64) for seed in range(12)]
    with ThreadPoolExecutor(12) as pool, Client(live.url) as client:
        together = list(pool.map(lambda pair: client.segment(pair.rgb, sensor_policy="synthesize"), pairs))
    model = load(tiny_artifact, synthesizer=synthesizer)
    for pair, result in zip(pairs, together, strict=True):
        np.testing.assert_array_equal(result.labels, expected(pair.rgb))
        alone = model(pair.rgb)
        np.testing.assert_array_equal(result.labels, alone.labels)
        assert made(alone.warnings) == made(result.warnings)
        assert alone.depth_m is None


def test_large_images_are_reduced_for_the_synthesizer_and_depth_enlarged(live, make_pair):
    rgb = make_pair(0, 240, 320).rgb
    with Client(live.url) as client:
        result = client.segment(rgb, sensor_policy="synthesize")
    assert result.labels.shape == (240, 320)
    assert (result.labels == expected(rgb)).mean() > 0.95


def test_the_servers_setting_holds_for_requests_that_name_no_policy(serving, synthesizer, pair):
    with serving(synthesizer=str(synthesizer), sensor_policy="synthesize") as live:
        answer = live.post({"rgb": pair.files()["rgb"]}, format="json").json()
        assert made(answer["warnings"])
        assert live.get("/v1/models/tiny").json()["synthesizer"] == "to-depth@1"


@pytest.mark.parametrize(
    ("parts", "options", "code", "message"),
    [
        (("depth",), {}, "missing_part", "rgb is missing: depth came"),
        (("rgb",), {"format": "ply", "intrinsics": "60,60,32,24"}, "invalid_option", "needs depth, and rgb came"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_decoded(live, pair, parts, options, code, message):
    files = {name: b"no image" if name == "rgb" else pair.files()[name] for name in parts}
    response = live.post(files, sensor_policy="synthesize", **options)
    assert response.json()["code"] == code
    assert message in response.json()["detail"]


def test_a_modality_that_the_model_can_do_without_and_nothing_makes_is_refused(
    make_artifact, synthesizer, pair, tmp_path
):
    artifact = make_artifact(tmp_path / "optional", depth_optional=True)
    metadata = read_metadata(artifact)
    specs = tuple(dataclasses.replace(spec, optional=True) for spec in metadata.modalities)
    write_metadata(artifact, dataclasses.replace(metadata, modalities=specs))
    model = load(artifact, synthesizer=synthesizer)
    depth = pair.depth_mm * np.float32(0.001)
    with pytest.raises(
        MissingPartError, match="rgb is missing, and to-depth@1 makes depth alone; send rgb, or another"
    ):
        model(depth=depth)
    assert model(depth=depth, sensor_policy="warn").labels.shape == depth.shape


def test_a_broken_frame_of_what_it_is_made_from_is_refused(live, pair):
    black = png(np.zeros_like(pair.rgb))
    for files in ({"rgb": black}, pair.files(rgb=black)):
        response = live.post(files, sensor_policy="synthesize")
        assert (response.status_code, response.json()["code"]) == (422, "sensor_broken")
        assert "makes depth and not rgb" in response.json()["detail"]


def test_openapi_requires_what_nothing_makes_and_says_when_the_rest_may_be_left_out(live):
    path = httpx.get(f"{live.url}/openapi.json", trust_env=False).json()["paths"]["/v1/segment"]
    schema = path["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["required"] == ["rgb"]
    assert "may be left out with sensor_policy=synthesize" in schema["properties"]["depth"]["description"]
    assert "left out" not in schema["properties"]["rgb"]["description"]


def test_points_are_not_given_of_depth_that_was_made(live, pair):
    files = pair.files(depth=png(np.zeros_like(pair.depth_mm)))
    response = live.post(files, sensor_policy="synthesize", format="ply", intrinsics="60,60,32,24")
    assert response.json()["code"] == "invalid_option"
    assert "format=ply needs a sensor" in response.json()["detail"]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_the_policy_without_a_synthesizer_is_refused(live_server, pair, scheme):
    with (
        Client(live_server.url if scheme == "http" else f"grpc://{live_server.grpc_target}") as client,
        pytest.raises(ServerError, match="needs a synthesizer, which tiny@1 has not: it was given none") as refused,
    ):
        client.segment(pair.rgb, sensor_policy="synthesize")
    assert refused.value.code == "invalid_option"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder, make: make(folder), "tiny@1 is for semantic-segmentation; give a model for image-translation"),
        (lambda folder, _: write_translator(folder), "makes normal, and tiny@1 takes rgb, depth"),
        (
            lambda folder, _: write_synthesizer(folder, modalities=(RGB, EDGE)),
            "makes depth from edge, which is no other input of tiny@1: rgb",
        ),
        (
            lambda folder, _: write_synthesizer(folder, distances=(1, 80)),
            "makes depth of 1 to 80 m, and tiny@1 tells 0 to 10 m apart",
        ),
        (lambda folder, _: write_synthesizer(folder, makes="rgb"), "makes rgb from rgb, which is no other input"),
    ],
)
def test_a_synthesizer_that_fits_no_model_is_refused_at_the_start(
    tiny_artifact, make_artifact, tmp_path, write, message
):
    settings = Settings.of(
        artifacts=(tiny_artifact,),
        synthesizer=str(write(tmp_path / "other", make_artifact)),
        http_port=0,
        grpc_port=0,
        decode_isolation="thread",
    )

    async def start():
        server = Server(settings)
        await server.start()
        try:
            await server.load()
        finally:
            await server.stop_now()

    with pytest.raises(ValueError, match=re.escape(message)):
        asyncio.run(start())
    with pytest.raises(SynthesizerError, match=re.escape(message)):
        load(tiny_artifact, synthesizer=settings.models.synthesizer)


@pytest.mark.parametrize("wrong", [False, True])
def test_a_synthesizer_that_does_not_make_what_torch_made_is_refused_at_the_start(tiny_artifact, tmp_path, wrong):
    directory = write_synthesizer(tmp_path / "to-depth")
    rgb = np.random.default_rng(0).integers(60, 200, (1, 64, 96, 3), dtype=np.uint8)
    depth = np.stack([synthesized_depth(rgb[0])])
    np.savez_compressed(directory / "golden.npz", rgb=rgb, depth=depth * np.float32(1.2 if wrong else 1))
    metadata = read_metadata(directory)
    files = metadata.files | {"golden.npz": sha256_of(directory / "golden.npz")}
    golden = GoldenSet(file="golden.npz", frames=1, source="noise", license="none")
    write_metadata(directory, dataclasses.replace(metadata, files=files, golden=golden))
    loader = loader_of(tiny_artifact, directory)
    if wrong:
        with pytest.raises(ValueError, match=r"synthesizer to-depth@1 failed its self-test: 0.000 % of the"):
            _ = loader.translator
    else:
        assert loader.translator.reference == "to-depth@1"


def loader_of(artifact, synthesizer):
    settings = Settings.of(artifacts=(artifact,), synthesizer=str(synthesizer), threads=1)
    return ModelLoader(models=settings.models, runtime=settings.runtime, batching=settings.batching)


def test_settings_that_cannot_synthesize_are_refused(tiny_artifact, synthesizer):
    with pytest.raises(SettingsError, match="pass --synthesizer DIRECTORY"):
        Settings.of(artifacts=(tiny_artifact,), sensor_policy="synthesize")
    with pytest.raises(SettingsError, match="replicas on Ray have no synthesizer"):
        Settings.of(artifacts=(tiny_artifact,), synthesizer=str(synthesizer), executor="ray")


def test_predict_makes_depth_of_a_picture_alone(tiny_artifact, synthesizer, pair, tmp_path):
    (tmp_path / "rgb.png").write_bytes(pair.files()["rgb"])
    arguments = [str(tmp_path / "rgb.png"), "--artifact", str(tiny_artifact), "--output", str(tmp_path)]
    run = CliRunner().invoke(predict, [*arguments, "--format", "png", "--synthesizer", str(synthesizer)])
    assert run.exit_code == 0, run.output
    assert SYNTHESIZED in run.output
    (mask,) = set(tmp_path.rglob("*.png")) - {tmp_path / "rgb.png"}
    np.testing.assert_array_equal(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED), expected(pair.rgb))
    run = CliRunner().invoke(predict, [*arguments, "--sensor-policy", "synthesize"])
    assert isinstance(run.exception, InvalidOptionError)
