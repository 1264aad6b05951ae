"""When a directory is worth trying, on a clock of the test."""

from pathlib import Path

import pytest

from geminifusion_service.models.debounce import Sightings
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
def sightings(clock):
    return Sightings(settle_s=30, clock=clock)


def stored(size=1):
    return StoredVersion(name="tiny", version="2", directory=Path("tiny/2"), fingerprint=(("model.onnx", size, 0, 0),))


def test_a_directory_is_tried_once_two_looks_found_it_the_same(sightings):
    assert not sightings.worth_trying(stored(1))
    assert not sightings.worth_trying(stored(2)), "it is growing"
    assert sightings.worth_trying(stored(2))


def test_at_the_start_one_look_is_enough(sightings):
    assert sightings.worth_trying(stored(), at_once=True)


def test_a_failed_try_is_repeated_when_the_directory_changed_or_has_settled(sightings, clock):
    sightings.worth_trying(stored())
    sightings.failed(stored(), "incomplete", for_good=False)
    clock.now += 29
    assert not sightings.worth_trying(stored())
    assert not sightings.settled(stored())
    clock.now += 1
    assert sightings.worth_trying(stored())
    assert sightings.settled(stored())
    assert not sightings.worth_trying(stored(2)), "changed: from the beginning"
    assert sightings.worth_trying(stored(2))


def test_what_is_given_up_is_tried_again_only_once_it_changes(sightings, clock):
    sightings.worth_trying(stored())
    sightings.failed(stored(), "damaged", for_good=True)
    clock.now += 1e6
    assert not sightings.worth_trying(stored())
    sightings.worth_trying(stored(2))
    assert sightings.worth_trying(stored(2))


def test_a_reason_is_news_once(sightings):
    sightings.worth_trying(stored())
    assert sightings.failed(stored(), "no room", for_good=False)
    assert not sightings.failed(stored(), "no room", for_good=False)
    assert sightings.failed(stored(), "damaged", for_good=False)


def test_what_is_gone_is_forgotten(sightings):
    sightings.worth_trying(stored())
    sightings.failed(stored(), "damaged", for_good=True)
    sightings.keep([])
    assert not sightings.worth_trying(stored()), "it is new again"
    assert sightings.worth_trying(stored())
