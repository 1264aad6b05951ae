"""All attacks at once on the server as compose starts it, with good clients beside them."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "benchmarks/service/attack_mix.py"


@pytest.mark.slow
def test_memory_stays_below_the_limit_of_compose_and_good_clients_are_answered():
    done = subprocess.run([sys.executable, PROGRAM, "--seconds", "45"], capture_output=True, text=True, timeout=300)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
