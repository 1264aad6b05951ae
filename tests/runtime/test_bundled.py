import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from geminifusion import load
from geminifusion_runtime import bundled
from geminifusion_runtime.bundled import BundledArtifactMissingError, artifact_path, demo_pairs

# Frames whose licence lets them travel with the package; anything else must not slip in.
MAY_BE_SHIPPED = {"livingroom", "lab_a", "boxes"}


def test_every_pair_is_complete_aligned_and_has_its_licence():
    pairs = demo_pairs()
    assert set(pairs) == MAY_BE_SHIPPED
    for pair in pairs.values():
        rgb = cv2.imread(str(pair.rgb))
        depth = cv2.imread(str(pair.depth), cv2.IMREAD_UNCHANGED)
        assert rgb.shape[:2] == depth.shape == (480, 640)
        assert depth.dtype == np.uint16
        assert 0.3 < np.median(depth[depth > 0]) * pair.depth_scale < 10
        assert pair.license in ("Apache-2.0", "MIT")
        assert pair.license_file.read_text(encoding="utf-8").strip()


def test_folder_holds_nothing_that_the_manifest_does_not_name():
    folder = demo_pairs()["livingroom"].rgb.parent
    entries = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
    named = {entry[field] for entry in entries for field in ("rgb", "depth", "license_file")}
    found = {str(Path(p).relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found == named | {"MANIFEST.json"}
    assert sum((folder / name).stat().st_size for name in found) < 1_200_000


def test_missing_model_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "_HOME", tmp_path)
    with pytest.raises(BundledArtifactMissingError, match="install the package again or give the directory"):
        artifact_path()


def test_bundled_model_segments_a_bundled_pair():
    segment = load(threads=1)
    pair = demo_pairs()["livingroom"]
    result = segment(pair.rgb, pair.depth, depth_scale=pair.depth_scale)
    assert result.labels.shape == (480, 640)
    assert result.labels.max() < len(segment.metadata.classes)
    assert sum(share.pixels for share in result.classes) == 480 * 640
