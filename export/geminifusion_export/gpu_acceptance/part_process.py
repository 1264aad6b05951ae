"""The process of one part.

    python -m geminifusion_export.gpu_acceptance.part_process MODULE FINDINGS

Writes findings to the file as they come. Exit code 0: the part ran to its end; 3: the machine lacks something, which
the last line of the output names; anything else: it failed, and the last line says why.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from geminifusion_export.errors import first_line
from geminifusion_export.gpu_acceptance.result import Missing, Report

SKIPPED = 3
FAILED = 1


def main(module: str, findings: Path) -> int:
    """Run a part; its exit code."""
    try:
        importlib.import_module(module).examine(Report(findings))
    except Missing as missing:
        print(missing)
        return SKIPPED
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("geminifusion"):
            print(f"{error.name} is not installed")
            return SKIPPED
        print(f"{type(error).__name__}: {first_line(error)}")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
