"""Boxes by this process and by a server, over every transport the same."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from geminifusion import AsyncClient, Client, load
from geminifusion.detection import calls
from geminifusion.errors import InvalidInputError, RequestRejectedError
from geminifusion.server_process import running_server
from geminifusion_runtime.errors import NoPointsInRangeError


@pytest.fixture(scope="module")
def server(detector_artifact, tmp_path_factory):
    log = tmp_path_factory.mktemp("detector") / "server.log"
    with running_server(["--artifact", detector_artifact], log) as running:
        yield running


@pytest.fixture(scope="module")
def local(detector_artifact):
    return load(detector_artifact)


def numbers(result):
    found = result.found
    return (*found.detections, *found.camera, found.rectangles, found.alphas)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_server_finds_the_same_boxes_bit_for_bit(transport, server, local, make_street):
    street = make_street(1)
    here = local.detect(street.rgb, street.points, street.calibration)
    url = server.http_url if transport == "http" else server.grpc_url
    with Client(url) as client:
        there = client.detect(street.rgb, street.points, street.calibration)
    assert len(here) > 3
    assert there.names == here.names
    for one, other in zip(numbers(there), numbers(here), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert there.model == here.model == "street@1"
    assert (there.num_points, there.size) == (here.num_points, here.size)
    np.testing.assert_array_equal(there.draw_from_above(), here.draw_from_above())
    np.testing.assert_array_equal(there.draw(), here.draw())


async def test_the_asynchronous_client_gets_them_too(server, local, make_street):
    street = make_street(2)
    async with AsyncClient(server.http_url) as client:
        there = await client.detect(street.rgb, street.points, street.calibration, min_score=0.3)
    np.testing.assert_array_equal(
        there.boxes, local.detect(street.rgb, street.points, street.calibration, min_score=0.3).boxes
    )


def test_frames_that_come_together_are_as_if_they_came_alone(server, local, make_street):
    streets = [make_street(seed) for seed in range(3, 9)]

    def found(street):
        return client.detect(street.rgb, street.points, street.calibration)

    with Client(server.http_url) as client, ThreadPoolExecutor(6) as pool:
        together = list(pool.map(found, streets))
    for street, result in zip(streets, together, strict=True):
        alone = local.detect(street.rgb, street.points, street.calibration)
        np.testing.assert_array_equal(result.boxes, alone.boxes)
        np.testing.assert_array_equal(result.scores, alone.scores)


def test_files_are_as_good_as_arrays(local, make_street, tmp_path):
    street = make_street()
    paths = {}
    for name, content in street.files().items():
        paths[name] = tmp_path / name
        paths[name].write_bytes(content)
    np.testing.assert_array_equal(
        local.detect(paths["rgb"], paths["points"], paths["calibration"]).boxes,
        local.detect(street.rgb, street.npy(), street.calibration.as_document()).boxes,
    )


def test_results_are_written_as_json_kitti_text_and_pictures(local, make_street, tmp_path):
    street = make_street()
    result = local.detect(street.rgb, street.points, street.calibration)
    text = result.save(tmp_path / "000000.txt").read_text()
    assert text == result.kitti_text()
    assert '"class": "car"' in result.save(tmp_path / "000000.json").read_text()
    assert result.save(tmp_path / "000000.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidInputError, match=r"'\.xml'; use \.json, \.txt or \.png"):
        result.save(tmp_path / "boxes.xml")
    assert "car" in result.table()


def test_what_is_odd_about_points_is_said_by_every_way_and_once(server, local, make_street):
    street = make_street()
    for points, says in ((street.points[:, :3], "without reflectance"), (street.points * [1, 1, 1, 300], "up to")):
        here = local.detect(street.rgb, points, street.calibration).warnings
        assert sum(says in warning for warning in here) == 1
        for url in (server.http_url, server.grpc_url):
            with Client(url) as client:
                assert client.detect(street.rgb, points, street.calibration).warnings == here


def test_a_calibration_that_may_be_of_another_size_is_warned_of_by_every_way(server, local, make_street):
    street = make_street()
    p2 = street.calibration.p2 * [[1.1], [1.1], [1]]
    calibration = dataclasses.replace(street.calibration, p2=p2)
    here = local.detect(street.rgb, street.points, calibration).warnings
    assert [text for text in here if "of an image of about 221x67, and this one has 200x60" in text] == list(here)
    assert here
    for url in (server.http_url, server.grpc_url):
        with Client(url) as client:
            assert client.detect(street.rgb, street.points, calibration).warnings == here


def test_this_process_takes_more_points_than_a_server(local, make_street, monkeypatch):
    street = make_street()
    many = np.tile(street.points, (2**20 // len(street.points) + 1, 1))
    assert local.detect(street.rgb, many, street.calibration).num_points > 2**18
    monkeypatch.setattr(calls, "_MOST_POINTS", 299)
    with pytest.raises(InvalidInputError, match="points has 300 points, expected at most 299; give one sweep"):
        local.detect(street.rgb, street.points, street.calibration)


def test_what_is_wrong_is_said_before_or_after_it_is_sent(server, local, make_street):
    street = make_street()
    with Client(server.http_url) as client:
        with pytest.raises(InvalidInputError, match="no whole number of points"):
            client.detect(street.rgb, b"12345", street.calibration)
        with pytest.raises(InvalidInputError, match="min_score is 2"):
            client.detect(street.rgb, street.points, street.calibration, min_score=2.0)
        with pytest.raises(RequestRejectedError) as caught:
            client.detect(street.rgb, street.points - [99, 0, 0, 0], street.calibration)
    assert caught.value.code == "no_points_in_range"
    with pytest.raises(NoPointsInRangeError):
        local.detect(street.rgb, street.points - [99, 0, 0, 0], street.calibration)


def test_a_model_of_another_task_says_what_to_call(local, tiny_artifact, make_street):
    street = make_street()
    with pytest.raises(InvalidInputError, match=r"call detect\(\)"):
        local(street.rgb)
    with pytest.raises(InvalidInputError, match="load a detector"):
        load(tiny_artifact).detect(street.rgb, street.points, street.calibration)
