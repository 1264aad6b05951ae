"""The teachers that have names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from geminifusion_model.distillation.efficientnet_lite import VARIANTS, open_efficientnet_lite
from geminifusion_model.distillation.teacher import Teacher
from geminifusion_model.training.errors import ConfigError

TEACHERS: dict[str, Callable[[], Teacher]] = {
    f"efficientnet-lite{variant}": partial(open_efficientnet_lite, variant) for variant in VARIANTS
}


def open_teacher(name: str) -> Teacher:
    """The teacher of this name, with its weights, on the CPU.

    Raises:
        ConfigError: there is none, or what it needs is not installed; the message says what to do.
    """
    if name not in TEACHERS:
        near = difflib.get_close_matches(name, TEACHERS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(TEACHERS)}"
        raise ConfigError(f"there is no teacher {name!r}; {hint}")
    return TEACHERS[name]()
