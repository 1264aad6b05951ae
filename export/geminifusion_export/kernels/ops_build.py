"""Compiling our kernels for ONNX Runtime, `export/plugin/onnxruntime`, on the machine that will run them.

Only a C++17 compiler is needed: the runtime's C interface is declared in the sources. The library is kept in the user's
cache under a hash of sources, compiler and flags, so building the same again copies a file.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from geminifusion_export.errors import PluginBuildError
from geminifusion_export.kernels.plugin_build import plugin_sources, run_compiler

LIBRARY_NAME = "libgeminifusion_onnxruntime.so"
COMPILER_VARIABLE = "CXX"
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")


def build_onnxruntime_ops(output: Path) -> Path:
    """Write the library into the directory `output`, made if need be; a session's options register it by its path.

    Returns:
        The library's path.

    Raises:
        PluginBuildError: no compiler, no sources, Windows, a directory that cannot be written, or the compiler failed.
    """
    if sys.platform == "win32":
        raise PluginBuildError(
            "ONNX Runtime's kernels build on Linux and macOS; models run without them on Windows too"
        )
    sources = plugin_sources()
    compiler = find_compiler()
    try:
        cached = _cache_directory() / _fingerprint(sources, compiler) / LIBRARY_NAME
        if not cached.is_file():
            _compile(compiler, sources, cached)
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output) as folder:
            # A running process may have the old file mapped, so it is replaced and never overwritten.
            copied = Path(shutil.copy2(cached, folder))
            return copied.replace(output / LIBRARY_NAME)
    except OSError as error:
        raise PluginBuildError(f"the library cannot be written ({error}); choose another --output") from None


def find_compiler() -> str:
    """Find the C++ compiler: the one that the environment variable CXX names, else g++, else clang++.

    Raises:
        PluginBuildError: there is none, or CXX names one that does not exist.
    """
    named = os.environ.get(COMPILER_VARIABLE)
    for name in (named,) if named else ("g++", "clang++"):
        if (found := shutil.which(name)) is not None:
            return found
    if named:
        raise PluginBuildError(
            f"{COMPILER_VARIABLE} is {named!r}, which is no program; name a C++ compiler or unset it"
        )
    raise PluginBuildError("there is no C++ compiler, neither g++ nor clang++; install one, e.g. apt-get install g++")


def _cache_directory() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "geminifusion" / "onnxruntime-kernels"


def _fingerprint(sources: Path, compiler: str) -> str:
    """Hash of everything the library depends on except the system's headers."""
    digest = hashlib.sha256("\0".join((compiler, platform.machine(), *FLAGS)).encode())
    for path in sorted((*sources.glob("*.h"), *(sources / "onnxruntime").glob("*.*"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _compile(compiler: str, sources: Path, library: Path) -> None:
    units = [str(path) for path in sorted((sources / "onnxruntime").glob("*.cpp"))]
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        unfinished = Path(scratch) / library.name
        run_compiler([compiler, *FLAGS, *units, "-o", str(unfinished)])
        unfinished.replace(library)  # in one step: another process may be building the same
