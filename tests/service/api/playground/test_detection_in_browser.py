"""The page with a detector beside a segmentation model: its files, and the boxes in the image and from above."""

import json

import cv2
import numpy as np
import pytest
from tests.service.conftest import running_server
from tests.street import street

from geminifusion import load
from geminifusion_runtime.bundled import demo_street

pytestmark = pytest.mark.browser

DRAWN = """(selector) => {
  const canvas = document.querySelector(selector);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const found = {};
  for (let i = 0; i < data.length; i += 4) {
    const color = [data[i], data[i + 1], data[i + 2]].join(" ");
    found[color] = (found[color] ?? 0) + 1;
  }
  return found;
}"""
CAR, PEDESTRIAN = "86 180 233", "0 158 115"  # the colors of their boxes


@pytest.fixture(scope="module")
def live(tiny_artifact, detector_artifact):
    with running_server(tiny_artifact, artifacts=(tiny_artifact, detector_artifact)) as server:
        yield server


def answered(page):
    page.wait_for_selector("#history li button, #problem:visible")
    assert page.is_hidden("#problem"), page.text_content("#problem")
    page.wait_for_timeout(200)  # a frame in which all is drawn


def test_three_files_become_boxes_in_the_image_and_from_above(live, visit, choose_files, detector_artifact):
    files = street(3).files()
    expected = load(detector_artifact).detect(files["rgb"], files["points"], files["calibration"])
    cars = int((expected.labels == 2).sum())
    assert cars > 0
    with visit(live) as page:
        page.select_option("#model", "street@1")
        # KITTI's names: which file is which follows from what they end in.
        choose_files(page, {"1.txt": files["calibration"], "1.bin": files["points"], "1.png": files["rgb"]})
        answered(page)
        assert f"car {cars}" in page.get_attribute("#result-canvas", "aria-label")
        assert "P2: 100.0" in page.text_content('[data-modality="calibration"] pre')
        for selector in ("#result-canvas", '[data-modality="points"] canvas'):
            assert page.evaluate(DRAWN, selector).get(CAR, 0) > 20, selector
        page.locator("#legend li", has_text="car").locator("input").uncheck()
        page.wait_for_timeout(200)
        for selector in ("#result-canvas", '[data-modality="points"] canvas'):
            assert page.evaluate(DRAWN, selector).get(CAR, 0) == 0, selector
        with page.expect_download() as saved:
            page.click('#downloads button[data-save="json"]')
        document = json.loads(saved.value.path().read_text())
        np.testing.assert_array_equal([box["score"] for box in document["boxes"]], expected.scores)
        with page.expect_download() as saved:
            page.click('#downloads button[data-save="overlay"]')
        drawn = cv2.imread(str(saved.value.path()))
        assert drawn.shape == street(3).rgb.shape
        assert page.is_disabled('#downloads button[data-save="npz"]')


def test_the_call_of_what_is_on_screen_is_that_of_a_detector(live, visit, choose_files):
    with visit(live) as page:
        page.select_option("#model", "street@1")
        choose_files(
            page,
            {f"1.{name}": data for name, data in zip(("png", "bin", "txt"), street().files().values(), strict=True)},
        )
        answered(page)
        assert "-F calibration=@1.txt" in page.text_content("#call")
        assert "/v1/detect?" in page.text_content("#call")
        page.check('#languages input[value="gRPC"]')
        assert "geminifusion.v1.Detection/Detect" in page.text_content("#call")
        assert '"points": "$(base64 -w0 1.bin)"' in page.text_content("#call")


def test_the_sample_street_is_offered_to_detectors_alone(live, visit):
    with visit(live) as page:
        page.wait_for_selector("#samples button")
        assert page.locator("#samples button").count() == 3
        page.select_option("#model", "street@1")
        assert page.text_content("#samples button span") == "A street"
        page.click("#samples button")
        answered(page)
        assert "1242 × 375" in page.text_content("#result-note")
        assert demo_street().calibration.read_text()[:40] in page.text_content('[data-modality="calibration"] pre')
        above = page.evaluate(DRAWN, '[data-modality="points"] canvas')
        assert sum(count for color, count in above.items() if color not in ("0 0 0", "60 63 74")) > 100, "its points"


def test_a_cloud_that_cannot_be_read_is_said(live, visit, choose_files):
    with visit(live) as page:
        page.select_option("#model", "street@1")
        files = street().files(points=b"\0" * 17)
        choose_files(page, {"1.png": files["rgb"], "1.bin": files["points"], "1.txt": files["calibration"]})
        page.wait_for_selector("#problem:visible")
        assert "points" in page.text_content("#problem")
        page.wrong.clear()  # the response of the server
