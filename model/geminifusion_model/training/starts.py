"""The weights that a run of any task starts from, as its `start_from` and `imagenet` name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from geminifusion_model.checkpoint import CONFIG_NAME
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.weights.encoder_file import describe_encoder_file
from geminifusion_runtime.artifact import METADATA_NAME, read_metadata

REQUIRED = "REQUIRED: "
CHECKPOINT = "a checkpoint directory, such as RUN/final"


def required(what: str) -> str:
    """The value of `start_from` or `imagenet` in a recipe that needs such a file; `what` says which.

    A configuration with it can be printed, stored and overridden like any other, but not trained.
    """
    return REQUIRED + what


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a directory with a `config.json`, as checkpoints of ours and of transformers are."""
    return (path / CONFIG_NAME).is_file()


def check_start_paths(
    start_from: str | None,
    imagenet: str | None = None,
    *,
    accepted: str = CHECKPOINT,
    is_accepted: Callable[[Path], bool] = is_checkpoint,
) -> None:
    """Check that the weights to start from are given and exist; cheap enough to run before data is read.

    Args:
        start_from, imagenet: as in the configuration; None where it has none.
        accepted: what `start_from` may be, in words.
        is_accepted: whether a path looks like it.

    Raises:
        ConfigError: a required path was not given, both are given, or one leads nowhere.
    """
    for name, value in (("start_from", start_from), ("imagenet", imagenet)):
        if value is not None and value.startswith(REQUIRED):
            raise ConfigError(
                f"{name} is not given; this recipe needs {value.removeprefix(REQUIRED)}: pass --set {name}=PATH, "
                f"or --set {name}=null to do without"
            )
    if start_from is not None and imagenet is not None:
        raise ConfigError(
            f"start_from is {start_from} and imagenet {imagenet}, but a network starts from one of them: set the other "
            "to null"
        )
    if start_from is not None and not is_accepted(Path(start_from)):
        raise ConfigError(f"start_from is {start_from}, where there is no {CONFIG_NAME}; give {accepted}")
    if imagenet is not None and not (Path(imagenet).is_file() or is_checkpoint(Path(imagenet))):
        raise ConfigError(f"imagenet is {imagenet}, and there is no such file; give a classifier's weight file")


def describe_start(start_from: str | None, imagenet: str | None = None) -> str:
    """The start weights in words, for a checkpoint's record, which says nothing of where they lie on this machine."""
    if start_from is not None:
        path = Path(start_from)
        if (path / METADATA_NAME).is_file():
            metadata = read_metadata(path)
            return f"the artifact {metadata.reference} ({metadata.training.summary})"
        return "/".join(path.parts[-2:])
    if imagenet is not None:
        file = Path(imagenet)
        return describe_encoder_file(file) or f"ImageNet classifier {file.name}"
    return "random weights, no ImageNet"
