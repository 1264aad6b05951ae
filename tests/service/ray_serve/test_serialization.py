"""Errors on their way from a replica to the front."""

from __future__ import annotations

import pickle

import pytest

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import ERRORS, QueueFullError
from geminifusion_service.ray_serve.serialization import Refusal

KINDS = list(ERRORS.values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_it_was_raised(kind: type[GeminiFusionError]) -> None:
    sent = kind("what came, what was expected, what to do")
    arrived = pickle.loads(pickle.dumps(Refusal.of(sent))).error()
    assert type(arrived) is kind
    assert (str(arrived), arrived.retry_after_s) == (str(sent), sent.retry_after_s)


def test_the_advised_wait_arrives() -> None:
    assert Refusal.of(QueueFullError("full", retry_after_s=7)).error().retry_after_s == 7


def test_a_code_of_another_release_is_told_apart() -> None:
    with pytest.raises(ValueError, match="one release everywhere"):
        Refusal(code="from_the_future", message="", retry_after_s=None).error()
