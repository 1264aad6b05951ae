"""run.json: the data of a run, and each of its sessions (the start and every resume)."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import geminifusion_model
from geminifusion_model.training.errors import DataChangedError, RunRecordError
from geminifusion_model.training.records.fingerprint import BUDGET_BYTES, Fingerprint, RecordedDataset, fingerprint
from geminifusion_runtime import strict_json
from geminifusion_runtime.machine import cpu_name, source_version

RECORD_NAME = "run.json"


def record_session(
    directory: Path,
    dataset: RecordedDataset,
    *,
    seed: int,
    resume_step: int | None = None,
    device: torch.device | None = None,
    processes: int = 1,
    data_directory: Path | None = None,
    budget_bytes: int = BUDGET_BYTES,
) -> dict[str, Any]:
    """Write run.json in `directory` (made if need be) and return its content.

    It holds `seed`; `data`: a `Fingerprint` with the name of the data set and its folder; and `sessions` in order:
    time, first step, command, code, libraries and machine. A run without a record gets one at its next resume.

    Args:
        dataset: all frames of the run, held-out ones included; they are read once, see `fingerprint`.
        resume_step: number of steps done before; None starts a new run and drops the record of another.
        device: that computes; the CPU if none.
        processes: that work on the run together.
        data_directory: where the frames come from.
        budget_bytes: see `fingerprint`.

    Raises:
        DataChangedError: the data is not that of the first session; nothing is written.
        RunRecordError: run.json is there and is no record of a run.
        OSError: run.json cannot be written; an earlier one is intact.
    """
    path = directory / RECORD_NAME
    earlier = _read(path) if resume_step is not None and path.is_file() else None
    found = fingerprint(dataset, budget_bytes=budget_bytes)
    if earlier is None:
        folder = None if data_directory is None else str(data_directory.absolute())
        data = {"name": dataset.task.data, "directory": folder, **found.to_dict()}
        record: dict[str, Any] = {"seed": seed, "data": data, "sessions": []}
    else:
        record = earlier
        _check_same_data(record, found, path)
    record["sessions"].append(_session(resume_step or 0, device or torch.device("cpu"), processes))
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{RECORD_NAME}.partial"
    partial.write_text(strict_json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return record


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        Fingerprint.from_dict(record["data"])
        record["sessions"][0]["started"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise RunRecordError(
            f"{path} is no record of a run ({type(error).__name__}: {error}); "
            "restore it, or move it away to go on without what it says"
        ) from None
    return record


def _check_same_data(record: dict[str, Any], found: Fingerprint, path: Path) -> None:
    differences = Fingerprint.from_dict(record["data"]).differences(found)
    if differences:
        raise DataChangedError(
            f"the data has {', '.join(differences)} since the run started ({record['sessions'][0]['started']}, "
            f"{path}); resume with the same data, or start a new run in another directory"
        )


def _session(step: int, device: torch.device, processes: int) -> dict[str, object]:
    version = source_version(Path(geminifusion_model.__file__).parent)
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "from_step": step,
        "command": sys.argv,
        "geminifusion": importlib.metadata.version("geminifusion"),
        "code": None if version is None else dataclasses.asdict(version),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,  # it decodes the frames
        "system": platform.platform(),
        "processor": cpu_name(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "processes": processes,
    }
