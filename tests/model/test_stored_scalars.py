"""Files that hold more than tensors: read without running code."""

import sys
import types
import zipfile

import numpy as np
import pytest
import torch

from geminifusion_model.weights.files import OfficialWeightsError, read_tensors

WEIGHTS = {"layer.weight": torch.arange(3.0)}


def renamed(source, target, old, new):
    """A copy of a torch file whose pickle names another module."""
    with zipfile.ZipFile(source) as files, zipfile.ZipFile(target, "w") as copy:
        for entry in files.namelist():
            data = files.read(entry)
            copy.writestr(entry, data.replace(old, new) if entry.endswith("data.pkl") else data)
    return target


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
@pytest.mark.parametrize("best", [np.float64(56.8), np.float32(0.5), np.int64(7), np.bool_(True)])
def test_numpy_scalars_of_both_releases_are_read(tmp_path, module, best):
    torch.save({"segmenter": WEIGHTS, "epoch_start": 3, "best_val": best}, tmp_path / "model.pth.tar")
    own = type(best).__reduce__(best)[0].__module__.encode()
    path = renamed(tmp_path / "model.pth.tar", tmp_path / "other.pth.tar", own, module)
    assert torch.equal(read_tensors(path)["layer.weight"], WEIGHTS["layer.weight"])


def test_scalars_have_their_value():
    from geminifusion_model.weights.stored_scalars import _stored_scalar, _StoredType

    kind = _StoredType("f8", False, True)
    kind.__setstate__((3, ">", None, None, None, -1, -1, 0))
    assert _stored_scalar(kind, np.array(56.8, ">f8").tobytes()) == 56.8
    with pytest.raises(ValueError, match="is no number"):
        _stored_scalar(_StoredType("O8", False, True), b"12345678")


def test_optimizer_states_beside_the_weights_are_skipped(tmp_path):
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3,
        "model_state_dict": layer.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": np.float64(0.3),
        "scheduler_state_dict": {"last_epoch": 3, "base_lrs": [1e-4]},
        "best_miou": np.float64(66.9),
    }
    torch.save(content, tmp_path / "checkpoint.pth")
    assert set(read_tensors(tmp_path / "checkpoint.pth")) == {"weight", "bias"}


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_the_log_of_mmengine_is_passed_over(tmp_path, monkeypatch, module):
    stand_in = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        __module__, __qualname__ = stand_in.__name__, "HistoryBuffer"

    stand_in.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    losses = HistoryBuffer()
    losses._log_history = np.arange(3.0)
    content = {"meta": {"epoch": 40}, "message_hub": {"log_scalars": {"train/loss": losses}}, "state_dict": WEIGHTS}
    torch.save(content, tmp_path / "epoch_40.pth")
    path = renamed(tmp_path / "epoch_40.pth", tmp_path / "other.pth", b"numpy._core.multiarray", module)
    for name in ("mmengine", "mmengine.logging", stand_in.__name__):
        monkeypatch.delitem(sys.modules, name)
    assert torch.equal(read_tensors(path)["layer.weight"], WEIGHTS["layer.weight"])


def test_a_file_that_wants_code_is_refused_in_one_sentence(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("this must not run",))

    torch.save({"segmenter": WEIGHTS, "extra": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(
        OfficialWeightsError, match=r"wants to run .*print while it is read.* store its state dict"
    ) as no:
        read_tensors(tmp_path / "evil.pth")
    assert "\n" not in str(no.value)


def test_numpy_arrays_beside_the_weights_are_passed_over_and_are_no_weights(tmp_path):
    torch.save({"segmenter": WEIGHTS, "curve": np.arange(3)}, tmp_path / "curve.pth")
    assert set(read_tensors(tmp_path / "curve.pth")) == {"layer.weight"}
    torch.save({"segmenter": {"layer.weight": np.arange(3.0)}}, tmp_path / "arrays.pth")
    with pytest.raises(OfficialWeightsError, match="expected a mapping from names to tensors"):
        read_tensors(tmp_path / "arrays.pth")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights.bin"])
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>404 Not Found</html>")
    with pytest.raises(OfficialWeightsError, match="cannot be read as a weight file") as refused:
        read_tensors(tmp_path / name)
    assert "\n" not in str(refused.value)
