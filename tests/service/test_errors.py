"""The error tree: complete on every transport, drawn as it is, stable."""

import grpc
import pytest

from geminifusion_runtime import errors as runtime_errors
from geminifusion_runtime.errors import GeminiFusionError, UndecodableImageError
from geminifusion_service import errors as service_errors
from geminifusion_service.errors import ERRORS, QueueFullError, public_error


def tree(root: type[GeminiFusionError] = GeminiFusionError) -> list[type[GeminiFusionError]]:
    return [root, *(error for child in root.__subclasses__() for error in tree(child))]


@pytest.mark.parametrize("error", tree())
def test_every_error_has_a_status_on_both_transports(error):
    assert error.http_status >= 400
    assert grpc.StatusCode[error.grpc_status] is not grpc.StatusCode.OK


@pytest.mark.parametrize("error", tree())
def test_every_error_sets_a_code_and_says_what_it_means(error):
    assert "code" in vars(error)
    assert error.__doc__ not in (None, error.__base__.__doc__)


def test_every_error_is_found_by_its_own_code():
    assert list(ERRORS.values()) == tree()[1:]
    assert all(error.code == code for code, error in ERRORS.items())


@pytest.mark.parametrize("module", [runtime_errors, service_errors])
def test_every_error_is_drawn_at_the_top_of_its_file(module):
    drawing = module.__doc__
    mine = [error.__name__ for error in tree() if error.__module__ == module.__name__]
    assert len(mine) > 10
    assert [name for name in mine if name not in drawing] == []


def test_codes_are_the_public_interface():
    assert sorted(ERRORS) == [
        "bad_request", "body_timeout", "body_too_large", "calibration_mismatch", "deadline_exceeded",
        "decoder_lost", "depth_scale_required", "empty_body", "engine_failed", "engine_lost", "forbidden",
        "frame_superseded", "image_too_large", "image_too_small", "internal", "invalid_option",
        "malformed_body", "method_not_allowed", "misdirected_request", "missing_part", "model_load_failed",
        "model_memory", "model_not_found", "no_points_in_range", "not_found", "not_ready",
        "queue_full", "rate_limited",
        "sensor_broken", "size_mismatch", "size_not_served", "too_large", "too_many_points", "unauthenticated",
        "undecodable_calibration", "undecodable_image", "undecodable_points", "unknown_part", "unprocessable",
        "unsupported_image", "unsupported_media_type", "unsupported_type", "wrong_task",
    ]  # fmt: skip


def test_retry_advice_is_that_of_the_class_unless_given():
    assert UndecodableImageError("damaged").retry_after_s is None
    assert QueueFullError("full").retry_after_s == 1
    assert QueueFullError("full", retry_after_s=7).retry_after_s == 7


def test_a_foreign_error_shows_nothing_of_the_inside():
    shown = public_error(KeyError("/etc/secret"))
    assert shown.code == "internal"
    assert "secret" not in str(shown)
