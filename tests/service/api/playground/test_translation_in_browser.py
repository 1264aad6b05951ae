"""The page with a translator beside a segmentation model: the picture, its file, its call."""

import cv2
import numpy as np
import pytest
from tests.service.conftest import running_server
from tests.translator_artifact import expected_output, write_translator

from geminifusion_runtime.png_encoder import encode_png

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def live(tiny_artifact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("translators")
    artifacts = (tiny_artifact, write_translator(folder / "image"), write_translator(folder / "depth", "depth"))
    with running_server(artifacts[0], artifacts=artifacts) as server:
        yield server


@pytest.mark.parametrize(("kind", "domain"), [("image", "normal"), ("depth", "depth")])
def test_the_picture_of_a_translation_is_shown_and_saved(live, visit, kind, domain):
    rng = np.random.default_rng(0)
    images = {
        "rgb": rng.integers(0, 200, (50, 70, 3), dtype=np.uint8),
        "edge": rng.integers(0, 50, (50, 70), dtype=np.uint8),
    }
    with visit(live) as page:
        page.select_option("#model", f"to-{kind}@1")
        for name, image in images.items():
            chooser = page.locator(f'[data-modality="{name}"] input[type=file]')
            chooser.set_input_files({"name": f"{name}.png", "mimeType": "image/png", "buffer": encode_png(image)})
        page.wait_for_selector("#history li button, #problem:visible")
        assert page.is_hidden("#problem"), page.text_content("#problem")
        assert domain in page.get_attribute("#result-canvas", "aria-label")
        assert "/v1/translate?" in page.text_content("#call")
        with page.expect_download() as saved:
            page.click('#downloads button[data-save="png"]')
        stored = cv2.imread(str(saved.value.path()), cv2.IMREAD_UNCHANGED)
        expected = expected_output(kind, **images)
        if kind == "image":
            np.testing.assert_array_equal(stored[..., ::-1], expected)
        else:
            np.testing.assert_allclose(stored * 0.001, expected, atol=0.00051)
        page.select_option("#model", "tiny@1")
        assert page.locator("#legend li").count() == 4
