"""`geminifusion predict` with a model for image translation: views from files or folders, images to files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from ..errors import InvalidInputError
from ..predict_files import FilesPlan, Formats

FORMATS: Final[Formats] = {
    "png": (".png", lambda result, path: result.save(path)),
    "npy": (".npy", lambda result, path: result.save(path)),
    "picture": ("_picture.png", lambda result, path: result.save_picture(path)),
}
DEFAULT_FORMATS: Final = ("png", "picture")


def predict_images(plan: FilesPlan) -> None:
    """Translate and write; prints a line for a single view, and counts for more.

    Raises:
        ClientError, GeminiFusionError: an input, the output or the server cannot be used.
    """
    plan.check_formats(FORMATS, "translations")
    views = list(_views(plan.inputs))[: plan.limit]
    plan.output.mkdir(parents=True, exist_ok=True)
    with plan.opened("translate") as translate:
        for stem, paths in views:
            result = translate(**paths)
            plan.write(result, stem, FORMATS, alone=len(views) == 1, added=f"_{result.domain}")
    if len(views) > 1:
        click.echo(f"{len(views)} views translated; wrote {len(views) * len(plan.formats)} files in {plan.output}")


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
