"""COCO run-length strings: against one worked by hand, against step-by-step coders, by round trip, and damaged."""

import numpy as np
import pytest

from geminifusion_runtime.encoding.run_lengths import decode_counts, encode_classes, labels_from_runs

LABELS = np.random.default_rng(3).integers(0, 3, (23, 37), dtype=np.uint8)


def encode_counts(runs):
    """COCO's compression, one number at a time: the specification the vectorised decoder is held to."""
    text = ""
    for i, run in enumerate(runs):
        value = int(run) - (int(runs[i - 2]) if i > 2 else 0)
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != -1 if group & 16 else value != 0
            text += chr((group | 32 if more else group) + 48)
    return text


def runs_of(mask):
    flat = np.concatenate(([False], mask.T.ravel()))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], edges, [mask.size])))


def test_strings_of_a_known_mask_decode_to_its_runs():
    # Worked by hand from the format: 6 1 40 4 5 is 6, 1, 40 (two groups), 4-1, 5-40 (negative, two groups).
    assert encode_counts([6, 1, 40, 4, 5]) == "61X13mN"
    assert decode_counts("61X13mN").tolist() == [6, 1, 40, 4, 5]


@pytest.mark.parametrize("seed", range(20))
def test_round_trip_of_random_label_maps(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 70, 2)
    labels = rng.integers(0, 5, (height, width)).astype(np.uint8) * 51
    labels[rng.random((height, width)) < 0.5] = 3
    counts = {int(c): encode_counts(runs_of(labels == c)) for c in np.unique(labels)}
    np.testing.assert_array_equal(labels_from_runs(counts, height, width), labels)


def test_a_map_of_one_class_is_one_run():
    assert labels_from_runs({7: encode_counts([0, 12])}, 3, 4).tolist() == [[7] * 4] * 3


@pytest.mark.parametrize("text", ["61X", "\x01", "é", "~", "o" * 9 + "0", "0O0"])
def test_damaged_strings_are_refused(text):
    with pytest.raises(ValueError, match="run-length"):
        decode_counts(text)


@pytest.mark.parametrize("runs", [{}, {1: [0, 5]}, {1: [0, 4], 2: [2, 4]}, {1: [1, 5]}, {1: [0, 3], 2: [0, 3]}])
def test_masks_that_overlap_or_leave_a_gap_are_refused(runs):
    with pytest.raises(ValueError, match="do not tile an image of 3x2"):
        labels_from_runs({c: encode_counts(r) for c, r in runs.items()}, 2, 3)


def coco_decode(text, height, width):
    """COCO's rleFrString and rleDecode, written out step by step from their definition."""
    counts, position = [], 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            byte = ord(text[position]) - 48
            value |= (byte & 0x1F) << shift
            more, shift, position = bool(byte & 0x20), shift + 5, position + 1
            if not more and byte & 0x10:
                value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    pixels = np.concatenate([np.full(n, i % 2, np.uint8) for i, n in enumerate(counts)])
    return pixels.reshape((height, width), order="F")


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        np.zeros((5, 7), np.uint8),
        np.ones((1, 1), np.uint8),
        np.repeat(np.arange(4, dtype=np.uint8), 20_000).reshape(200, 400),
        np.eye(300, dtype=np.uint8),
    ],
    ids=["noise", "one class", "one pixel", "long runs", "diagonal"],
)
def test_run_lengths_decode_to_the_mask_of_each_class(labels):
    runs = encode_classes(labels)
    assert [one.class_id for one in runs] == sorted(set(labels.ravel().tolist()))
    for one in runs:
        np.testing.assert_array_equal(coco_decode(one.counts, *labels.shape), labels == one.class_id)


def test_run_lengths_of_a_small_mask_are_cocos_text():
    # columns of [[0, 1], [1, 1]] are 0 1 1 1: one off, three on
    assert encode_classes(np.array([[0, 1], [1, 1]], np.uint8))[1].counts == "13"


def test_what_the_server_encodes_the_client_decodes():
    runs = {one.class_id: one.counts for one in encode_classes(LABELS)}
    np.testing.assert_array_equal(labels_from_runs(runs, *LABELS.shape), LABELS)
