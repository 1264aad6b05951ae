"""`--executor ray` where Ray is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from geminifusion_service.commands import serve


def test_the_package_to_install_is_named(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = CliRunner().invoke(serve, ["--executor", "ray", "--artifact", str(tiny_artifact)])
    assert result.exit_code == 1
    assert 'pip install "geminifusion[service,ray]"' in result.output
