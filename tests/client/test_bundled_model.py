"""The model that comes with the package, on the photographs that come with it."""

import numpy as np
import onnx
import pytest

from geminifusion import load
from geminifusion_runtime.artifact import open_artifact
from geminifusion_runtime.bundled import artifact_path, demo_pairs


@pytest.fixture(scope="module")
def segment():
    return load(threads=1)


def test_bundled_artifact_is_whole_small_and_says_where_it_comes_from():
    metadata = open_artifact(artifact_path())
    assert sum(path.stat().st_size for path in artifact_path().iterdir()) < 30e6
    assert [c.name for c in metadata.classes][:3] == ["bed", "books", "ceiling"]
    assert "EfficientNet-Lite2 (ImageNet-1k; Apache-2.0" in metadata.training.summary
    assert metadata.training.miou is not None
    assert "NYU Depth V2" in metadata.weights_license
    assert "Places365" in metadata.weights_license
    assert min(report.label_agreement for report in metadata.verification) >= 0.999
    assert (artifact_path() / "MODEL_CARD.md").is_file()


def test_bundled_graph_keeps_the_fusion_as_plugin_nodes():
    model = onnx.load(artifact_path() / "model.onnx")
    assert sum(node.op_type == "PixelwiseFusion" for node in model.graph.node) == 16


def test_living_room_has_a_floor_below_and_walls_above(segment):
    pair = demo_pairs()["livingroom"]
    result = segment(pair.rgb, pair.depth)
    names = [c.name for c in segment.metadata.classes]
    assert {"wall", "floor"} <= {share.name for share in result.classes}
    rows = np.arange(result.labels.shape[0])[:, None]
    height = {name: (rows * (result.labels == names.index(name))).sum() / (result.labels == names.index(name)).sum()
              for name in ("wall", "floor")}  # fmt: skip
    assert height["floor"] > height["wall"], "row numbers grow downwards"
    assert 0 < result.confidence.min() <= result.confidence.max() <= 1
    assert result.confidence.shape == result.gate.shape == (120, 160)


def test_depth_matters_to_the_bundled_model(segment):
    pair = demo_pairs()["livingroom"]
    with_depth = segment(pair.rgb, pair.depth)
    blind = segment(pair.rgb, np.zeros(with_depth.labels.shape, np.float32))
    assert (with_depth.labels != blind.labels).mean() > 0.05


@pytest.mark.slow
def test_batch_of_photographs_gives_the_labels_of_one_by_one():
    from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
    from geminifusion_runtime.model import Model

    model = Model.open(artifact_path(), threads=1)
    items = []
    for pair in demo_pairs().values():
        rgb = decode_rgb(pair.rgb.read_bytes(), max_pixels=10**7)
        depth = decode_depth(pair.depth.read_bytes(), max_pixels=10**7, depth_scale=None)
        items.append(model.prepare({"rgb": rgb, "depth": depth.metres}))
    for together, item in zip(model.run(items), items, strict=True):
        np.testing.assert_array_equal(together.labels, model.run([item])[0].labels)
