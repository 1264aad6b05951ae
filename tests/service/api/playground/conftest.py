"""Pages of a live server in a real headless Chromium, watched for what no page may do."""

import base64
import shutil
from contextlib import contextmanager

import pytest
from tests.requirements import skip_or_fail

from geminifusion_runtime.bundled import artifact_path

MOST_SHIFT = 0.01
# Without a GPU, WebGL2 is drawn by the processor; the camera is a test picture.
_OPTIONS = [
    "--no-sandbox",
    "--no-proxy-server",
    "--enable-unsafe-swiftshader",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
_WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts.push(entry.value);
}).observe({type: "layout-shift", buffered: true});
"""


@pytest.fixture(scope="module")
def chromium():
    """One browser; its pages are apart from each other."""
    api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        skip_or_fail("needs Chromium (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """`with visit(live, path, **context) as page`: no console error, no request elsewhere, nothing that jumps.

    `page.wrong` has what was found; a test that provokes errors of its own empties it.
    """

    @contextmanager
    def opened(live, path="/", **settings):
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **settings})
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.wrong = []
        page.on("console", lambda one: one.type == "error" and page.wrong.append(f"console: {one.text}"))
        page.on("pageerror", lambda error: page.wrong.append(f"error: {error}"))
        page.on("request", lambda one: _own(one.url, live) or page.wrong.append(f"request: {one.url}"))
        page.add_init_script(_WATCH_SHIFTS)
        page.goto(live.url + path)
        try:
            yield page
            assert page.wrong == []
            assert sum(page.evaluate("window.shifts")) < MOST_SHIFT
        finally:
            context.close()

    return opened


def _own(url, live):
    return url.startswith((live.url, "blob:", "data:"))


@pytest.fixture(scope="module")
def bundled_server(serving):
    """The model that people try first."""
    with serving(artifacts=(artifact_path(),), batch_tuning_s=0) as live:
        yield live


@pytest.fixture(scope="module")
def tiny_server(serving, make_artifact, tmp_path_factory):
    """Thresholds, whose labels are known; depth may be left out."""
    with serving(artifacts=(make_artifact(tmp_path_factory.mktemp("tiny") / "tiny", depth_optional=True),)) as live:
        yield live


def drop(page, files, selector="body"):
    """Drop files as a hand does."""
    encoded = [[name, base64.b64encode(data).decode()] for name, data in files.items()]
    transfer = page.evaluate_handle(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, data] of files)
            transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
          return transfer;
        }""",
        encoded,
    )
    for name in ("dragenter", "dragover", "drop"):
        page.dispatch_event(selector, name, {"dataTransfer": transfer})


@pytest.fixture
def drop_files():
    return drop


def choose(page, files):
    page.set_input_files("#files", [{"name": name, "mimeType": "", "buffer": data} for name, data in files.items()])


@pytest.fixture
def choose_files():
    return choose
