"""Freed memory that stays with the process; measured in processes of their own, because the setting is for good."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")

SCRIPT = """
import os, sys
from geminifusion_runtime.allocator import keep_freed_memory

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

if "keep" in sys.argv:
    assert keep_freed_memory(int(sys.argv[3]) * 2**20 if len(sys.argv) > 3 else None)
buffer = bytearray(int(sys.argv[1]) * 2**20)
buffer[::4096] = b"x" * len(buffer[::4096])
before = resident_mib()
del buffer
print(before - resident_mib())
"""


def mebibytes_given_back(size, *arguments):
    command = [sys.executable, "-c", SCRIPT, str(size), *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_by_default_a_large_buffer_goes_back_to_the_system():
    assert mebibytes_given_back(24) > 20


def test_a_buffer_of_up_to_half_the_limit_stays():
    assert mebibytes_given_back(24, "keep", 64) < 4
    assert mebibytes_given_back(48, "keep", 64) > 40


def test_without_a_limit_everything_stays():
    assert mebibytes_given_back(96, "keep") < 4
