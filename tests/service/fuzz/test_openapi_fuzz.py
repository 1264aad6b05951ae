"""Requests that a machine derives from /openapi.json: none is answered by a 5xx, and all answers are as documented."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

CHECKS = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance"
# 504 is the right answer to a deadline of a femtosecond.
CONFIGURATION = '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "504"]\n'


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("schemathesis") is None, reason='schemathesis is missing: pip install "geminifusion[dev]"'
)
def test_requests_derived_from_the_openapi_document_are_answered_as_documented(serving, tmp_path):
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    with serving() as live:
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
                *("--config-file", configuration, "run", f"{live.url}/openapi.json"),
                *("--checks", CHECKS, "--max-examples", "30", "--generation-deterministic"),
                *("--continue-on-failure", "--warnings", "off", "--no-color"),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert "No issues found" in done.stdout
        assert live.get("/healthz/ready").status_code == 200
