"""What a newcomer does on the page at `/`, with the bundled model and a real pair, in a real browser."""

import json
import math
import re
import subprocess
import sys

import cv2
import grpc
import numpy as np
import pytest
import trimesh
from google.protobuf import json_format

from geminifusion import load
from geminifusion_runtime.bundled import demo_pairs
from geminifusion_service.pb import segmentation_pb2, segmentation_pb2_grpc

pytestmark = pytest.mark.browser

PAIR = demo_pairs()["livingroom"]
MOST_FIRST_PAINT_MS = 1000
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
NOT_READ = "–"


@pytest.fixture(scope="module")
def expected():
    return load()(PAIR.rgb, PAIR.depth)


def pair_files():
    return {"livingroom.rgb.jpg": PAIR.rgb.read_bytes(), "livingroom.depth.png": PAIR.depth.read_bytes()}


def saved(page, kind, folder):
    with page.expect_download() as download:
        page.click(f"[data-save={kind}]")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def wait_for_result(page):
    page.wait_for_selector("#legend .facts")


def test_from_two_dropped_files_to_the_saved_point_cloud(bundled_server, visit, drop_files, expected, tmp_path):
    with visit(bundled_server) as page:
        page.wait_for_selector("#samples button")
        paints = page.evaluate("performance.getEntriesByType('paint').map((one) => one.startTime)")
        assert max(paints) < MOST_FIRST_PAINT_MS
        drop_files(page, pair_files())
        wait_for_result(page)

        # What is in the image, largest first, with share and distance.
        names = page.locator("#legend li:has(.facts) .name").all_text_contents()
        assert names == [share.name for share in expected.classes]
        facts = page.locator("#legend .facts").first.text_content()
        first = expected.classes[0]
        assert facts == f"{100 * first.fraction:.0f} % from {first.nearest_depth_m:.1f} m"
        assert "plausible" in page.text_content("[data-modality=depth] .strip")

        # One pixel: class, confidence, metres, gate.
        box = page.locator("#result-canvas").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.6)
        x, y = map(int, page.text_content("#at-pixel").split(", "))
        names = {share.id: share.name for share in expected.classes}
        depth_mm = cv2.imread(str(PAIR.depth), cv2.IMREAD_UNCHANGED)
        quarter = expected.confidence.shape[0] * y // 480, expected.confidence.shape[1] * x // 640
        assert page.text_content("#at-class").strip() == names[expected.labels[y, x]]
        assert page.text_content("#at-metres") == f"{depth_mm[y, x] / 1000:.3f} m"
        assert float(page.text_content("#at-confidence")[:-2]) == pytest.approx(
            100 * expected.confidence[quarter], abs=0.6
        )
        assert float(page.text_content("#at-gate")) == pytest.approx(expected.gate[quarter], abs=0.006)

        page.click("#views >> text=3-D")
        page.wait_for_selector("#cloud-canvas:visible")
        page.click("#cloud-colors >> text=Class")
        page.wait_for_selector("#result-note:has-text('points')")
        cloud = trimesh.load(saved(page, "ply", tmp_path))
        check_cloud(cloud, depth_mm, expected.labels)

        # The other files are those of the API.
        mask = cv2.imread(str(saved(page, "png", tmp_path)), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, expected.labels)
        with np.load(saved(page, "npz", tmp_path)) as arrays:
            np.testing.assert_array_equal(arrays["labels"], expected.labels)
        document = json.loads(saved(page, "json", tmp_path).read_text())
        assert document["model"] == expected.model
        assert cv2.imread(str(saved(page, "overlay", tmp_path))).shape == (480, 640, 3)


def check_cloud(cloud, depth_mm, labels):
    """A point for each measured pixel: its distance to a millimetre, on the line of sight of the assumed camera."""
    measured = depth_mm > 0
    rows, columns = np.nonzero(measured)
    focal = 320 / math.tan(math.radians(30))
    points = np.asarray(cloud.vertices)
    assert len(points) == measured.sum()
    np.testing.assert_allclose(points[:, 2], depth_mm[measured] / 1000, atol=1e-4)
    np.testing.assert_allclose(points[:, 0] / points[:, 2] * focal + 319.5, columns, atol=0.01)
    np.testing.assert_allclose(points[:, 1] / points[:, 2] * focal + 239.5, rows, atol=0.01)
    np.testing.assert_array_equal(cloud.metadata["_ply_raw"]["vertex"]["data"]["label"], labels[measured])


def test_the_calls_that_the_page_shows_give_what_it_shows(bundled_server, visit, expected, tmp_path):
    for name, data in pair_files().items():
        (tmp_path / name).write_bytes(data)
    with visit(bundled_server) as page:
        page.click("#samples button")
        wait_for_result(page)
        shell = page.text_content("#call")
        subprocess.run(["bash", "-c", shell.replace("curl ", "curl --noproxy '*' ", 1)], cwd=tmp_path, check=True)
        answer = json.loads((tmp_path / "result.json").read_text())
        assert answer["classes"][0]["pixels"] == expected.classes[0].pixels
        assert {"confidence", "gate"} <= set(answer)

        page.click("#languages >> text=Python")
        python = page.text_content("#call")
        page.click("#languages >> text=gRPC")
        address = re.search(r'Client\("(grpc://[^"]+)"\)', page.text_content("#call"))[1]
        over_grpc = re.sub(r"http://[^\"]+", address, python).replace("mask.png", "mask_grpc.png")
        for script in (python, over_grpc):
            subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
        expected.save(tmp_path / "expected.png")
        for name in ("mask.png", "mask_grpc.png"):
            assert (tmp_path / name).read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_the_shown_grpc_message_gives_what_the_page_shows(bundled_server, visit, expected, tmp_path):
    for name, data in pair_files().items():
        (tmp_path / name).write_bytes(data)
    with visit(bundled_server) as page:
        page.click("#samples button")
        wait_for_result(page)
        page.click("#languages >> text=gRPC")
        program, message = page.text_content("#call").split("\n", 1)
    assert program.endswith(f"{bundled_server.grpc_target} geminifusion.v1.Segmentation/Segment <<END")
    shell = f"cat <<END\n{message}"
    text = subprocess.run(["bash", "-c", shell], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    request = json_format.Parse(text, segmentation_pb2.SegmentRequest())
    with grpc.insecure_channel(bundled_server.grpc_target) as channel:
        response = segmentation_pb2_grpc.SegmentationStub(channel).Segment(request)
    assert [share.pixels for share in response.classes] == [share.pixels for share in expected.classes]
    assert len(response.confidence.float16) > 0
    assert len(response.gate.float16) > 0


def test_with_the_keyboard_alone(bundled_server, visit):
    with visit(bundled_server) as page:
        page.wait_for_selector("#samples button")

        def tab_to(selector, most=40):
            for _ in range(most):
                page.keyboard.press("Tab")
                if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                    return
            raise AssertionError(f"Tab does not reach {selector}")

        tab_to("#samples button")
        page.keyboard.press("Enter")
        wait_for_result(page)
        assert page.evaluate("document.activeElement.id") == "result-canvas"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("ArrowDown")
        assert page.text_content("#at-pixel") == "330, 241"
        page.wait_for_selector("#spoken:has-text('Pixel 330, 241')", state="attached")
        page.keyboard.press("+")
        tab_to("#views input")
        page.keyboard.press("ArrowRight")
        assert page.text_content("#result-title") == "Confidence"
        tab_to("#variants button")
        page.keyboard.press("Enter")
        page.wait_for_selector("#variants [aria-pressed=true]")
        assert "of the pixels changed" in page.text_content("#result-note")
        tab_to("[data-save=ply]")
        with page.expect_download():
            page.keyboard.press("Enter")


def test_on_a_phone(bundled_server, visit):
    with visit(bundled_server, **PHONE) as page:
        page.wait_for_selector("#samples button")
        page.tap("#samples button")
        wait_for_result(page)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]
        page.locator("#result-canvas").scroll_into_view_if_needed()
        page.tap("#result-canvas")
        assert page.text_content("#at-class") != NOT_READ
        # Touch targets of 24 pixels and more (WCAG 2.2, 2.5.8).
        small = page.evaluate("""[...document.querySelectorAll("button, .button, .segments label")]
          .map((one) => [one.textContent, one.getBoundingClientRect()])
          .filter(([, box]) => box.width && Math.min(box.width, box.height) < 24).map(([text]) => text)""")
        assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_both_themes_it_is_accessible(bundled_server, visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs pip install axe-playwright-python")
    rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
    with visit(bundled_server, color_scheme=scheme) as page:
        page.wait_for_selector("#samples button")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 22)"
        assert dark == (scheme == "dark")

        def broken():
            found = axe.Axe().run(page, options=rules).response["violations"]
            return [(one["id"], node["target"], node["failureSummary"]) for one in found for node in one["nodes"]]

        assert broken() == []
        page.click("#samples button")
        wait_for_result(page)
        page.click("#variants >> text=without depth")
        page.wait_for_selector("#variants [aria-pressed=true]")
        page.click("#options summary")
        assert broken() == []
        page.goto(bundled_server.url + "/docs")
        page.wait_for_selector(".operation")
        assert broken() == []
