"""The documentation as a site: built without a warning and without network, of pages that ask no other host."""

import contextlib
import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from tests.requirements import skip_or_fail

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"  # where a build that asked a proxy for something would fail
LOADED_BY = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
LOADING_LINKS = {"stylesheet", "icon", "shortcut", "preload", "prefetch", "preconnect", "modulepreload"}


def build(output):
    """As `make docs` does."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), NOWHERE)
    path = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(path for path in sys.path if path)}
    places = ["-d", output.parent / "doctrees", "-c", "docs", ".", output]
    return subprocess.run(
        [*command, *places], cwd=ROOT, env=proxies | path, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    output = tmp_path_factory.mktemp("docs") / "site"
    done = build(output)
    assert done.returncode == 0, done.stderr
    return output


class Loads(HTMLParser):
    """What a page loads, and where it links to."""

    def __init__(self):
        super().__init__()
        self.loaded, self.linked = [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in LOADED_BY:
            self.loaded.append(values.get(LOADED_BY[tag]))
        if tag == "link" and set((values.get("rel") or "").split()) & LOADING_LINKS:
            self.loaded.append(values.get("href"))
        if tag == "a":
            self.linked.append(values.get("href"))
        self.loaded += re.findall(r"url\(([^)]+)\)", values.get("style") or "")


def loads_of(page):
    parser = Loads()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


@pytest.mark.slow
def test_no_page_asks_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    elsewhere = {url for page in pages for url in loads_of(page).loaded if url and re.match(r"(https?:)?//", url)}
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        elsewhere |= set(re.findall(r"(?:@import\s+|url\()[\"']?((?:https?:)?//[^\"')]+)", text))
    assert elsewhere == set()


@pytest.mark.slow
def test_links_between_pages_lead_somewhere(site):
    """Sphinx checks those of Markdown; these are all there are, the theme's and the redirection's too."""
    broken = set()
    for page in site.rglob("*.html"):
        for url in loads_of(page).linked:
            parts = urlsplit(url or "")
            if not parts.scheme and parts.path and not (page.parent / unquote(parts.path)).exists():
                broken.add((page.name, url))
    assert broken == set()


@pytest.mark.slow
def test_the_first_page_and_the_python_api_are_there(site):
    assert 'url=docs/README.html"' in (site / "index.html").read_text(encoding="utf-8")
    api = (site / "docs/reference/python.html").read_text(encoding="utf-8")
    for name in ("geminifusion.load", "geminifusion.Client.segment", "geminifusion.Result.save_overlay"):
        assert f'id="{name}"' in api


@pytest.mark.slow
def test_every_page_of_docs_is_in_the_contents(site):
    first = (site / "docs/README.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert f'href="{name}"' in first or str(name) in ("README.html", "images/SOURCES.html")


@pytest.mark.slow
def test_a_warning_fails_the_build(tmp_path):
    """A link that leads nowhere, in a copy of two pages."""
    for name in ("docs/conf.py", "docs/site/to_first_page.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs/README.md").write_text("# One\n\n[nowhere](missing.md)\n")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-c", "docs", ".", "site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "missing.md" in done.stderr


@contextlib.contextmanager
def served(folder):
    """The address of a server of static files, as a site has; from `file:` a search cannot fetch its excerpts."""
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.mark.browser
def test_a_browser_asks_no_other_host_and_finds_what_is_searched(site):
    api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        skip_or_fail("needs Chromium (apt-get install chromium)")
    asked, errors = [], []
    with served(site) as address, api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--no-proxy-server"])
        page = browser.new_page()
        page.on("request", lambda one: asked.append(one.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address + "index.html")
        page.wait_for_url("**/docs/README.html")  # it leads there by itself, and would interrupt what comes next
        for name in ("README.html", "docs/depth-and-units.html", "docs/reference/python.html"):
            page.goto(address + name)
        page.goto(address + "search.html?q=depth_invalid")
        page.wait_for_selector("#search-results li a", timeout=20_000)
        page.wait_for_load_state("networkidle")
        browser.close()
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert errors == []
