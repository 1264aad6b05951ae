"""Label files as tools write them, read as numbers and not as colors."""

import cv2
import numpy as np
import pytest
from PIL import Image

from geminifusion_model.data.label_files import LabelCode, read_labels
from geminifusion_model.data.label_scheme import LabelScheme
from geminifusion_model.data.sample import DatasetError

INDICES = np.arange(5, dtype=np.uint8)[None].repeat(4, 0)
NAMES = ("a", "b", "c", "d", "e")
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]


def read(path, classes=5, **scheme):
    palette = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)][:classes]
    return read_labels(path, LabelScheme(**scheme).code(NAMES[:classes], palette))


def palette_image(indices, colors=VOC):
    image = Image.fromarray(indices, "P")
    image.putpalette(colors)
    return image


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_png_is_read_by_its_indices(tmp_path, bits):
    indices = np.minimum(INDICES, 2**bits - 1)
    palette_image(indices).save(tmp_path / "p.png", bits=bits)
    np.testing.assert_array_equal(read(tmp_path / "p.png").classes, indices)


def test_an_interlaced_palette_and_one_with_transparency_are_too(tmp_path):
    image = palette_image(np.kron(INDICES, np.ones((3, 3), np.uint8)))
    image.save(tmp_path / "t.png", transparency=0)
    np.testing.assert_array_equal(read(tmp_path / "t.png").classes, np.kron(INDICES, np.ones((3, 3))))


def test_gray_of_one_bit_is_0_and_1(tmp_path):
    Image.fromarray(INDICES > 2).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read(tmp_path / "b.png", classes=2).classes, INDICES > 2)


def test_sixteen_bits_and_arrays_of_any_type_are_whole_numbers(tmp_path):
    Image.fromarray(INDICES.astype(np.uint16) * 300).save(tmp_path / "w.png")
    np.save(tmp_path / "i.npy", INDICES.astype(np.int64) * 300)
    np.save(tmp_path / "f.npy", INDICES.astype(np.float32) * 300)
    mapping = {300 * index: name for index, name in enumerate(NAMES)}
    for name in ("w.png", "i.npy", "f.npy"):
        found = read(tmp_path / name, map=mapping)
        np.testing.assert_array_equal(found.classes, INDICES)
        assert not found.unmapped


@pytest.mark.parametrize("marker", [-100, 65535, float("nan")])
def test_void_is_any_value_that_a_file_can_hold(tmp_path, marker):
    stored = INDICES.astype(np.float64)
    stored[0] = marker
    np.save(tmp_path / "v.npy", stored)
    found = read(tmp_path / "v.npy", void=marker)
    assert (found.classes[0] == 255).all()
    np.testing.assert_array_equal(found.classes[1:], INDICES[1:])
    # without the contract's word it is no class, and nothing wraps around
    assert set(read(tmp_path / "v.npy").unmapped.values()) == {5}


def test_values_without_a_class_are_counted(tmp_path):
    Image.fromarray(np.where(INDICES == 4, 24, INDICES * 7).astype(np.uint8)).save(tmp_path / "s.png")
    assert read(tmp_path / "s.png").unmapped == {"7": 4, "14": 4, "21": 4, "24": 4}
    mapped = read(tmp_path / "s.png", map={0: "a", 7: 1, 14: "c", 21: "void", 24: None})
    assert mapped.unmapped == {}
    assert mapped.classes[0].tolist() == [0, 1, 2, 255, 255]


def test_a_fraction_is_no_class(tmp_path):
    np.save(tmp_path / "f.npy", np.array([[0.0, 1.5]]))
    assert read(tmp_path / "f.npy").unmapped == {"1.5": 1}


def test_255_is_a_class_where_the_contract_says_so(tmp_path):
    Image.fromarray(((INDICES > 2) * 255).astype(np.uint8)).save(tmp_path / "m.png")
    binary = {"classes": 2, "map": {0: "a", 255: "b"}}
    np.testing.assert_array_equal(read(tmp_path / "m.png", **binary).classes, INDICES > 2)
    # and no void value where it lists none
    assert read(tmp_path / "m.png", classes=2, void=[]).unmapped == {"255": 8}


def test_pictures_in_colors_need_a_table_of_colors(tmp_path):
    palette_image(INDICES).convert("RGB").save(tmp_path / "c.png")
    with pytest.raises(DatasetError, match=r"picture in colors.*labels\.colors"):
        read(tmp_path / "c.png")
    table = {"#000000": "void", "128,0,0": "a", "#008000": 1, "#808000": "b"}
    found = read(tmp_path / "c.png", colors=table)
    assert found.classes[0].tolist() == [255, 0, 1, 1, 255]
    assert found.unmapped == {"#000080": 4}
    np.testing.assert_array_equal(read(tmp_path / "c.png", colors="classes").classes, INDICES)


def test_a_palette_may_be_meant_by_its_colors(tmp_path):
    palette_image(INDICES).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read(tmp_path / "p.png", colors="classes").classes, INDICES)


def test_one_channel_of_a_picture_may_hold_the_classes(tmp_path):
    Image.fromarray(np.dstack([INDICES, INDICES * 0, INDICES * 9])).save(tmp_path / "r.png")
    np.testing.assert_array_equal(read(tmp_path / "r.png", channel="red").classes, INDICES)
    Image.fromarray(np.dstack([INDICES] * 3)).save(tmp_path / "e.png")
    np.testing.assert_array_equal(read(tmp_path / "e.png").classes, INDICES)


def test_what_cannot_hold_classes_is_refused(tmp_path):
    Image.fromarray(INDICES).save(tmp_path / "l.jpg")
    with pytest.raises(DatasetError, match=r"JPEG, whose compression changes label values; write labels as PNG"):
        read(tmp_path / "l.jpg")
    palette_image(INDICES).save(tmp_path / "p.tif")
    with pytest.raises(DatasetError, match="palette"):
        read(tmp_path / "p.tif")
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        read(tmp_path / "absent.png")


def with_alpha(alpha, bits=8):
    gray = INDICES.astype(np.uint8 if bits == 8 else np.uint16)
    return np.dstack([gray] * 3 + [np.full_like(gray, 2**bits - 1) if alpha is None else alpha.astype(gray.dtype)])


@pytest.mark.parametrize(("suffix", "bits"), [("png", 8), ("png", 16), ("tif", 8)])
@pytest.mark.parametrize("scheme", [{}, {"channel": "red"}], ids=["gray", "red"])
def test_alpha_that_is_opaque_is_nothing_and_any_other_is_refused(tmp_path, suffix, bits, scheme):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), with_alpha(None, bits))
    np.testing.assert_array_equal(read(path, **scheme).classes, INDICES)
    cv2.imwrite(str(path), with_alpha(np.where(INDICES == 2, 0, 2**bits - 1), bits))
    count = (INDICES == 2).sum()
    with pytest.raises(DatasetError, match=rf"{count} of its {INDICES.size} pixels are not opaque.*labels\.void"):
        read(path, **scheme)


def test_alpha_of_gray_and_of_colors_is_judged_alike(tmp_path):
    path = tmp_path / "a.png"
    gray, half = Image.fromarray(INDICES), Image.fromarray(np.full_like(INDICES, 128))
    opaque = Image.fromarray(np.full_like(INDICES, 255))
    Image.merge("LA", [gray, opaque]).save(path)
    np.testing.assert_array_equal(read(path).classes, INDICES)
    for image in (Image.merge("LA", [gray, half]), Image.merge("RGBA", [gray] * 3 + [half])):
        image.save(path)
        for scheme in ({}, {"colors": {"#000000": "a"}}):
            with pytest.raises(DatasetError, match="not opaque"):
                read(path, **scheme)
    Image.merge("LA", [gray, half]).save(tmp_path / "a.tif")
    with pytest.raises(DatasetError, match="TIFF in grey with alpha"):
        read(tmp_path / "a.tif")


def test_entries_of_a_palette_that_are_drawn_transparent_are_classes(tmp_path):
    palette_image(INDICES).save(tmp_path / "t.png", transparency=bytes([0, 128] + [255] * 254))
    for scheme in ({}, {"colors": "classes"}):
        np.testing.assert_array_equal(read(tmp_path / "t.png", **scheme).classes, INDICES)


@pytest.mark.parametrize(
    ("scheme", "complaint"),
    [
        ({"map": {0: "a", 255: "x"}}, "labels.map names 'x'; expected void or one of a, b"),
        ({"map": {0: 7}}, "labels.map names class 7; expected 0 to 4"),
        ({"map": {0: "a"}, "void": [0]}, "labels.map and labels.void both name 0"),
        ({"colors": {"red": "a"}}, "color 'red'; expected '#rrggbb'"),
        ({"colors": {"#000000": "a", "0,0,0": "b"}}, "#000000 two meanings"),
        ({"void": ["#000000"]}, "expected stored numbers"),
    ],
)
def test_a_scheme_that_contradicts_itself_is_refused(scheme, complaint):
    with pytest.raises(ValueError, match=complaint):
        LabelScheme(**scheme).code(NAMES, [None] * 5)


def test_a_code_says_what_it_expects():
    assert LabelCode(num_classes=5, offset=-1).expected() == "1 to 5, void 255"
