"""Take the pictures of the page beside this file, by the bundled model in a real browser.

    python docs/images/take_screenshots.py

It needs Chromium and the packages of the extra `dev`.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from geminifusion.server_process import running_server
from geminifusion_runtime.bundled import demo_pairs

_VIEWPORT = {"width": 1440, "height": 770}
_HERE = Path(__file__).parent


def _save(page: Page, name: str) -> None:
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").save(_HERE / f"{name}.webp", quality=78, method=6)


def main() -> None:
    """Both pictures."""
    pair = demo_pairs()["livingroom"]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server([], Path(folder) / "log") as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=_VIEWPORT, color_scheme="light")
        page.goto(server.http_url)
        page.wait_for_selector("#samples button")
        page.set_input_files("#files", [pair.rgb, pair.depth])
        page.wait_for_selector("#legend .facts")
        _save(page, "playground")
        page.click("#views >> text=3-D")
        page.wait_for_selector("#cloud-canvas:visible")
        page.wait_for_timeout(3000)
        _save(page, "playground-3d")
        browser.close()


if __name__ == "__main__":
    main()
