"""Errors on their way from a replica to the front."""

from __future__ import annotations

import pickle

import pytest

from geminifusion_runtime.errors import HTTP_STATUS, QueueFullError, ServiceError
from geminifusion_service.ray_serve.serialization import Refusal

KINDS = [kind for kind in HTTP_STATUS if kind is not ServiceError]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_it_was_raised(kind: type[ServiceError]) -> None:
    sent = kind("what came, what was expected, what to do")
    arrived = pickle.loads(pickle.dumps(Refusal.of(sent))).error()
    assert type(arrived) is kind
    assert (str(arrived), arrived.retry_after_s) == (str(sent), sent.retry_after_s)


def test_the_advised_wait_arrives() -> None:
    assert Refusal.of(QueueFullError("full", retry_after_s=7)).error().retry_after_s == 7


def test_a_code_of_another_release_is_told_apart() -> None:
    with pytest.raises(ValueError, match="one release everywhere"):
        Refusal(code="from_the_future", message="", retry_after_s=None).error()
