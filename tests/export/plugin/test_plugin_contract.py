"""What TensorRT asks the compiled library while it builds an engine, loads one, and changes shapes."""

import itertools

import pytest
from plugin_host import LINEAR, NUM_FORMATS

pytestmark = pytest.mark.slow

FLOATS = ("f32", "f16", "bf16")
OTHER_TYPES = ("int8", "int32", "bool", "uint8", "fp8", "int64")


@pytest.fixture
def plugin(host):
    made = host.create(("num_heads", "int32", [8]))
    yield made
    made.close()


def test_the_library_offers_one_creator_under_the_names_on_the_node(host):
    assert host.num_creators == 1
    assert host.identity() == ("PixelwiseFusion", "1", "geminifusion")
    assert host.fields() == ["num_heads"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "got no field num_heads; expected one int32"),
        ([("heads", "int32", [8])], "got no field num_heads"),
        ([("num_heads", "float32", [8])], "num_heads of field type 1 and length 1; expected one int32"),
        ([("num_heads", "int64", [8])], "num_heads of field type 9"),
        ([("num_heads", "int32", [8, 8])], "num_heads of field type 5 and length 2"),
        ([("num_heads", "int32", [])], "num_heads of field type 5 and length 0"),
        ([("num_heads", "int32", [0])], "num_heads = 0; expected 1 or more"),
        ([("num_heads", "int32", [-8])], "num_heads = -8; expected 1 or more"),
        ([("num_heads", "int32", [8]), ("num_heads", "int32", [4])], "num_heads twice"),
    ],
)
def test_bad_fields_give_no_plugin_and_a_message(host, fields, message):
    assert host.create(*fields) is None
    assert message in host.messages()


def test_no_fields_at_all_give_no_plugin_and_a_message(host):
    assert host.create_without_fields() is None
    assert "got no fields" in host.messages()


def test_fields_of_others_are_ignored(host):
    made = host.create(("plugin_version", "int8", [49]), ("num_heads", "int32", [5]))
    assert made is not None
    made.close()


def test_the_output_has_type_and_shape_of_q(plugin):
    assert plugin.num_outputs() == 1
    for kind in FLOATS:
        assert plugin.output_type([kind] * 4) == kind
    for rank in (1, 2, 3, 4):
        assert plugin.output_has_shape_of_q(rank)


def test_mixed_and_unknown_types_are_refused_with_a_message(host, plugin):
    assert plugin.output_type(["f32", "f32", "f16", "f32"]) is None
    assert "v_self of type 1 and q of type 0" in host.messages()
    assert plugin.output_type(["int8"] * 4) is None
    assert plugin.output_type(["f32"] * 3) is None
    assert "got 3 inputs and 1 outputs; expected 4" in host.messages()


def test_only_linear_tensors_of_one_float_type_are_supported(plugin):
    every_type = FLOATS + OTHER_TYPES
    alike = {kind for kind in every_type if plugin.supports([kind] * 5, [LINEAR] * 5)}
    assert alike == set(FLOATS)
    for position, (kind, other) in itertools.product(range(5), itertools.permutations(FLOATS, 2)):
        kinds = [kind] * 5
        kinds[position] = other
        assert not plugin.supports(kinds, [LINEAR] * 5)
    for position, layout in itertools.product(range(5), range(1, NUM_FORMATS)):
        formats = [LINEAR] * 5
        formats[position] = layout
        assert not plugin.supports(["f16"] * 5, formats)


def test_channels_must_be_a_multiple_of_the_heads(host, plugin):
    assert plugin.configure("f16", (-1, -1, 32))
    assert plugin.configure("f16", (-1, -1, -1))
    assert not plugin.configure("f16", (-1, -1, 36))
    assert "got 36 channels; expected a positive multiple of num_heads = 8" in host.messages()
    assert not plugin.configure("f16", (-1, -1, 32), num_inputs=5)


def test_a_change_of_shape_checks_every_tensor(host, plugin):
    shape = (2, 13, 40)
    assert plugin.change_shape(["f16"] * 5, [shape] * 5)
    for position, name in enumerate(("k_diff", "v_self", "v_cross", "mixed"), 1):
        shapes = [shape] * 5
        shapes[position] = (2, 1, 40)
        assert not plugin.change_shape(["f16"] * 5, shapes)
        assert f"got {name} of another shape or type than q" in host.messages()
    assert not plugin.change_shape(["f16"] * 5, [(2, 13, 12)] * 5)
    assert not plugin.change_shape(["f16", "f16", "f32", "f16", "f16"], [shape] * 5)


@pytest.mark.parametrize("copy", ["clone", "attach", "serialise_and_recreate"])
def test_copies_keep_the_heads_and_outlive_their_origin(host, copy):
    origin = host.create(("num_heads", "int32", [5]))
    made = getattr(origin, copy)()
    origin.close()
    again = made.serialise_and_recreate()
    made.close()
    assert again.timing_cache_id() == "num_heads=5"
    assert again.configure("f32", (1, 1, 35))
    assert not again.configure("f32", (1, 1, 32))
    host.messages()
    again.close()
