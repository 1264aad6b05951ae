"""Origins are compared as scheme, host and port, and a setting that is none is refused."""

import pytest

from geminifusion_service.origins import origin_allowed, parse_origins
from geminifusion_service.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "camera:8000"),
        ("http://camera:8000", "camera:8000"),
        ("https://seg.example", "seg.example"),
        ("https://seg.example", "seg.example:443"),
        ("http://seg.example", "seg.example:80"),
        ("https://SEG.example", "Seg.Example:443"),
        ("https://seg.example:8443", "seg.example:8443"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://[fd00::1]", "[fd00::1]:443"),
    ],
)
def test_a_page_of_this_server_may_open_a_stream(origin, host):
    assert origin_allowed(origin, host=host, is_secure=False, allowed=())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://camera:8001", "camera:8000"),
        ("http://seg.example", "seg.example:443"),
        ("https://seg.example", "seg.example:80"),
        ("https://seg.example.evil.org", "seg.example"),
        ("https://seg.example@evil.org", "seg.example"),
        ("https://seg.example:99999", "seg.example:99999"),
        ("ftp://seg.example", "seg.example"),
        ("null", "seg.example"),
        ("null", ""),
        ("", ""),
        ("https://", ""),
        ("https://[", "["),
        ("https://seg.example", "seg.example:port"),
    ],
)
def test_a_page_of_another_origin_may_not(origin, host):
    assert not origin_allowed(origin, host=host, is_secure=False, allowed=parse_origins("https://app.example"))


def test_behind_tls_of_its_own_the_scheme_is_known():
    assert origin_allowed("https://seg.example", host="seg.example", is_secure=True, allowed=())
    assert not origin_allowed("http://seg.example", host="seg.example", is_secure=True, allowed=())


@pytest.mark.parametrize("written", ["https://app.example", "https://APP.example:443/", " https://app.example/ "])
def test_an_origin_of_the_settings_is_the_same_however_it_is_written(written):
    assert parse_origins(written) == ("https://app.example",)
    assert origin_allowed("https://app.example", host="x", is_secure=False, allowed=parse_origins(written))
    assert not origin_allowed("https://app.example:444", host="x", is_secure=False, allowed=parse_origins(written))


def test_any_origin_and_that_of_files_can_be_named():
    assert parse_origins("*, null") == ("*", "null")
    assert origin_allowed("null", host="x", is_secure=False, allowed=("null",))


@pytest.mark.parametrize("written", ["app.example", "https://app.example/page", "wss://app.example"])
def test_a_setting_that_would_never_match_is_refused(tmp_path, written):
    with pytest.raises(SettingsError, match=r"origin.*--cors-origins"):
        Settings.of(artifacts=(tmp_path,), cors_origins=written)
