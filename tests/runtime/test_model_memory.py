"""What models take, and what the next one would."""

import mmap
import subprocess
import sys

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.errors import UndecodableImageError
from geminifusion_service.isolation.decoder_pool import EncodedPart, ProcessDecoderPool
from geminifusion_service.models.memory import FIRST_GUESS, MemoryBudget, model_file_bytes, resident_bytes

MB = 2**20


def test_resident_memory_grows_with_what_is_used():
    before = resident_bytes()
    with mmap.mmap(-1, 64 * MB) as block:  # new pages, where malloc may hand out what other tests gave back
        for start in range(0, len(block), mmap.PAGESIZE):
            block[start] = 1
        grown = resident_bytes() - before
    assert 60 * MB < grown < 80 * MB


def test_the_memory_of_child_processes_counts():
    before = resident_bytes()
    script = "block = bytearray(b'1' * 2**26); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        grown = resident_bytes() - before
        child.communicate(b"\n")
    assert grown > 60 * MB
    assert resident_bytes() < before + 60 * MB, "a child that has ended counts no more"


def test_the_memory_of_decoding_processes_belongs_to_no_model(make_spec):
    before = resident_bytes()
    pool = ProcessDecoderPool(1, max_bytes=2**30)
    pool.start()
    try:
        image = EncodedPart(make_spec("rgb", "imagenet"), b"no image, but decoded where images are")
        (error,) = pool.decode([image], {"max_pixels": 100, "intrinsics": None})
        assert isinstance(error, UndecodableImageError)
        assert resident_bytes() < before + 20 * MB
    finally:
        pool.close()


def test_the_first_guess_gives_way_to_what_was_measured():
    budget = MemoryBudget(100 * MB)
    assert budget.estimate(10 * MB) == FIRST_GUESS * 10 * MB
    assert budget.learn(10 * MB, 30 * MB) == 30 * MB
    assert budget.estimate(20 * MB) == 60 * MB


def test_one_measurement_during_a_burst_of_requests_does_not_set_the_estimate():
    budget = MemoryBudget(100 * MB)
    for grown in (30, 30, 400, 31, 30):
        budget.learn(10 * MB, grown * MB)
    assert budget.estimate(10 * MB) == 30 * MB


def test_a_model_takes_at_least_its_files_however_little_memory_grew():
    budget = MemoryBudget(100 * MB)
    assert budget.learn(10 * MB, -5 * MB) == 10 * MB
    assert budget.learn(10 * MB, None) == budget.estimate(10 * MB), "not measured: estimated"


def test_what_is_short_is_counted_and_nothing_is_without_a_limit():
    assert MemoryBudget(100 * MB).shortage(30 * MB, 80 * MB) == 10 * MB
    assert MemoryBudget(100 * MB).shortage(20 * MB, 80 * MB) == 0
    assert MemoryBudget(0).shortage(10**15, 10**15) == 0


def test_the_files_that_count_are_those_of_the_largest_runtime(tmp_path, make_artifact):
    directory = make_artifact(tmp_path / "tiny")
    metadata = read_metadata(directory)
    assert model_file_bytes(directory, metadata) == (directory / "model.onnx").stat().st_size
    (directory / "golden.npz").write_bytes(bytes(10 * MB))
    assert model_file_bytes(directory, metadata) < MB, "what no runtime loads does not count"
