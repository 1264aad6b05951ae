"""Stored images as a network sees them, against the published transforms (tests/golden/README.md), and domains."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from geminifusion_model.encoding import encode
from geminifusion_model.translation.domains import (
    FRAME_DOMAINS,
    NAMES,
    RGB,
    TASKONOMY_DOMAINS,
    Domain,
    DomainError,
    check_names,
    find,
    relation,
    to_bytes,
)
from geminifusion_model.translation.taskonomy import encode_stored
from geminifusion_model.translation.transforms import (
    Place,
    TranslationAugmentation,
    check_size,
    cropped,
    draw_place,
    resized,
    resized_mask,
    resized_where_measured,
    varied,
)

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "i2i_transforms.npz")
STEP = 2 / 255 + 1e-5  # Pillow rounds after each axis
PUBLISHED = TranslationAugmentation(enlarged=40 / 32, as_published=True)
STORED = [name.removeprefix("raw_") for name in GOLDEN.files if name.startswith("raw_")]


def transformed(name, **how):
    """A stored golden image at 32x32, `3 H W`."""
    image = encode_stored(TASKONOMY_DOMAINS[name], GOLDEN[f"raw_{name}"].astype(np.float32))
    everywhere = np.ones(image.shape[:2], bool)
    images, _ = varied({name: image}, {name: everywhere}, TASKONOMY_DOMAINS, (32, 32), mix_unmeasured=True, **how)
    wide = images[name] if images[name].ndim == 3 else np.repeat(images[name][..., None], 3, axis=2)
    return np.moveaxis(wide, 2, 0)


@pytest.mark.parametrize("name", STORED)
def test_taskonomy_images_are_those_of_the_published_transforms(name):
    np.testing.assert_allclose(transformed(name), GOLDEN[f"val_{name}"], atol=STEP)
    for number in range(3):
        x, y, mirrored = GOLDEN[f"crop_{number}"]
        found = transformed(name, how=PUBLISHED, place=Place(int(x), int(y), bool(mirrored)))
        np.testing.assert_allclose(found, GOLDEN[f"train{number}_{name}"], atol=STEP)


def test_golden_images_tell_filters_apart():
    image = encode_stored(TASKONOMY_DOMAINS["edge_occlusion"], GOLDEN["raw_edge_occlusion"].astype(np.float32))
    for other in (cv2.INTER_LINEAR, cv2.INTER_AREA):  # the former without antialiasing
        found = cv2.resize(image, (32, 32), interpolation=other)
        assert np.abs(found - GOLDEN["val_edge_occlusion"][0]).max() > 3 * STEP


def test_unmeasured_depth_of_taskonomy_is_white():
    far = encode_stored(TASKONOMY_DOMAINS["depth_zbuffer"], np.full((2, 2), 65535, np.float32))
    assert to_bytes(torch.from_numpy(far)).unique().tolist() == [254]


def test_a_constant_image_stays_constant_at_any_size():
    for size in ((7, 31), (64, 80), (33, 5)):
        np.testing.assert_allclose(resized(np.full((33, 47, 3), 0.3, np.float32), size), 0.3, atol=1e-6)


def test_unmeasured_pixels_are_not_mixed_with_measured_ones():
    image = np.where(np.arange(64)[None] < 33, np.float32(-0.5), np.float32(9.0)) * np.ones((64, 1), np.float32)
    measured = np.repeat(np.arange(64)[None] < 33, 64, axis=0)
    small = resized_where_measured(image, measured, (16, 16))
    assert set(np.unique(small.round(5))) == {-0.5, 0.0}
    assert resized_mask(measured, (16, 16)).sum(axis=1).tolist() == [8] * 16


def test_crops_of_ours_stay_inside_and_published_ones_may_leave_it_by_a_line():
    for how, largest in ((TranslationAugmentation(enlarged=1.25), 8), (PUBLISHED, 9)):
        places = [draw_place((32, 32), how, np.random.default_rng(seed)) for seed in range(300)]
        assert max(place.x for place in places) == max(place.y for place in places) == largest
        assert min(place.x for place in places) == 0
        assert 100 < sum(place.mirrored for place in places) < 200
    out = cropped(np.zeros((40, 40), np.float32), Place(9, 0, False), (32, 32), -1.0)
    assert (out[:, -1] == -1).all()
    assert (out[:, :-1] == 0).all()


def test_normals_of_mirrored_images_turn_too():
    right = np.zeros((32, 32, 3), np.float32)
    right[..., 0] = 1
    everywhere = np.ones((32, 32), bool)
    for published, expected in ((False, -1.0), (True, 1.0)):
        how = TranslationAugmentation(enlarged=1.0, as_published=published)
        images, _ = varied(
            {"normal": right}, {"normal": everywhere}, FRAME_DOMAINS, (32, 32), how=how, place=Place(0, 0, True)
        )
        np.testing.assert_allclose(images["normal"][..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 48), (0, 32), (100, 100), (-32, 32)])
def test_sizes_that_no_translator_can_compute_are_refused(size):
    with pytest.raises(DomainError, match="multiples of 32"):
        check_size(size)


@pytest.mark.parametrize("wrong", [{"enlarged": 0.5}, {"enlarged": 3.0}, {"flip": 1.5}])
def test_augmentations_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TranslationAugmentation(**wrong)


DEPTHS = [FRAME_DOMAINS["depth"], TASKONOMY_DOMAINS["depth_zbuffer"]]


@pytest.mark.parametrize("domain", DEPTHS, ids=lambda domain: domain.name)
def test_depth_survives_encoding(domain):
    metres = np.geomspace(0.35, 9.9, 40).astype(np.float32).reshape(5, 8)
    encoded = domain.encode(metres)
    assert np.abs(encoded).max() <= 1
    np.testing.assert_allclose(domain.decoded(encoded), metres, rtol=1e-4)
    # equal ratios are equal steps
    steps = np.diff(encoded.reshape(-1))
    assert steps.std() < 0.01 * steps.mean()


def test_range_ends_at_one_and_what_is_beyond_is_clipped():
    encoded = FRAME_DOMAINS["depth"].encode(np.array([[0.1, 0.3, 10.0, 50.0, 0.0, np.inf, np.nan, -1.0]], np.float32))
    np.testing.assert_allclose(encoded, [[-1, -1, 1, 1, 0, 0, 0, 0]], atol=1e-6)


def test_taskonomys_formula_is_the_domains():
    units = np.array([[200.0, 3000.0, 40000.0]], np.float32)
    stored = encode_stored(TASKONOMY_DOMAINS["depth_euclidean"], units)
    physical = TASKONOMY_DOMAINS["depth_euclidean"].encode(units / 512)
    assert (physical - stored).min() >= 0
    assert (physical - stored).max() < STEP


@pytest.mark.parametrize("domain", [*FRAME_DOMAINS.values(), *DEPTHS], ids=lambda domain: domain.name)
def test_a_domain_as_a_served_input_is_encoded_the_same(domain):
    rng = np.random.default_rng(0)
    if domain.kind == "depth":
        values = rng.uniform(0.5, 9, (1, 6, 7)).astype(np.float32)
        served, trained = values, domain.encode(values[0])
    else:
        shape = (1, 6, 7, 3) if domain.channels == 3 else (1, 6, 7)
        served = rng.integers(0, 256, shape).astype(np.uint8)
        scale = {"intensity": served[0], "share": served[0] / 255, "unit vector": served[0] / 127.5 - 1}[domain.unit]
        trained = domain.encode(scale)
    found = encode(torch.from_numpy(served), domain.modality())[0].numpy()
    wide = np.moveaxis(trained, 2, 0) if trained.ndim == 3 else np.repeat(trained[None], 3, axis=0)
    np.testing.assert_allclose(found, wide, atol=2e-3 if domain.log_offset else 1e-5)


def test_decoded_normals_have_length_one_and_colors_255_steps():
    image = torch.rand(2, 3, 4, 5) * 2 - 1
    assert torch.allclose(FRAME_DOMAINS["normal"].decode(image).norm(dim=1), torch.ones(2, 4, 5), atol=1e-5)
    assert torch.equal(RGB.decode(image).round().to(torch.uint8), to_bytes(image))
    assert FRAME_DOMAINS["shade"].decode(image).shape == (2, 4, 5)


def test_a_domain_survives_a_checkpoint():
    from pydantic import TypeAdapter

    for domain in (*FRAME_DOMAINS.values(), *TASKONOMY_DOMAINS.values()):
        plain = TypeAdapter(Domain).dump_python(domain, mode="json")
        assert TypeAdapter(Domain).validate_python(plain) == domain
    with pytest.raises(ValueError, match="low < high"):
        dataclasses.replace(FRAME_DOMAINS["depth"], range=(3.0, 1.0))


@pytest.mark.parametrize(
    ("inputs", "target", "message"),
    [
        (("rgb", "thermal"), "depth", "no domain 'thermal'"),
        (("rgb",), "deepness", "no domain 'deepness'"),
        (("rgb", "depth"), "rgb", "twice"),
        (("rgb", "rgb"), "depth", "twice"),
        ((), "depth", "one or two"),
        (("rgb", "normal", "shade"), "depth", "one or two"),
    ],
)
def test_pairs_that_no_data_has_are_refused(inputs, target, message):
    with pytest.raises(DomainError, match=message):
        check_names(inputs, target)


def test_domains_of_other_data_are_refused():
    with pytest.raises(DomainError, match="my data has no domain 'reshading'; it has rgb"):
        find(FRAME_DOMAINS, ["rgb", "reshading"], "my data")
    assert set(NAMES) == {*FRAME_DOMAINS, *TASKONOMY_DOMAINS}


@pytest.mark.parametrize(
    ("name", "other", "target", "known", "expected"),
    [
        ("rgb", "edge_occlusion", "depth", FRAME_DOMAINS, "independent of the target"),
        ("edge_occlusion", "rgb", "depth", FRAME_DOMAINS, "computed from the target"),
        ("shade", "rgb", "depth", FRAME_DOMAINS, "computed from the target"),
        ("normal", "rgb", "shade", FRAME_DOMAINS, "the target is computed from it"),
        ("depth", "rgb", "shade", FRAME_DOMAINS, "the target is computed from it"),
        ("edge_texture", "rgb", "depth", FRAME_DOMAINS, "computed from rgb, which is an input too"),
        ("edge_texture", "shade", "rgb", FRAME_DOMAINS, "computed from the target"),
        ("edge_occlusion", "rgb", "normal", FRAME_DOMAINS, "computed from depth, as the target is"),
        ("depth_zbuffer", "rgb", "normal", TASKONOMY_DOMAINS, "computed from geometry, as the target is"),
        ("reshading", "rgb", "normal", TASKONOMY_DOMAINS, "computed from the target"),
        ("normal", "depth_zbuffer", "rgb", TASKONOMY_DOMAINS, "independent of the target"),
    ],
)
def test_tables_say_what_ties_an_input_to_the_target(name, other, target, known, expected):
    assert relation(name, (name, other), target, known) == expected
