"""Taking a body apart: what is accepted, and that everything else is a clear error; V05."""

import base64
import json
import tracemalloc

import httpx
import numpy as np
import pytest

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import BodyTooLargeError, MalformedBodyError, UnsupportedBodyError
from geminifusion_service.transport.http.body import multipart_boundary, split_json, split_multipart
from geminifusion_service.transport.http.json_body import parse_json


def form(parts, boundary="XyZ"):
    """A form body as RFC 7578 has it."""
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in parts
    ]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


def test_parts_may_contain_any_bytes():
    parts = {"rgb": b"\r\n--Xy\r\n\r\n--\r\n", "depth": bytes(range(256)) * 40, "empty": b""}
    assert split_multipart(form(parts.items()), "XyZ") == parts


def test_a_body_made_by_a_real_client_is_read():
    files = {"rgb": ("a b.png", b"\x89PNG\r\n", "image/png"), "depth": ("d.npy", b"123", None)}
    request = httpx.Request("POST", "http://host/", files=files)
    boundary = multipart_boundary(request.headers["content-type"])
    assert boundary is not None
    assert split_multipart(request.read(), boundary) == {"rgb": b"\x89PNG\r\n", "depth": b"123"}


def test_a_preamble_and_padding_after_a_boundary_are_skipped():
    body = b"ignored\r\n--XyZ  \r\ncontent-disposition:form-data;name=rgb\r\n\r\n1\r\n--XyZ--"
    assert split_multipart(body, "XyZ") == {"rgb": b"1"}


@pytest.mark.parametrize(
    "body",
    [
        b"no boundary at all",
        form([("rgb", b"123")])[:-9],
        form([("rgb", b"123")])[:30],
        b"--XyZ\r\n",
        b"--XyZ",
        b"--XyZ\r\nContent-Type: image/png\r\n\r\n1\r\n--XyZ--",
        form([("rgb", b"1"), ("rgb", b"2")]),
        form([(f"part{i}", b"") for i in range(17)]),
    ],
    ids=["no boundary", "no end", "cut head", "bare line", "bare", "no name", "twice", "too many"],
)
def test_a_malformed_form_is_rejected(body):
    with pytest.raises(MalformedBodyError):
        split_multipart(body, "XyZ")


def test_mutated_forms_raise_nothing_but_our_errors():
    rng = np.random.default_rng(2)
    whole = form([("rgb", b"12345" * 5), ("depth", b"\r\n" * 9)])
    for _ in range(2000):
        mutant = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            mutant[rng.integers(len(mutant))] = rng.choice(list(b'\r\n-XyZ;:"= \x00\xff'))
        try:
            split_multipart(bytes(mutant[: rng.integers(1, len(mutant) + 1)]), "XyZ")
        except GeminiFusionError:
            continue


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "image/png", "multipart/mixed; boundary=x"])
def test_another_content_type_is_rejected(content_type):
    with pytest.raises(UnsupportedBodyError, match="multipart/form-data"):
        multipart_boundary(content_type)


def test_boundaries_are_found_and_json_has_none():
    assert multipart_boundary('Multipart/Form-Data; charset=utf-8; boundary="a b"') == "a b"
    assert multipart_boundary("application/json; charset=utf-8") is None
    with pytest.raises(MalformedBodyError, match="boundary"):
        multipart_boundary("multipart/form-data")


def test_json_fields_are_base64():
    body = json.dumps({"rgb": base64.b64encode(b"\x00\xff").decode()}).encode()
    assert split_json(body) == {"rgb": b"\x00\xff"}


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"3", b"\xff", b'{"rgb": 3}', b'{"rgb": "!!"}', b'{"rgb": null}', b"[" * 60,
     json.dumps({str(i): "" for i in range(17)}).encode()],
    ids=range(9),
)  # fmt: skip
def test_malformed_json_is_rejected(body):
    with pytest.raises(MalformedBodyError):
        split_json(body)


@pytest.mark.parametrize(
    "body",
    [b'{"rgb":[' + b"[]," * 1_000_000 + b"[]]}", b"[" * 100_000, b'{"a":1,' * 100_000, b"[" + b"1," * 1_000_000],
    ids=["lists", "deep", "keys", "numbers"],
)
def test_json_of_many_values_is_rejected_before_it_is_parsed(body):
    tracemalloc.start()
    with pytest.raises(BodyTooLargeError, match="more than 64 values; send images as files"):
        split_json(body)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_json_of_as_many_values_as_allowed_is_parsed():
    assert parse_json(b'{"a":[1,2,[3]],"b":{}}', max_values=9) == {"a": [1, 2, [3]], "b": {}}
    with pytest.raises(BodyTooLargeError, match="more than 8 values"):
        parse_json(b'{"a":[1,2,[3]],"b":{}}', max_values=8)
    with pytest.raises(MalformedBodyError, match="no JSON"):
        parse_json(b"[" * 500, max_values=1000)
