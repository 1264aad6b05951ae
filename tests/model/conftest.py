import importlib.util
import sys
from pathlib import Path

import pytest
import torch

# importlib mode gives test folders no package, so what several files share is loaded by path once
_SHARED = (
    "golden",
    "golden_detection",
    "golden_translation",
    "distillation_scenario",
    "own_data",
    "street_frames",
    "translation_scenario",
)
for _name in _SHARED:
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).parent / f"{_name}.py")
    sys.modules[_name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_name])


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
