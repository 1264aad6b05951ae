"""What padding to a multiple of 32 costs a translator: measured, as no warning tells of it."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.export.small_tasks import small_generators, translator

from geminifusion import load
from geminifusion_export.build import ExportOptions
from geminifusion_export.translation.build import build_translator
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_model.translation.checkpoint import TranslatorInfo, write_translator
from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.domains import FRAME_DOMAINS
from geminifusion_model.translation.frame_views import RoomViews
from geminifusion_model.translation.generator import Generator

SIZE, CUT = (96, 128), (77, 100)  # a view, and what of it is sent: padded to the view's size again
STEPS, BATCH, TRAINED_ON, TESTED_ON = 300, 4, 48, 16
BORDER = 8  # pixels beside the padding
NAMES = ("rgb", "edge_occlusion", "depth")


def view(views, index):
    """Encoded images `3 H W` of a room, and where it has depth."""
    read = views.read(index, NAMES)
    images = [read.images[name] for name in NAMES]
    three = [np.moveaxis(np.atleast_3d(image) * np.ones(3, np.float32), 2, 0) for image in images]
    return three, read.measured["depth"]


def trained():
    """A small generator after a minute of training, for depth of rendered rooms."""
    _, task = translator("depth", ("rgb", "edge_occlusion"), "geminifusion")
    torch.manual_seed(1)
    net = Generator(TranslatorConfig(target="depth", inputs=("rgb", "edge_occlusion"), fusion="geminifusion"))
    views = RoomViews(Rooms(TRAINED_ON, 5, SIZE))
    stored = [view(views, index)[0] for index in range(TRAINED_ON)]
    rgb, edges, depth = (torch.from_numpy(np.stack(each)) for each in zip(*stored, strict=True))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(STEPS):
        chosen = torch.randint(TRAINED_ON, (BATCH,))
        found = net(rgb[chosen], edges[chosen])
        loss = sum((image - depth[chosen]).abs().mean() for image in (found.ensemble, *found.per_stream))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval(), dataclasses.replace(task, size=SIZE)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("padding")
    with small_generators():
        net, task = trained()
        (folder / "checkpoint").mkdir()
        write_translator(folder / "checkpoint", net.state_dict(), TranslatorInfo(network=net.config, task=task))
        build_translator(folder / "checkpoint", folder / "artifact", ExportOptions(name="to-depth"))
    return load(folder / "artifact", threads=1)


def relative_errors(model):
    """Of depth in what is cut out, `n H W`: of whole views, of what was cut out and so padded, and of one distance."""
    views, depth = RoomViews(Rooms(TESTED_ON, 6, SIZE)), FRAME_DOMAINS["depth"]
    errors = []
    for index in range(TESTED_ON):
        images, measured = view(views, index)
        rgb, edges = (np.rint((image + 1) * 127.5).astype(np.uint8) for image in images[:2])
        parts = {"rgb": np.moveaxis(rgb, 0, 2), "edge_occlusion": edges[0]}
        cut_out = {name: np.ascontiguousarray(image[: CUT[0], : CUT[1]]) for name, image in parts.items()}
        truth = depth.decoded(images[2][0])[: CUT[0], : CUT[1]]
        found = (
            model.translate(**parts).output[: CUT[0], : CUT[1]],
            model.translate(**cut_out).output,
            np.full(CUT, 3.0),
        )
        seen = measured[: CUT[0], : CUT[1]]
        errors.append([np.where(seen, np.abs(one / truth - 1), np.nan) for one in found])
    return [np.stack(each) for each in zip(*errors, strict=True)]


@pytest.mark.slow
def test_depth_of_a_padded_view_is_as_good_as_of_one_that_needs_no_padding(model):
    whole, padded, guessed = relative_errors(model)
    assert np.nanmean(whole) < 0.9 * np.nanmean(guessed), "the network has learned something"
    beside = np.ones(CUT, bool)
    beside[: CUT[0] - BORDER, : CUT[1] - BORDER] = False
    assert np.nanmean(padded[:, ~beside]) < 1.05 * np.nanmean(whole[:, ~beside])
    assert np.nanmean(padded[:, beside]) < 1.15 * np.nanmean(whole[:, beside])
