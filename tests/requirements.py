"""What a machine may lack: a test that needs it is skipped, or fails where all of it has to be there."""

import os
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the running test; fail it where `GEMINIFUSION_TEST_REQUIRE=1` says that nothing may be missing.

    Args:
        reason: what is needed and how to get it.
    """
    if os.environ.get("GEMINIFUSION_TEST_REQUIRE") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
