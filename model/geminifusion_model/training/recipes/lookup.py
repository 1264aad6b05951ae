"""A recipe by name, and what to say of a name that none has."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.run_config import RunConfig

_Config = TypeVar("_Config", bound=RunConfig)


def find_recipe(recipes: Mapping[str, Callable[[], _Config]], name: str) -> _Config:
    """The configuration of this name.

    Raises:
        ConfigError: there is none; see `unknown_recipe`.
    """
    if name not in recipes:
        raise unknown_recipe(name, recipes)
    return recipes[name]()


def unknown_recipe(name: str, known: Iterable[str]) -> ConfigError:
    """The error of a name that is not among the known ones: the names nearest to it, or else all first stages."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3)
    first = [recipe for recipe in known if "-stage" not in recipe]
    hint = f"did you mean {' or '.join(near)}?" if near else f"the recipes are {', '.join(first)}"
    return ConfigError(f"there is no recipe {name!r}; {hint}")
