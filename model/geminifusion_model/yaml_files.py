"""Reading YAML that others wrote: nested without bound, or with a key twice, it is refused in one sentence."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

_DEEPEST = 32  # a data set's contract nests four deep
_LARGEST = 2**22  # bytes
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(ValueError):
    """The text is no YAML, or none that is read here; the message says where and why."""


class _Loader(_SafeLoader):  # type: ignore[misc]  # the one with libyaml, where there is one
    """Refuses a key that comes twice, of which YAML's readers keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if (key.tag, key.value) in seen:
                    raise YamlError(f"line {key.start_mark.line + 1} has {key.value} for the second time")
                seen.add((key.tag, key.value))
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def parse_yaml(text: str) -> object:
    """The content of one YAML document, as plain Python values.

    Raises:
        YamlError: it does not parse, nests too deep, or names a key twice.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise YamlError(f"it is nested more than {_DEEPEST} deep")
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except YamlError:
        raise
    except yaml.MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise YamlError(f"{where}{error.problem or error.context or 'a fault'}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError) as error:
        # not only YAMLError: numbers and dates are built by constructors of Python
        raise YamlError(" ".join(str(error).split())) from None


def quoted(text: str) -> str:
    """A string in YAML, in quotes whatever it holds, on one line."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9).strip()


def read_yaml(path: Path) -> object:
    """The content of a YAML file.

    Raises:
        FileNotFoundError: there is none.
        YamlError: it cannot be read, or as `parse_yaml` says; the message names the file.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise YamlError(f"it has more than {_LARGEST >> 20} MiB")
        return parse_yaml(content.decode("utf-8-sig"))
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        raise YamlError(f"{path} cannot be read as YAML: it is not encoded as UTF-8") from None
    except (OSError, YamlError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise YamlError(f"{path} cannot be read as YAML: {reason}") from None
