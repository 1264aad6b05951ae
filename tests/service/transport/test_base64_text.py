"""Base64 in every form that encoders write is read, and what is none is told what is wrong with it."""

import base64

import pytest

from geminifusion_service.errors import MalformedBodyError
from geminifusion_service.transport.base64_text import decode_base64
from geminifusion_service.transport.http.body import split_json, split_multipart

DATA = bytes(range(256)) * 3 + b"\xff\xfe"
PLAIN = base64.b64encode(DATA).decode()
FORMS = {
    "plain": PLAIN,
    "with line breaks": base64.encodebytes(DATA).decode(),
    "with Windows' line breaks": base64.encodebytes(DATA).decode().replace("\n", "\r\n"),
    "without padding": PLAIN.rstrip("="),
    "URL-safe": base64.urlsafe_b64encode(DATA).decode(),
    "a data URI": f"data:image/png;base64,{PLAIN}",
    "a data URI with a parameter": f"DATA:image/png;name=x;base64,{PLAIN}",
    "bytes": PLAIN.encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form):
    assert decode_base64(FORMS[form], "rgb") == DATA


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is null"),
        (7, "is a number"),
        (True, "is a flag"),
        ([1, 2], "is an array"),
        ({}, "is an object"),
        ("ab!cd", "has '!' after 2 digits"),
        ("abcü", "has 'ü' after 3 digits"),
        ("ab==cd", "padding in the middle"),
        ("abcde", "5 base64 digits"),
        ("data:image/png,abc", "data URI without base64"),
    ],
)
def test_what_is_none_is_told_why(text, said):
    with pytest.raises(MalformedBodyError, match="the field") as refused:
        decode_base64(text, "the field 'rgb'")
    assert said in str(refused.value)


def test_a_field_of_json_and_a_part_in_base64_are_the_file():
    assert split_json(b'{"rgb": "%b"}' % base64.encodebytes(DATA).replace(b"\n", b"\\n")) == {"rgb": DATA}
    part = b'--x\r\nContent-Disposition: form-data; name="rgb"\r\ncontent-transfer-encoding: %b\r\n\r\n%b\r\n--x--'
    for encoding, content in ((b"base64", base64.encodebytes(DATA)), (b"binary", DATA), (b"8bit", DATA)):
        assert split_multipart(part % (encoding, content), "x") == {"rgb": DATA}
    with pytest.raises(MalformedBodyError, match="quoted-printable"):
        split_multipart(part % (b"quoted-printable", DATA), "x")
