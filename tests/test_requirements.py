"""What a machine lacks is a skip on a developer's machine and a failure in CI."""

import re
from pathlib import Path

import pytest
import yaml
from tests.requirements import skip_or_fail

ROOT = Path(__file__).parents[1]
SENTENCE = "needs promtool, of Debian's package prometheus"


def test_without_the_variable_the_test_is_skipped(monkeypatch):
    monkeypatch.delenv("GEMINIFUSION_TEST_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match=SENTENCE):
        skip_or_fail(SENTENCE)


def test_where_everything_must_be_there_it_fails_with_the_same_sentence(monkeypatch):
    monkeypatch.setenv("GEMINIFUSION_TEST_REQUIRE", "1")
    with pytest.raises(pytest.fail.Exception, match=SENTENCE):
        skip_or_fail(SENTENCE)


def test_ci_and_every_workflow_that_runs_tests_requires_everything():
    assert "export GEMINIFUSION_TEST_REQUIRE=1\n" in (ROOT / ".ci/run").read_text()
    assert "\tGEMINIFUSION_TEST_REQUIRE=1 $(BIN)/pytest -m container" in (ROOT / "Makefile").read_text()
    testing = [
        path
        for path in (ROOT / ".github/workflows").glob("*.yml")
        if re.search(r"run: .*(pytest|make .*test)", path.read_text())
    ]
    assert len(testing) >= 3
    for path in testing:
        assert yaml.safe_load(path.read_text())["env"] == {"GEMINIFUSION_TEST_REQUIRE": "1"}, path.name
