import importlib.util
import sys
from pathlib import Path

import pytest
import torch

# importlib mode gives test folders no package, so the shared golden rule is loaded by path once
_spec = importlib.util.spec_from_file_location("golden", Path(__file__).parent / "golden.py")
sys.modules["golden"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["golden"])


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
