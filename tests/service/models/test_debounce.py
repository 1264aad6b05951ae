"""When a directory is worth trying, on a clock of the test."""

from pathlib import Path

import pytest

from geminifusion_service.models.debounce import DirectoryDebouncer
from geminifusion_service.models.repository import StoredVersion


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def debouncer(clock):
    return DirectoryDebouncer(settle_s=30, clock=clock)


def stored(size=1):
    return StoredVersion(name="tiny", version="2", directory=Path("tiny/2"), fingerprint=(("model.onnx", size, 0, 0),))


def test_a_directory_is_tried_once_two_polls_found_it_the_same(debouncer):
    assert not debouncer.should_load(stored(1))
    assert not debouncer.should_load(stored(2)), "it is growing"
    assert debouncer.should_load(stored(2))


def test_at_the_start_one_poll_is_enough(debouncer):
    assert debouncer.should_load(stored(), at_once=True)


def test_a_failed_try_is_repeated_when_the_directory_changed_or_has_settled(debouncer, clock):
    debouncer.should_load(stored())
    debouncer.record_failure(stored(), "incomplete", permanent=False)
    clock.now += 29
    assert not debouncer.should_load(stored())
    assert not debouncer.is_settled(stored())
    clock.now += 1
    assert debouncer.should_load(stored())
    assert debouncer.is_settled(stored())
    assert not debouncer.should_load(stored(2)), "changed: from the beginning"
    assert debouncer.should_load(stored(2))


def test_what_is_given_up_is_tried_again_only_once_it_changes(debouncer, clock):
    debouncer.should_load(stored())
    debouncer.record_failure(stored(), "damaged", permanent=True)
    clock.now += 1e6
    assert not debouncer.should_load(stored())
    debouncer.should_load(stored(2))
    assert debouncer.should_load(stored(2))


def test_a_reason_is_news_once(debouncer):
    debouncer.should_load(stored())
    assert debouncer.record_failure(stored(), "no room", permanent=False)
    assert not debouncer.record_failure(stored(), "no room", permanent=False)
    assert debouncer.record_failure(stored(), "damaged", permanent=False)


def test_what_is_gone_is_forgotten(debouncer):
    debouncer.should_load(stored())
    debouncer.record_failure(stored(), "damaged", permanent=True)
    debouncer.retain([])
    assert not debouncer.should_load(stored()), "it is new again"
    assert debouncer.should_load(stored())
