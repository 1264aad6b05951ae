"""Images decoded in processes are those decoded in threads, whatever happens to a process; V04."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from geminifusion_runtime.artifact import read_metadata
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.errors import ImageTooLargeError, UndecodableImageError
from geminifusion_runtime.option_types import ModalityOptions
from geminifusion_runtime.tasks.parts import PART_SPECS
from geminifusion_service.errors import DeadlineExceededError, DecoderLostError, NotReadyError
from geminifusion_service.isolation import decoder_process
from geminifusion_service.isolation.decoder_pool import (
    EncodedPart,
    ProcessDecoderPool,
    ThreadDecoderPool,
    decoding_memory,
)
from geminifusion_service.isolation.shared_arrays import SharedArrays, open_shared_memory

OPTIONS = {"max_pixels": 10**6, "intrinsics": None}
MEMORY = decoding_memory(max_pixels=10**6, max_body_bytes=2**22)
RANDOM = np.random.default_rng(0)
RGB = cv2.resize(RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
DEPTH = cv2.resize(RANDOM.integers(400, 9000, (6, 8)).astype(np.uint16), (160, 120))


def encoded(suffix, image):
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


@pytest.fixture(scope="module")
def specs(tiny_artifact):
    return {spec.name: spec for spec in read_metadata(tiny_artifact).modalities}


@pytest.fixture(scope="module")
def processes():
    pool = ProcessDecoderPool(2, max_bytes=MEMORY)
    pool.start()
    yield pool
    pool.close()


def encoded_images(specs, **images):
    return [EncodedPart(specs[name], data) for name, data in images.items()]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, Exception):
            assert type(one) is type(other)
            assert str(one) == str(other)
            continue
        assert one.array.dtype == other.array.dtype
        np.testing.assert_array_equal(one.array, other.array)
        assert (one.health, one.warnings) == (other.health, other.warnings)


KINDS = {
    "PNG pair": {"rgb": encoded(".png", RGB), "depth": encoded(".png", DEPTH)},
    "JPEG": {"rgb": encoded(".jpg", RGB), "depth": encoded(".png", DEPTH)},
    "WebP": {"rgb": encoded(".webp", RGB)},
    "RGBA PNG": {"rgb": encoded(".png", np.dstack([RGB, RGB[..., 0]]))},
    "grey PNG": {"rgb": encoded(".png", RGB[..., 0])},
    "TIFF": {"depth": encoded(".tiff", DEPTH)},
    "holes everywhere": {"depth": encoded(".png", np.zeros_like(DEPTH))},
    "depth as colour": {"depth": encoded(".png", RGB)},
    "8-bit depth": {"depth": encoded(".png", RGB[..., 0])},
    "too many pixels": {"rgb": encoded(".png", np.zeros((1001, 1000, 3), np.uint8))},
    "no image": {"rgb": b"not an image", "depth": encoded(".png", DEPTH)},
    "nothing": {"rgb": b"", "depth": encoded(".png", DEPTH)},
    "arrays": {"rgb": RGB, "depth": encoded(".png", DEPTH)},
    "cut short": {"rgb": encoded(".png", RGB)[:-200]},
}


@pytest.mark.parametrize("images", KINDS.values(), ids=KINDS)
def test_a_process_decodes_what_a_thread_decodes(processes, specs, images):
    images = encoded_images(specs, **images)
    assert_same(processes.decode(images, OPTIONS), ThreadDecoderPool().decode(images, OPTIONS))


def test_a_scale_travels(processes, specs):
    posted = EncodedPart(specs["depth"], encoded(".png", DEPTH), ModalityOptions(scale=0.5))
    (image,) = processes.decode([posted], OPTIONS)
    np.testing.assert_array_equal(image.array, DEPTH * np.float32(0.5))


def test_marks_of_no_measurement_travel(processes, specs):
    marked = DEPTH.copy()
    marked[:50] = 65535
    posted = EncodedPart(specs["depth"], encoded(".png", marked), ModalityOptions(invalid=(65535.0,)))
    (image,) = processes.decode([posted], OPTIONS)
    assert not image.array[:50].any()
    assert image.array[50:].all()
    assert image.health.holes == pytest.approx(50 / 120, abs=0.02)


def test_bits_that_are_damaged_are_refused(processes, specs):
    data = bytearray(encoded(".png", RGB))
    data[len(data) // 2] ^= 0xFF
    (found,) = processes.decode(encoded_images(specs, rgb=bytes(data)), OPTIONS)
    assert isinstance(found, UndecodableImageError)


def test_images_of_many_threads_do_not_mix(processes, specs):
    pictures = [np.full((48, 64, 3), value, np.uint8) for value in range(40)]
    found = [None] * len(pictures)

    def decode(which):
        for index in range(which, len(pictures), 4):  # more threads than processes
            (found[index],) = processes.decode(encoded_images(specs, rgb=encoded(".png", pictures[index])), OPTIONS)

    threads = [threading.Thread(target=decode, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for picture, image in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(image.array, picture)


def test_a_process_that_was_killed_is_replaced_and_nobody_notices(specs, caplog):
    pool = ProcessDecoderPool(1, max_bytes=MEMORY)
    try:
        images = encoded_images(specs, rgb=encoded(".png", RGB))
        pool.decode(images, OPTIONS)
        (killed,) = pool.process_ids
        os.kill(killed, signal.SIGKILL)
        (image,) = pool.decode(images, OPTIONS)
        np.testing.assert_array_equal(image.array, RGB[..., ::-1])
        assert pool.process_ids != [killed]
        assert f"{killed} died" in caplog.text
    finally:
        pool.close()


def test_images_that_end_two_processes_are_refused_with_a_retryable_error(specs):
    pool = ProcessDecoderPool(1, max_bytes=MEMORY)
    stop = threading.Event()

    def kill_on_sight():
        while not stop.wait(0.002):
            for process_id in pool.process_ids:
                os.kill(process_id, signal.SIGKILL)

    killer = threading.Thread(target=kill_on_sight)
    killer.start()
    try:
        (found,) = pool.decode(encoded_images(specs, rgb=encoded(".png", RGB)), OPTIONS)
        assert isinstance(found, DecoderLostError)
        assert found.retry_after_s
    finally:
        stop.set()
        killer.join()
        pool.close()


def test_a_process_that_decodes_past_the_deadline_is_ended_and_the_next_request_is_served(specs, caplog):
    pool = ProcessDecoderPool(1, max_bytes=MEMORY)
    try:
        images = encoded_images(specs, rgb=encoded(".png", RGB))
        pool.decode(images, OPTIONS)
        (stuck,) = pool.process_ids
        os.kill(stuck, signal.SIGSTOP)  # as one that a file leads in circles
        started = time.monotonic()
        (found,) = pool.decode(images, OPTIONS, deadline=started + 0.2)
        assert isinstance(found, DeadlineExceededError)
        assert time.monotonic() - started < 5
        assert not Path(f"/proc/{stuck}").exists()
        assert f"{stuck} died or was ended" in caplog.text
        (image,) = pool.decode(images, OPTIONS, deadline=time.monotonic() + 20)
        np.testing.assert_array_equal(image.array, RGB[..., ::-1])
    finally:
        pool.close()


def test_a_process_is_not_ended_while_it_starts_or_for_an_ordinary_image(specs, caplog):
    pool = ProcessDecoderPool(1, max_bytes=MEMORY)
    pool.start()
    running = pool.process_ids
    try:
        images = encoded_images(specs, rgb=encoded(".png", RGB))
        for _ in range(20):
            pool.decode(images, OPTIONS, deadline=time.monotonic() + 0.001)
        assert pool.process_ids == running
        assert "ended" not in caplog.text
    finally:
        pool.close()


@pytest.mark.parametrize("make", [ThreadDecoderPool, lambda: ProcessDecoderPool(1, max_bytes=MEMORY)])
def test_nothing_is_decoded_once_the_deadline_is_over(make, specs):
    pool = make()
    (found,) = pool.decode(encoded_images(specs, rgb=encoded(".png", RGB)), OPTIONS, deadline=time.monotonic())
    pool.close()
    assert isinstance(found, DeadlineExceededError)


def test_images_that_use_up_the_processor_time_are_rejected_and_not_tried_again(make_spec, caplog):
    """A limit of none lets a process compute until its next whole second; HHA of a megapixel takes longer."""
    pool = ProcessDecoderPool(1, max_bytes=2**30, max_cpu_s=0)
    depth = encoded(".png", RANDOM.integers(900, 1100, (1000, 1000)).astype(np.uint16))
    options = {**OPTIONS, "intrinsics": (500.0, 500.0, 500.0, 500.0)}
    try:
        for _ in range(20):
            (found,) = pool.decode([EncodedPart(make_spec("hha", "hha"), depth)], options)
            if isinstance(found, Exception):
                break
    finally:
        pool.close()
    assert isinstance(found, UndecodableImageError)
    assert "more than 0 s of processor time" in str(found)
    assert caplog.text.count("another is started") == 1


def test_images_beyond_the_memory_of_a_process_are_rejected_and_it_goes_on(specs):
    pool = ProcessDecoderPool(1, max_bytes=2**26)
    try:
        large = encoded(".png", np.zeros((4000, 8000), np.uint16))
        (found,) = pool.decode(encoded_images(specs, depth=large), {**OPTIONS, "max_pixels": 2**25})
        assert isinstance(found, ImageTooLargeError)
        assert "more memory to decode than this server allows" in str(found)
        before = pool.process_ids
        (image,) = pool.decode(encoded_images(specs, rgb=encoded(".png", RGB)), OPTIONS)
        np.testing.assert_array_equal(image.array, RGB[..., ::-1])
        assert pool.process_ids == before
    finally:
        pool.close()


def test_an_array_that_cannot_be_handed_over_costs_its_own_part_and_no_process(monkeypatch, specs):
    """Run in this process, as no part that is served makes such an array."""
    memory = SharedArrays(open_shared_memory())
    broken = DecodedImage(array=np.array([10**20, 0.5], object))
    whole = decoder_process.decode_part
    monkeypatch.setattr(
        decoder_process,
        "decode_part",
        lambda data, spec, **rest: broken if spec.name == "depth" else whole(data, spec, **rest),
    )
    parts = {"rgb": encoded(".png", RGB), "depth": encoded(".png", DEPTH)}
    message = {
        "specs": [PART_SPECS.dump_json(specs[name]).decode() for name in parts],
        "modality_options": [ModalityOptions()._asdict()] * 2,
        "options": OPTIONS,
        "inputs": memory.write(
            {str(index): np.frombuffer(data, np.uint8) for index, data in enumerate(parts.values())}
        ),
    }
    response = decoder_process._decode(memory, message)
    rgb, depth = response["results"]
    assert depth["code"] == "internal"
    (place,) = response["outputs"]
    np.testing.assert_array_equal(memory.read([place])[rgb["array"]], RGB[..., ::-1])
    memory.close()


@pytest.mark.slow
def test_large_images_leave_a_process_as_able_as_before(specs):
    limits = {**OPTIONS, "max_pixels": 32_000_000}
    pool = ProcessDecoderPool(1, max_bytes=decoding_memory(max_pixels=32_000_000, max_body_bytes=2**26))
    large = encoded_images(
        specs,
        rgb=encoded(".png", np.zeros((4000, 8000, 3), np.uint8)),
        depth=encoded(".png", np.full((4000, 8000), 1000, np.uint16)),
    )
    try:
        for _ in range(2):
            shapes = [getattr(one, "array", one).shape for one in pool.decode(large, limits)]
            assert shapes == [(4000, 8000, 3), (4000, 8000)]
            shapes = [getattr(one, "array", one).shape for one in pool.decode(large[:1], limits)]
            assert shapes == [(4000, 8000, 3)]
        assert len(pool.process_ids) == 1
    finally:
        pool.close()


@pytest.mark.slow
@pytest.mark.parametrize("images", ["rgb.jpg", "rgb.webp", "rgb.png", "depth.png", "depth.tiff"])
def test_the_largest_images_fit_into_the_memory_of_a_process(specs, images):
    """Whatever `decoding_memory` allows is enough for images that the other limits allow."""
    name, _, suffix = images.partition(".")
    shape, dtype = ((4000, 8000, 3), np.uint8) if name == "rgb" else ((4000, 8000), np.uint16)
    largest = np.full(shape, 100, np.float32 if suffix == "tiff" else dtype)
    pool = ProcessDecoderPool(1, max_bytes=decoding_memory(max_pixels=32_000_000, max_body_bytes=2**26))
    try:
        posted = encoded_images(specs, **{name: encoded("." + suffix, largest)})
        (image,) = pool.decode(posted, {**OPTIONS, "max_pixels": 32_000_000})
        assert image.array.shape == shape
    finally:
        pool.close()


def test_closing_ends_the_processes_and_refuses_who_comes_later(specs):
    pool = ProcessDecoderPool(2, max_bytes=MEMORY)
    pool.start()
    running = pool.process_ids
    assert len(running) == 2
    pool.close()
    for process_id in running:
        assert not Path(f"/proc/{process_id}").exists()
    (found,) = pool.decode(encoded_images(specs, rgb=encoded(".png", RGB)), OPTIONS)
    assert isinstance(found, NotReadyError)


def test_the_processes_end_with_the_server():
    script = (
        "from geminifusion_service.isolation.decoder_pool import ProcessDecoderPool\n"
        "pool = ProcessDecoderPool(1, max_bytes=2**29); pool.start(); print(pool.process_ids[0], flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        worker = int(server.stdout.readline())
        server.kill()
    until = time.monotonic() + 10
    while state_of(worker) not in (None, "Z"):
        assert time.monotonic() < until, "the decoding process outlived the server"
        time.sleep(0.02)


def state_of(process_id):
    """What the kernel says of it; None once it is gone."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
