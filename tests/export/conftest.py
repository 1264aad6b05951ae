import dataclasses
import functools
import os

import pytest
import torch
from filelock import FileLock

from geminifusion_export.build import ExportOptions, build_artifact
from geminifusion_export.graph import SegmentationGraph, export_onnx
from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.checkpoint import write_checkpoint
from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.encoder_sizes import ENCODER_SIZES, MIT_SIZES, SWIN_SIZES


def _make_b0_shallow(patch):
    """One block a stage, which halves the time of a trace; `test_golden_weights` exports the full depth."""
    for table in (ENCODER_SIZES, MIT_SIZES):
        patch.setitem(table, "mit_b0", dataclasses.replace(table["mit_b0"], depths=(1, 1, 1, 1)))


@pytest.fixture(autouse=True)
def shallow_b0(request, monkeypatch):
    """What the session's checkpoint was made with, so that a test may load it; `full_depth` keeps all blocks."""
    if request.node.get_closest_marker("full_depth") is None:
        _make_b0_shallow(monkeypatch)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A shallow B0 whose weights are random, but loud enough that classes and gate vary over an image."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        _make_b0_shallow(patch)
        net = GeminiFusion(GeminiFusionConfig(num_classes=13, decoder_channels=64))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith("encoder"):
                parameter.add_(0.05 * torch.randn_like(parameter))
        net.decoder.classify.weight.normal_()
    directory = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(net, directory, task=nyuv2_task(13), training={"summary": "random weights for tests"})
    return directory


@pytest.fixture(scope="session")
def artifact(checkpoint, tmp_path_factory):
    """The checkpoint exported once for all processes of the session (tracing is what takes long)."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = shared / "random-b0"
    with FileLock(shared / "random-b0.lock"), pytest.MonkeyPatch.context() as patch:
        if not directory.exists():
            _make_b0_shallow(patch)
            build_artifact(checkpoint, directory, ExportOptions(name="random-b0", reference=(192, 256)))
    return directory


# Two blocks a stage at most and few channels: every operator of the full size, at a fraction of its time.
_SMALL = {
    "mit_b0": {"channels": (16, 32, 32, 64), "depths": (1, 1, 1, 1), "heads": (1, 2, 2, 4)},
    "swin_tiny": {"channels": (24, 48, 96, 192), "depths": (2, 2, 2, 2), "heads": (3, 3, 3, 3)},
}


@pytest.fixture(scope="session")
def family_member(tmp_path_factory):
    """Gives `(graph, path of its ONNX file)` of any small member of the family, traced once for all tests."""
    rgb, depth = nyuv2_task(13).modalities
    known = {
        "rgb": rgb,
        "depth": depth,
        "event": dataclasses.replace(rgb, name="event"),
        "lidar": dataclasses.replace(depth, name="lidar", range=(0.0, 80.0), mean=(12.0,), std=(9.0,)),
    }

    @functools.cache
    def member(encoder, fusion, modalities=("rgb", "depth")):
        torch.manual_seed(0)
        task = dataclasses.replace(nyuv2_task(13), modalities=tuple(known[name] for name in modalities))
        with pytest.MonkeyPatch.context() as patch:
            size = dataclasses.replace(ENCODER_SIZES[encoder], **_SMALL[encoder])
            for table in (ENCODER_SIZES, MIT_SIZES if encoder in MIT_SIZES else SWIN_SIZES):
                patch.setitem(table, encoder, size)
            config = GeminiFusionConfig(
                encoder=encoder, fusion=fusion, modalities=modalities, num_classes=13, decoder_channels=32
            )
            net = GeminiFusion(config).eval()
        with torch.no_grad():
            net.decoder.classify.weight.normal_()
        graph = SegmentationGraph(net, task)
        path = tmp_path_factory.mktemp("family") / "model.onnx"
        export_onnx(graph, path)
        return graph, path

    return member
