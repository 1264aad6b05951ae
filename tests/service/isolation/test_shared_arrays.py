"""Memory two sides share, here in one process: they know it by its descriptor alone."""

import os

import numpy as np

from geminifusion_service.isolation.shared_arrays import SharedArrays, end_offset, open_shared_memory


def test_what_one_side_writes_the_other_reads_also_after_it_has_grown():
    descriptor = open_shared_memory()
    here, there = SharedArrays(descriptor), SharedArrays(os.dup(descriptor))
    for size in (3, 50_000, 10):
        arrays = {"a": np.arange(size, dtype=np.float32), "b": np.full((2, 3, size), 7, np.uint8)}
        places = here.write(arrays)
        found = there.read(places)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
        answer = there.write({"sum": arrays["a"].sum(keepdims=True)}, start=max(map(end_offset, places)))
        np.testing.assert_array_equal(here.read(answer)["sum"], arrays["a"].sum(keepdims=True))
        np.testing.assert_array_equal(found["b"], arrays["b"])  # the answer lies behind it
    here.close()
    there.close()


def test_a_view_outlives_the_memory_it_was_cut_from():
    here = SharedArrays(open_shared_memory())
    view = here.read(here.write({"a": np.arange(5)}))["a"]
    here.write({"a": np.zeros(1_000_000)})  # a new map
    here.close()
    assert view.shape == (5,)
