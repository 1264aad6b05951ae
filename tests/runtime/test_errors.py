"""The error tree: complete on every transport, drawn as it is, stable."""

import grpc
import pytest

from geminifusion_runtime import errors
from geminifusion_runtime.errors import GRPC_STATUS, HTTP_STATUS, ServiceError, public_error


def tree(root: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    return [root, *(error for child in root.__subclasses__() for error in tree(child))]


@pytest.mark.parametrize("error", tree())
def test_every_error_has_a_status_on_both_transports(error):
    assert HTTP_STATUS[error] >= 400
    assert grpc.StatusCode[GRPC_STATUS[error]] is not grpc.StatusCode.OK


def test_every_error_has_its_own_code():
    codes = [error.code for error in tree() if error is not ServiceError]
    assert len(set(codes)) == len(codes)


def test_every_error_is_drawn_at_the_top_of_the_file():
    drawing = errors.__doc__ or ""
    assert [error.__name__ for error in tree() if error.__name__ not in drawing] == []


def test_codes_are_the_public_interface():
    assert sorted(error.code for error in tree() if error is not ServiceError) == [
        "bad_request", "body_timeout", "body_too_large", "deadline_exceeded", "decoder_lost", "depth_scale_required",
        "empty_body", "engine_failed", "engine_lost", "forbidden", "frame_superseded", "image_too_large",
        "image_too_small", "internal", "invalid_option", "malformed_body", "method_not_allowed",
        "missing_part", "model_load_failed", "model_memory", "model_not_found", "not_found", "not_ready",
        "queue_full", "rate_limited", "sensor_broken", "size_mismatch", "size_not_served", "too_large",
        "unauthenticated", "undecodable_image", "unknown_part", "unprocessable", "unsupported_image",
        "unsupported_media_type", "unsupported_type",
    ]  # fmt: skip


def test_a_foreign_error_shows_nothing_of_the_inside():
    shown = public_error(KeyError("/etc/secret"))
    assert shown.code == "internal"
    assert "secret" not in str(shown)
