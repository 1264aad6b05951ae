"""Which packages of ONNX Runtime are installed: they hold the same files, so that there must be one.

Standard library only, and nothing of ONNX Runtime is imported: a mixture may not survive that.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable

_FAMILY = re.compile(r"onnxruntime(-(gpu|directml|openvino|qnn|rocm|migraphx|silicon|training))?")


def installed_packages(folders: Iterable[str] | None = None) -> tuple[str, ...]:
    """Names of the installed distributions that hold the module `onnxruntime`, in alphabetical order.

    Args:
        folders: where to look for their metadata; None looks where this interpreter imports from.
    """
    found = (
        importlib.metadata.distributions() if folders is None else importlib.metadata.distributions(path=list(folders))
    )
    # Metadata that an interrupted uninstall left behind has no name.
    names = {re.sub(r"[-_.]+", "-", str(one.metadata["Name"] or "")).lower() for one in found}
    return tuple(sorted(name for name in names if _FAMILY.fullmatch(name)))


def mixture_problem(folders: Iterable[str] | None = None) -> str | None:
    """What is wrong with the installed packages of ONNX Runtime, and what to run; None if there is at most one.

    Args:
        folders: see `installed_packages`.
    """
    packages = installed_packages(folders)
    if len(packages) < 2:
        return None
    flavor = "service-gpu" if "onnxruntime-gpu" in packages else "service"
    return (
        f"{' and '.join(packages)} are both installed and overwrite each other's files; expected one of them. Run: "
        f'pip uninstall -y {" ".join(packages)} && pip install "geminifusion[{flavor}]"'
    )
