"""Models of other sensors than a colour and a depth camera, asked by the names of their modalities on every way."""

import json

import cv2
import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion import AsyncClient, Client, load
from geminifusion.commands import demo, models, predict
from geminifusion.errors import InvalidInputError, RequestRejectedError
from geminifusion.server_process import open_port, running_server
from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.decoding.hha import hha_from_depth
from geminifusion_runtime.errors import GeminiFusionError

TRANSPORTS = ("http", "grpc")


@pytest.fixture(scope="module")
def artifacts(make_sensor_artifact, make_spec, tmp_path_factory):
    """Models of 16-bit and 8-bit thermal pictures, of HHA, and of four modalities of which any may be absent."""
    folder = tmp_path_factory.mktemp("artifacts")
    rgb, thermal = make_spec("rgb", encoding="imagenet"), make_spec("thermal", unit="count")
    four = [
        make_spec("rgb", encoding="imagenet", optional=True),
        make_spec("depth", encoding="metric", unit="metre", optional=True),
        make_spec("event", channels=3, optional=True),
        make_spec("thermal", unit="count", optional=True),
    ]
    return {
        "warm": make_sensor_artifact(folder / "warm", [rgb, thermal]),
        "four": make_sensor_artifact(folder / "four", four),
        "preview": make_sensor_artifact(folder / "preview", [rgb, make_spec("thermal")]),
        "geocentric": make_sensor_artifact(folder / "geocentric", [rgb, make_spec("hha", encoding="hha")]),
    }


@pytest.fixture(scope="module")
def addresses(artifacts, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    arguments = [part for path in artifacts.values() for part in ("--artifact", path)]
    with running_server(arguments, log) as server:
        yield {"http": server.http_url, "grpc": server.grpc_url}


@pytest.fixture(scope="module")
def scene(pair, tmp_path_factory):
    """The pair with a thermal and an event picture of the same pixels, as arrays."""
    rows, columns = np.mgrid[:50, :70]
    thermal = (28_000 + 40 * rows + 15 * columns).astype(np.uint16)
    thermal[20:24, 30:40] = 65535
    event = np.stack([columns * 3, rows * 5, (rows + columns) * 2], axis=2).astype(np.uint8)
    return {"rgb": pair.rgb, "depth": pair.depth_mm, "event": event, "thermal": thermal}


@pytest.fixture(scope="module")
def files(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    for name, array in scene.items():
        suffix = ".tiff" if name == "thermal" else ".png"
        stored = array[..., ::-1] if array.ndim == 3 else array
        assert cv2.imwrite(str(folder / f"{name}{suffix}"), stored)
    return {name: folder / f"{name}{'.tiff' if name == 'thermal' else '.png'}" for name in scene}


def assert_same(there, here):
    np.testing.assert_array_equal(there.labels, here.labels)
    assert there.classes == here.classes
    assert there.warnings == here.warnings
    assert there.sensors == here.sensors
    assert sorted(there.modality_weights) == sorted(here.modality_weights)
    for name, weights in here.modality_weights.items():
        np.testing.assert_array_equal(there.modality_weights[name], weights.astype(np.float16))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_thermal_picture_is_an_argument_of_its_name(transport, addresses, artifacts, scene, files):
    segment = load(artifacts["warm"], threads=1)
    here = segment(files["rgb"], thermal=files["thermal"], thermal_invalid=65535)
    assert len(here.classes) == 4
    assert all(share.median_depth_m is None for share in here.classes)
    assert "no depth" in here.table()
    with Client(addresses[transport]) as client:
        for thermal in (files["thermal"], str(files["thermal"]), files["thermal"].read_bytes(), scene["thermal"]):
            there = client.segment(rgb=files["rgb"], thermal=thermal, thermal_invalid=65535, model="warm")
            assert_same(there, here)
        unmarked = client.segment(files["rgb"], thermal=files["thermal"], model="warm")
    assert (unmarked.labels != here.labels).any()
    assert_same(unmarked, segment(scene["rgb"], thermal=scene["thermal"]))


def test_8_bit_thermal_previews_are_sent_as_training_reads_them(addresses, artifacts, scene, tmp_path):
    preview = cv2.normalize(scene["thermal"], None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    assert cv2.imwrite(str(tmp_path / "preview.tiff"), preview)
    here = load(artifacts["preview"], threads=1)(scene["rgb"], thermal=preview)
    for url in addresses.values():
        with Client(url) as client:
            assert_same(client.segment(scene["rgb"], thermal=tmp_path / "preview.tiff", model="preview"), here)
            with pytest.raises(RequestRejectedError, match="16-bit integer values, the model was trained on 8 bits"):
                client.segment(scene["rgb"], thermal=scene["thermal"], model="preview")


def test_hha_is_sent_as_a_picture_or_computed_from_depth_and_the_camera(addresses, artifacts, scene):
    camera = (60.0, 60.0, 35.0, 25.0)
    metres = scene["depth"] * np.float32(0.001)
    hha = np.rint(hha_from_depth(metres, Intrinsics(fx=60, fy=60, cx=35, cy=25))).astype(np.uint8)
    here = load(artifacts["geocentric"], threads=1)(scene["rgb"], hha=hha)
    assert len(here.classes) > 1
    options = {"model": "geocentric", "intrinsics": camera}
    for url in addresses.values():
        with Client(url) as client:
            np.testing.assert_array_equal(client.segment(scene["rgb"], hha=hha, model="geocentric").labels, here.labels)
            for depth in ({"depth": scene["depth"]}, {"depth": metres}, {"hha": scene["depth"]}):
                np.testing.assert_array_equal(client.segment(scene["rgb"], **depth, **options).labels, here.labels)
            with pytest.raises(RequestRejectedError, match="send intrinsics=fx,fy,cx,cy"):
                client.segment(scene["rgb"], scene["depth"], model="geocentric")
    there = load(artifacts["geocentric"], threads=1)(scene["rgb"], scene["depth"], intrinsics=camera)
    np.testing.assert_array_equal(there.labels, here.labels)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("absent", [(), ("rgb",), ("rgb", "depth"), ("event",), ("depth", "event", "thermal")])
def test_any_of_four_modalities_may_be_left_out(transport, absent, addresses, artifacts, scene):
    images = {name: array for name, array in scene.items() if name not in absent}
    here = load(artifacts["four"], threads=1)(**images)
    with Client(addresses[transport]) as client:
        there = client.segment(**images, model="four")
    assert_same(there, here)
    assert set(here.modality_weights) == {"depth", "event", "thermal"}
    assert [warning for warning in here.warnings if "was sent" in warning] == [
        f"no {name} was sent; the model was trained to do without, but answers are less sure" for name in absent
    ]


async def test_the_async_client_takes_the_same_arguments(addresses, artifacts, scene):
    here = load(artifacts["warm"], threads=1)(scene["rgb"], thermal=scene["thermal"])
    for url in addresses.values():
        async with AsyncClient(url) as client:
            assert_same(await client.segment(scene["rgb"], thermal=scene["thermal"], model="warm"), here)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_frames_of_a_stream_are_mappings_of_modalities(transport, addresses, artifacts, scene):
    segment = load(artifacts["four"], threads=1)
    frames = [
        scene,
        {name: scene[name] for name in ("depth", "thermal")},
        (scene["rgb"], scene["depth"]),
        scene["rgb"],
    ]
    expected = [segment(**frames[0]), segment(**frames[1]), segment(*frames[2]), segment(frames[3])]
    with Client(addresses[transport]) as client:
        responses = list(client.stream(frames, model="four", gate=True))
    assert [response.error for response in responses] == [None] * 4
    for response, here in zip(responses, expected, strict=True):
        assert_same(response.result, here)


REFUSALS = {
    "warm": [
        ({"rgb", "depth"}, {}, "thermal is missing: depth, rgb came; send rgb and thermal", "missing_part"),
        ({"rgb", "depth", "thermal"}, {}, "warm@1 has no input 'depth'; send rgb and thermal", "unknown_part"),
        ({"thermal"}, {}, "rgb is missing: thermal came; send rgb and thermal", "missing_part"),
        (
            {"rgb", "thermal"},
            {"thermal_scale": 0.01},
            "thermal_scale makes no sense: thermal of warm@1 is of stored numbers, only distances have a scale",
            "invalid_option",
        ),
        (
            {"rgb", "thermal"},
            {"rgb_invalid": 0},
            "rgb_invalid makes no sense: rgb of warm@1 is an 8-bit picture, every value of it is a measurement",
            "invalid_option",
        ),
        (
            {"rgb", "thermal"},
            {"depth_scale": 0.001},
            "there is no option 'depth_scale': the modalities of warm@1 are rgb, thermal; leave it out",
            "invalid_option",
        ),
        (
            {"rgb", "thermal"},
            {"thermals_invalid": 65535},
            "there is no option 'thermals_invalid': the modalities of warm@1 are rgb, thermal; did you mean "
            "thermal_invalid?",
            "invalid_option",
        ),
        (
            {"rgb", "thermal"},
            {"intrinsics": (500, 500, 35, 25)},
            "intrinsics say where the pixels of depth are, and warm@1 takes no depth, but rgb, thermal; leave them out",
            "invalid_option",
        ),
    ]
}


@pytest.mark.parametrize(("names", "options", "sentence", "code"), REFUSALS["warm"])
def test_what_does_not_fit_the_model_is_refused_in_its_own_words(
    names, options, sentence, code, addresses, artifacts, scene
):
    images = {name: scene[name] for name in names}
    for url in addresses.values():
        with Client(url) as client, pytest.raises(RequestRejectedError) as refused:
            client.segment(**images, **options, model="warm")
        assert sentence in str(refused.value)
        assert refused.value.code == code
    with pytest.raises(GeminiFusionError) as here:
        load(artifacts["warm"], threads=1)(**images, **options)
    assert sentence in str(here.value)
    assert here.value.code == code


@pytest.mark.parametrize(
    ("model", "names", "query", "sentence"),
    [
        (
            "warm",
            {"rgb", "thermal"},
            {"format": "ply"},
            "format=ply needs depth in metres, and warm@1 takes rgb, thermal",
        ),
        ("geocentric", {"rgb", "depth"}, {"format": "pcd"}, "format=pcd needs depth in metres, and geocentric@1 takes"),
        ("four", {"rgb"}, {"format": "ply"}, "format=ply needs depth, and rgb came; send it as well"),
        ("four", {"depth"}, {"align": "register"}, "align=register brings depth to the pixels of rgb, and none came"),
    ],
)
def test_points_of_what_has_none_are_refused_in_one_sentence(model, names, query, sentence, addresses, files):
    query = {"model": model, "intrinsics": "60,60,35,25", **query}
    with httpx.Client(trust_env=False) as http:
        answer = http.post(
            f"{addresses['http']}/v1/segment",
            params=query,
            files={name: files[name].read_bytes() for name in names},
        )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_option")
    assert sentence in answer.json()["detail"]


def test_points_without_rgb_have_the_colors_of_the_classes(addresses, artifacts, scene, files, tmp_path):
    with httpx.Client(trust_env=False) as http:
        answer = http.post(
            f"{addresses['http']}/v1/segment",
            params={"model": "four", "intrinsics": "60,60,35,25", "format": "ply"},
            files={"depth": files["depth"].read_bytes()},
        )
    here = load(artifacts["four"], threads=1)(depth=scene["depth"], intrinsics=(60, 60, 35, 25))
    assert here.save_pointcloud(tmp_path / "points.ply").read_bytes() == answer.content
    cloud = here.to_pointcloud()
    np.testing.assert_array_equal(cloud.rgb, here.palette[cloud.label])


def test_points_of_depth_that_the_sensor_policy_leaves_out_are_refused(artifacts, scene):
    segment = load(artifacts["four"], threads=1)
    options = {"intrinsics": (60, 60, 35, 25), "rgb_intrinsics": (60, 60, 35, 25), "align": "register"}
    options["extrinsics"] = np.eye(4)
    with pytest.raises(GeminiFusionError, match="align=register needs a sensor that sensor_policy=drop-modality left"):
        segment(scene["rgb"], np.zeros_like(scene["depth"]), sensor_policy="drop-modality", **options)


@pytest.mark.parametrize(
    ("thermal", "sentence"),
    [
        ("8 bits", "of 8-bit integer values, the model was trained on more than 8 bits"),
        ("colours", "three different channels"),
    ],
)
def test_a_thermal_picture_of_another_kind_is_refused(thermal, sentence, addresses, artifacts, scene):
    image = (scene["thermal"] // 256).astype(np.uint8)
    if thermal == "colours":
        image = np.stack([scene["thermal"], scene["thermal"] + 5, scene["thermal"]], axis=2)
    with Client(addresses["http"]) as client, pytest.raises(RequestRejectedError, match=sentence) as refused:
        client.segment(scene["rgb"], thermal=image, model="warm")
    assert refused.value.status == 415
    with pytest.raises(GeminiFusionError):
        load(artifacts["warm"], threads=1)(scene["rgb"], thermal=image)


def test_a_name_that_is_neither_option_nor_modality_is_explained(scene):
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(
            InvalidInputError, match=r"aling file 'resize' cannot be read; .* did you mean the option align"
        ):
            client.segment(scene["rgb"], aling="resize")
        with pytest.raises(InvalidInputError, match="there is no option 'gait'; did you mean gate"):
            client.segment(scene["rgb"], gait=True)
        with pytest.raises(InvalidInputError, match="no image was given"):
            client.segment()
        with pytest.raises(InvalidInputError, match="thermal is a int64 array"):
            client.segment(scene["rgb"], thermal=scene["thermal"].astype(np.int64))


def test_overlays_are_drawn_on_any_modality(addresses, artifacts, scene, files, tmp_path):
    with Client(addresses["http"]) as client:
        whole = client.segment(**scene, model="four")
        night = client.segment(depth=scene["depth"], thermal=scene["thermal"], model="four")
    here = load(artifacts["four"], threads=1)(**scene)
    posted = {name: path.read_bytes() for name, path in files.items()}

    def drawn(images, **options):
        query = {"format": "overlay", "model": "four", **options}
        with httpx.Client(trust_env=False) as http:
            answer = http.post(f"{addresses['http']}/v1/segment", params=query, files=images)
        assert answer.status_code == 200, answer.text
        return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    np.testing.assert_array_equal(drawn(posted), whole.overlay())
    np.testing.assert_array_equal(drawn(posted, overlay_on="event"), whole.overlay(on="event"))
    for name in ("depth", "thermal"):
        by_server = drawn(posted, overlay_on=name)
        np.testing.assert_array_equal(by_server, here.overlay(on=name))
        # the client knows stored numbers alone, so a color may be the neighboring one
        assert np.abs(by_server.astype(int) - whole.overlay(on=name)).max() <= 8
    blind = {name: posted[name] for name in ("depth", "thermal")}
    np.testing.assert_array_equal(drawn(blind), drawn(blind, overlay_on="depth"))
    assert len(np.unique(drawn(blind).reshape(-1, 3), axis=0)) > 20
    assert night.overlay().shape == (50, 70, 3)
    with pytest.raises(ValueError, match="no image of 'rgb' to draw on; give one of depth, thermal"):
        night.overlay(on="rgb")
    with httpx.Client(trust_env=False) as http:
        for name, sentence in (
            ("lidar", "expected a modality of four@1: rgb, depth, event, thermal"),
            ("rgb", "overlay_on is rgb, and depth, thermal came"),
        ):
            query = {"format": "overlay", "model": "four", "overlay_on": name}
            answer = http.post(f"{addresses['http']}/v1/segment", params=query, files=blind)
            assert answer.status_code == 400
            assert sentence in answer.json()["detail"]


def test_json_has_the_weights_of_the_merged_modalities_with_the_gate(addresses, files):
    posted = {name: path.read_bytes() for name, path in files.items()}
    query = {"format": "json", "model": "four"}
    with httpx.Client(trust_env=False) as http:
        without = http.post(f"{addresses['http']}/v1/segment", params=query, files=posted).json()
        answer = http.post(f"{addresses['http']}/v1/segment", params={**query, "gate": 1}, files=posted).json()
    assert "modality_weights" not in without
    assert list(answer["modality_weights"]) == ["depth", "event", "thermal"]
    assert answer["modality_weights"]["event"]["shape"] == answer["gate"]["shape"]


def test_disagreement_is_with_and_without_all_but_the_first_that_came(addresses, artifacts, scene):
    segment = load(artifacts["four"], threads=1)
    with Client(addresses["grpc"]) as client:
        result = client.segment(depth=scene["depth"], thermal=scene["thermal"], disagreement=True, model="four")
        with pytest.raises(RequestRejectedError, match="and only depth came"):
            client.segment(depth=scene["depth"], disagreement=True, model="four")
    alone = segment(depth=scene["depth"])
    changed = (result.labels != alone.labels).any()
    assert changed
    assert result.disagreement.max() > 0


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_predict_takes_modalities_by_name(addresses, artifacts, files, tmp_path):
    thermal = ("--input", f"thermal={files['thermal']}", "--invalid", "thermal=65535")
    tables = []
    for where in (
        ("--artifact", artifacts["warm"]),
        *(("--url", url, "--model", "warm") for url in addresses.values()),
    ):
        done = run(predict, files["rgb"], *thermal, *where, "--output", tmp_path, "--overlay-on", "thermal")
        assert done.exit_code == 0, done.output
        tables.append(done.output)
    assert set(tables) == {tables[0]}
    assert (tmp_path / "rgb_overlay.png").exists()


def test_predict_does_without_rgb(artifacts, files, tmp_path):
    where = ("--artifact", artifacts["four"], "--output", tmp_path, "--format", "json")
    done = run(predict, "--input", f"depth={files['depth']}", "--scale", "depth=0.002", *where)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "depth.json").read_text(encoding="utf-8"))["size"] == {"height": 50, "width": 70}
    assert "no rgb was sent" in done.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no image was given; give RGB, RGB and DEPTH, or --input NAME=FILE"),
        (["--input", "thermal"], "'thermal' is no NAME=FILE"),
        (["--input", "thermal=/nowhere.png"], "does not exist"),
        (["{rgb}", "--input", "rgb={rgb}"], "rgb comes twice"),
        (["{rgb}", "--scale", "lidar=much"], "'much' is not a valid float"),
    ],
)
def test_predict_says_how_inputs_are_given(arguments, sentence, files):
    done = run(predict, *(argument.format(rgb=files["rgb"]) for argument in arguments))
    assert done.exit_code == 2
    assert sentence in done.output


def test_models_and_their_description_tell_what_to_send(addresses, artifacts):
    with Client(addresses["grpc"]) as client:
        described = {model["name"]: model for model in client.models()}
    thermal = described["warm"]["modalities"][1]
    assert thermal["unit"] == "count"
    assert "16 bits or floats" in thermal["send"]
    assert described["four"]["modalities"][1]["send"].startswith("depth: 16-bit PNG (millimetres unless depth_scale")
    shown = run(models, "--artifact", artifacts["warm"]).output
    assert "thermal (float32, count)" in shown
    assert "geminifusion predict rgb.jpg --input thermal=thermal.png\n" in shown


def test_the_openapi_document_follows_the_models(addresses):
    with httpx.Client(trust_env=False) as http:
        document = http.get(f"{addresses['http']}/openapi.json").json()
    operation = document["paths"]["/v1/segment"]["post"]
    for content in operation["requestBody"]["content"].values():
        assert set(content["schema"]["properties"]) == {"rgb", "depth", "event", "thermal", "hha"}
        assert "required" not in content["schema"], "of four, any may be absent, and warm takes others"
    assert "thermal_invalid" in {parameter["name"] for parameter in operation["parameters"]}
    assert any("-F thermal=@thermal.png" in sample["source"] for sample in operation["x-codeSamples"])


def test_the_demo_asks_for_images_of_what_it_has_none_of(artifacts, files, tmp_path):
    done = run(demo, "--artifact", artifacts["warm"], "--output", tmp_path, "--once")
    assert isinstance(done.exception, InvalidInputError)
    assert "warm@1 takes rgb, thermal, and the bundled photographs have color and depth" in str(done.exception)
    ports = ("--http-port", open_port(0, "127.0.0.1"), "--grpc-port", open_port(0, "127.0.0.1"))
    inputs = [part for name in ("rgb", "thermal") for part in ("--input", f"{name}={files[name]}")]
    done = run(demo, "--artifact", artifacts["warm"], "--output", tmp_path, "--once", *ports, *inputs)
    assert done.exit_code == 0, done.output
    assert "by warm@1" in done.output
