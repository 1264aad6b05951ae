"""What a server does about a frame of a broken sensor, and about sizes that differ."""

import cv2
import numpy as np
import pytest


@pytest.fixture
def broken(pair):
    return pair.files(depth=cv2.imencode(".png", np.zeros_like(pair.depth_mm))[1].tobytes())


def test_by_default_the_client_is_warned(live_server, broken):
    answer = live_server.post(broken, format="json").json()
    assert answer["sensors"]["depth"]["holes"] == 1.0
    assert any("broken sensor" in text for text in answer["warnings"])
    assert answer["sensors"]["rgb"]["problem"] is None


@pytest.mark.parametrize("policy", ["reject", "drop-modality"])
def test_a_frame_the_model_needs_is_refused_where_that_is_the_policy(live_server, broken, policy):
    response = live_server.post(broken, sensor_policy=policy)
    assert (response.status_code, response.json()["code"]) == (422, "sensor_broken")


def test_a_modality_the_model_can_do_without_is_dropped(make_artifact, serving, broken, pair, tmp_path):
    artifact = make_artifact(tmp_path / "optional", depth_optional=True)
    with serving(artifacts=(artifact,), sensor_policy="drop-modality") as live:
        dropped = live.post(broken, format="json").json()
        assert any("left out" in text for text in dropped["warnings"])
        assert dropped["mask"] == live.post({"rgb": pair.files()["rgb"]}, format="json").json()["mask"]


def test_depth_of_another_size_is_resized_where_that_is_asked_for(live_server, pair, make_pair):
    small = cv2.resize(pair.depth_mm, (32, 24), interpolation=cv2.INTER_NEAREST_EXACT)
    files = pair.files(depth=cv2.imencode(".png", small)[1].tobytes())
    refused = live_server.post(files)
    assert refused.status_code == 422
    assert "align=resize" in refused.json()["detail"]
    answer = live_server.post(files, align="resize", format="json").json()
    assert any("resized from 32x24 to 64x48" in text for text in answer["warnings"])
    back = cv2.resize(small, (64, 48), interpolation=cv2.INTER_NEAREST_EXACT)
    same = live_server.post(pair.files(depth=cv2.imencode(".png", back)[1].tobytes()), format="json").json()
    assert answer["mask"] == same["mask"]
    odd = pair.files(depth=cv2.imencode(".png", small[:, :20].copy())[1].tobytes())
    assert any(
        "another shape" in text for text in live_server.post(odd, align="resize", format="json").json()["warnings"]
    )
