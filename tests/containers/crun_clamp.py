#!/usr/bin/python3
"""The runtime `crun`, with the resource limits of a container lowered to those that this process may set.

Podman asks for more than root has where it lacks CAP_SYS_RESOURCE, as in a container, and crun then fails.
"""

import json
import os
import resource
import sys
from pathlib import Path


def clamp(path: Path, key: str | None) -> None:
    """Lower the limits in a bundle's configuration, or in the process of an exec."""
    document = json.loads(path.read_text())
    process = document[key] if key else document
    for limit in process.get("rlimits") or []:
        hard = resource.getrlimit(getattr(resource, limit["type"]))[1]
        if hard != resource.RLIM_INFINITY:
            limit["hard"], limit["soft"] = min(limit["hard"], hard), min(limit["soft"], hard)
    path.write_text(json.dumps(document))


def main(arguments: list[str]) -> None:
    """Clamp what the arguments name, then become crun."""
    for option in ("--bundle", "-b"):
        if "create" in arguments and option in arguments:
            clamp(Path(arguments[arguments.index(option) + 1]) / "config.json", "process")
    if "exec" in arguments:
        for place, argument in enumerate(arguments):
            if argument in ("--process", "-p"):
                clamp(Path(arguments[place + 1]), None)
            elif argument.startswith("--process="):
                clamp(Path(argument.partition("=")[2]), None)
    os.execv("/usr/bin/crun", ["crun", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
