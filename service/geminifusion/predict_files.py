"""`geminifusion predict` with models whose requests are a few files each: what was asked for, and its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from .errors import InvalidInputError

Formats = Mapping[str, tuple[str, Callable[[Any, Path], object]]]
"""By name, the ending of the file and what writes a result to it."""


@dataclass(frozen=True, kw_only=True)
class FilesPlan:
    """What was asked for.

    Attributes:
        inputs: a file of each part of a request, or folders whose files have the same names.
        artifact, url: where results are made: an artifact, or a server.
        options: of the request.
        formats: to write.
        output: directory to write to.
        limit: number of requests to make at most.
    """

    inputs: Mapping[str, Path]
    artifact: Path | None
    url: str | None
    options: Mapping[str, Any]
    formats: Sequence[str]
    output: Path
    limit: int | None = None

    def check_formats(self, known: Formats, what: str) -> None:
        """Check that results can be written so.

        Args:
            what: the results, in the plural.

        Raises:
            InvalidInputError: one of the formats is not among those known.
        """
        if unknown := [name for name in self.formats if name not in known]:
            raise InvalidInputError(f"--format {unknown[0]} is not one of {what}; give {', '.join(known)}")

    @contextmanager
    def opened(self, verb: str) -> Iterator[Callable[..., Any]]:
        """The method of this name of the client or of the model in this process, with the options."""
        if self.url:
            from .client import Client

            with Client(self.url) as client:
                yield partial(getattr(client, verb), **self.options)
            return
        from .local import load

        yield partial(getattr(load(self.artifact), verb), **self.options)

    def write(self, result: Any, stem: str, known: Formats, *, alone: bool, added: str = "") -> None:  # noqa: ANN401
        """Write one result in every format.

        Args:
            result: of any task.
            stem: of the request's files.
            added: to the stem, in the names of what is written.
            alone: there is no other result, so say everything of it.
        """
        if alone:
            click.echo(result.table())
        for warning in result.warnings:
            click.echo(f"warning: {stem}: {warning}", err=True)
        for name in self.formats:
            ending, write = known[name]
            path = self.output / f"{stem}{added}{ending}"
            write(result, path)
            if alone:
                click.echo(f"wrote {path}")
