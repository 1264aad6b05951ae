"""The pages that browsers get: from the package, small, under a strict policy, and open where keys are asked for."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest

import geminifusion_service.api.playground
from geminifusion_runtime.bundled import demo_pairs, demo_street

STATIC = Path(geminifusion_service.api.playground.__file__).parent / "static"
PAGES = {"/": "page.html", "/docs": "reference.html"}
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
MOST_BYTES, MOST_BYTES_WITH_3D = 120_000, 140_000
LOADED_LATER = ("view3d.js", "detection.js")


def ask(live, path, **headers):
    with httpx.Client(trust_env=False) as client:
        return client.get(live.url + path, headers=headers)


@pytest.fixture(scope="module")
def guarded(serving, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.write_text(f'[web]\nsha256 = "{hashlib.sha256(b"secret").hexdigest()}"\n')
    with serving(api_keys_file=str(keys)) as live:
        yield live


def test_a_browser_gets_the_page_and_a_program_gets_json(live_server):
    page = ask(live_server, "/", Accept=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.content == (STATIC / "page.html").read_bytes()
    for accept in ("*/*", "application/json", ""):
        answer = ask(live_server, "/", Accept=accept)
        assert answer.json() == {"service": "geminifusion", "docs": "/docs", "models": "/v1/models"}
        assert "Accept" in answer.headers["vary"]


def files_of(page):
    """The files that a page loads, those that its scripts import included."""
    found = set(re.findall(r'(?:src|href)="playground/([\w.-]+)"', (STATIC / page).read_text()))
    waiting = [name for name in found if name.endswith(".js")]
    while waiting:
        imported = re.findall(r'(?:from|import)\s*\(?\s*"\./([\w.-]+)"', (STATIC / waiting.pop()).read_text())
        waiting += [name for name in imported if name not in found]
        found |= set(imported)
    return found


@pytest.mark.parametrize(("path", "name"), PAGES.items())
def test_every_file_of_a_page_is_served_under_a_policy_that_lets_nothing_else_run(live_server, path, name):
    addresses = [path, *(f"/playground/{file}" for file in files_of(name))]
    assert len(addresses) > 5
    for address in addresses:
        answer = ask(live_server, address, Accept=HTML)
        assert answer.status_code == 200, address
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "*" not in policy
        assert "http" not in policy
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        if address.endswith(".js"):  # browsers refuse modules of another type
            assert answer.headers["content-type"].startswith("text/javascript")


def test_no_file_is_served_that_no_page_loads():
    assert {path.name for path in STATIC.iterdir()} == set(PAGES.values()).union(*map(files_of, PAGES.values()))


@pytest.mark.parametrize("name", PAGES.values())
def test_a_page_has_no_script_and_no_style_that_its_policy_forbids(name):
    text = (STATIC / name).read_text()
    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert all("src=" in tag and "></script>" in tag for tag in re.findall(r"<script.*", text))


def test_nothing_names_another_server():
    for path in STATIC.iterdir():
        addresses = set(re.findall(r"https?://[\w.]+[^\s\"'`]*", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name


def test_the_page_is_small():
    names = {"page.html", *files_of("page.html")}
    size = sum((STATIC / name).stat().st_size for name in names)
    assert size <= MOST_BYTES_WITH_3D
    assert size - sum((STATIC / name).stat().st_size for name in LOADED_LATER) <= MOST_BYTES
    first = "".join((STATIC / name).read_text() for name in names.difference(LOADED_LATER))
    for name in LOADED_LATER:
        assert f'await import("./{name}")' in first
        assert f'from "./{name}"' not in first


def test_files_are_compressed_and_not_sent_again_unchanged(live_server):
    path = "/playground/app.js"
    with httpx.Client(trust_env=False) as client, client.stream("GET", live_server.url + path) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())) == (STATIC / "app.js").read_bytes()
        tag = answer.headers["etag"]
    plain = ask(live_server, path, **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == (STATIC / "app.js").read_bytes()
    assert ask(live_server, path, **{"If-None-Match": tag}).status_code == 304
    assert ask(live_server, path, **{"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/playground/none.js", "/playground/..%2froutes.py", "/playground/samples/none/rgb",
                                  "/playground/samples/livingroom/none"])  # fmt: skip
def test_what_is_not_there_is_said_in_words(live_server, path):
    answer = ask(live_server, path)
    assert answer.status_code == 404
    assert "there is nothing at" in answer.json()["detail"]


def test_the_samples_are_the_bundled_pairs_and_the_street(live_server):
    about = ask(live_server, "/playground/about").json()
    assert about["grpc_port"] == live_server.server.grpc_port
    assert [sample["name"] for sample in about["samples"]] == [*demo_pairs(), "street"]
    assert about["samples"][-1]["parts"] == ["rgb", "points", "calibration"]
    points = ask(live_server, "/playground/samples/street/points")
    assert (points.headers["content-type"], points.content) == (
        "application/octet-stream",
        demo_street().points.read_bytes(),
    )
    for name, pair in demo_pairs().items():
        rgb, depth = (ask(live_server, f"/playground/samples/{name}/{modality}") for modality in ("rgb", "depth"))
        assert (rgb.headers["content-type"], rgb.content) == ("image/jpeg", pair.rgb.read_bytes())
        assert (depth.headers["content-type"], depth.content) == ("image/png", pair.depth.read_bytes())


def test_the_pages_are_open_where_keys_are_asked_for_and_what_they_ask_is_not(guarded):
    for path in ("/", "/docs", "/playground/app.js", "/playground/about", "/playground/samples/livingroom/rgb"):
        assert ask(guarded, path, Accept=HTML).status_code == 200, path
    for path in ("/v1/models", "/openapi.json", "/playgrounds", "/docs/x"):
        assert ask(guarded, path, Accept=HTML).status_code == 401, path


def test_every_operation_has_a_place_in_the_reference(live_server):
    document = ask(live_server, "/openapi.json").json()
    groups = {tag["name"] for tag in document["tags"]}
    assert {what["tags"][0] for one in document["paths"].values() for what in one.values()} <= groups
    assert "$ref" not in json.dumps(document)  # which the reference does not resolve
