"""Errors on their way from a replica to the ingress."""

from __future__ import annotations

import pickle

import pytest

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import ERRORS, QueueFullError
from geminifusion_service.ray_serve.serialization import SerializedError

KINDS = list(ERRORS.values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_it_was_raised(kind: type[GeminiFusionError]) -> None:
    sent = kind("what came, what was expected, what to do")
    arrived = pickle.loads(pickle.dumps(SerializedError.of(sent))).restore()
    assert type(arrived) is kind
    assert (str(arrived), arrived.retry_after_s) == (str(sent), sent.retry_after_s)


def test_the_advised_retry_delay_arrives() -> None:
    assert SerializedError.of(QueueFullError("full", retry_after_s=7)).restore().retry_after_s == 7


def test_a_code_of_another_release_raises() -> None:
    with pytest.raises(ValueError, match="one release everywhere"):
        SerializedError(code="from_the_future", message="", retry_after_s=None).restore()
