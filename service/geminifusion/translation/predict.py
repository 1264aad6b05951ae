"""`geminifusion predict` with a model for image translation: views from files or folders, images to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from ..errors import InvalidInputError
from .results import TranslationResult

_Write = Callable[[TranslationResult, Path], object]
FORMATS: Final[Mapping[str, tuple[str, _Write]]] = {
    "png": ("_{domain}.png", lambda result, path: result.save(path)),
    "npy": ("_{domain}.npy", lambda result, path: result.save(path)),
    "picture": ("_{domain}_picture.png", lambda result, path: result.save_picture(path)),
}
DEFAULT_FORMATS: Final = ("png", "picture")


@dataclass(frozen=True, kw_only=True)
class TranslationPlan:
    """What was asked for.

    Attributes:
        inputs: an image of each input, or folders whose images have the same names.
        artifact, url: where they are translated: an artifact, or a server.
        options: of the request.
        formats: names of `FORMATS`.
        output: directory to write to.
        limit: number of views to take at most.
    """

    inputs: Mapping[str, Path]
    artifact: Path | None
    url: str | None
    options: Mapping[str, Any]
    formats: Sequence[str]
    output: Path
    limit: int | None = None


def predict_images(plan: TranslationPlan) -> None:
    """Translate and write; prints a line for a single view, and counts for more.

    Raises:
        ClientError, GeminiFusionError: an input, the output or the server cannot be used.
    """
    if unknown := [name for name in plan.formats if name not in FORMATS]:
        raise InvalidInputError(f"--format {unknown[0]} is not one of translations; give {', '.join(FORMATS)}")
    views = list(_views(plan.inputs))[: plan.limit]
    plan.output.mkdir(parents=True, exist_ok=True)
    num_files = 0
    with _Translator(plan) as translate:
        for stem, paths in views:
            result = translate(**paths)
            if len(views) == 1:
                click.echo(result.table())
            for warning in result.warnings:
                click.echo(f"warning: {stem}: {warning}", err=True)
            for name in plan.formats:
                ending, write = FORMATS[name]
                path = plan.output / (stem + ending.format(domain=result.domain))
                write(result, path)
                num_files += 1
                if len(views) == 1:
                    click.echo(f"wrote {path}")
    if len(views) > 1:
        click.echo(f"{len(views)} views translated; wrote {num_files} files in {plan.output}")


class _Translator:
    """The model of the plan, in this process or at a server."""

    def __init__(self, plan: TranslationPlan) -> None:
        self._plan = plan
        self._close: Callable[[], None] = lambda: None

    def __enter__(self) -> Callable[..., TranslationResult]:
        plan = self._plan
        if plan.url:
            from ..client import Client

            client = Client(plan.url)
            self._close = client.close
            return lambda **images: client.translate(**images, **plan.options)
        from ..local import load

        model = load(plan.artifact)
        return lambda **images: model.translate(**images, **plan.options)

    def __exit__(self, *_: object) -> None:
        self._close()


def _views(inputs: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, Path]]]:
    """The name and the images of each view.

    Raises:
        InvalidInputError: nothing was given, or a view lacks an image.
    """
    if not inputs:
        raise InvalidInputError("no image was given; give one of each input of the model, with --input NAME=FILE")
    folders = [name for name, path in inputs.items() if path.is_dir()]
    if not folders:
        yield next(iter(inputs.values())).stem, dict(inputs)
        return
    if len(folders) < len(inputs):
        alone = next(name for name in inputs if name not in folders)
        raise InvalidInputError(f"{inputs[alone]} is a file and {inputs[folders[0]]} a folder; give files or folders")
    found = {name: {one.stem: one for one in sorted(path.iterdir()) if one.is_file()} for name, path in inputs.items()}
    first = next(iter(found))
    if not found[first]:
        raise InvalidInputError(f"{inputs[first]} holds no images; give a folder of images")
    for stem in found[first]:
        for name, files in found.items():
            if stem not in files:
                raise InvalidInputError(f"view {stem} has no image in {inputs[name]}; give one of the same name")
        yield stem, {name: files[stem] for name, files in found.items()}
