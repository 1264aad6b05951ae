"""The commands under `geminifusion data`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geminifusion_model.data.dataset_names import DATASETS
from geminifusion_runtime import strict_json

if TYPE_CHECKING:
    from rich.progress import TaskID

    from geminifusion_model.translation.views import Views


@click.group()
def data() -> None:
    """Describe and examine a data set, or make one of synthetic rooms or streets."""


@data.command()
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="The layout of ROOT.  [default: folder if it holds a dataset.yaml, else nyuv2]",
)
@click.option("--split", "splits", multiple=True, help="A split to examine, repeatable; all by default.")
@click.option("--num-classes", type=int, help="Number of classes, where a layout has several label sets.")
@click.option("--modalities", metavar="rgb,NAME,…", help="Modalities to read, where a layout has several.")
@click.option("--metres-per-unit", type=float, help="Metres per stored unit of depth, where the layout does not say.")
@click.option("--limit", type=int, help="Only the first frames of each split.")
@click.option("--json", "as_json", is_flag=True, help="Print findings as one JSON array.")
def check(
    root: Path,
    dataset: str | None,
    splits: tuple[str, ...],
    num_classes: int | None,
    modalities: str | None,
    metres_per_unit: float | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Examine the data set in ROOT; exit code 1 if something is wrong with it.

    Finds missing, swapped, displaced and misaligned images, depth in the wrong unit, labels off by one, void values
    that are taken for classes, classes without pixels, and frames that several splits share.
    """
    from rich.console import Console
    from rich.progress import Progress

    from geminifusion_model.data.doctor.examine import examine, layout_findings
    from geminifusion_model.data.doctor.findings import Finding, has_errors
    from geminifusion_model.data.registry import kind_of, open_dataset, splits_of
    from geminifusion_model.data.sample import Dataset, DatasetError

    opened: dict[str, Dataset] = {}
    findings: list[Finding] = []
    kind = ""
    try:
        kind = kind_of(root, dataset)
        names = splits or splits_of(kind, root)
    except DatasetError as error:
        names, findings = (), layout_findings("all", error)
    for split in names:
        try:
            opened[split] = open_dataset(
                kind,
                root,
                split,
                num_classes=num_classes,
                modalities=tuple(modalities.split(",")) if modalities else None,
                metres_per_unit=metres_per_unit,
                limit=limit,
            )
        except DatasetError as error:
            findings += layout_findings(split, error)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("reading", total=sum(map(len, opened.values())))
        findings += examine(opened, on_frame=lambda: progress.advance(bar), partial=limit is not None)
    if as_json:
        click.echo(strict_json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding}\n")
        counted = ", ".join(f"{len(frames)} of {split}" for split, frames in opened.items()) or "none"
        errors = sum(finding.severity == "error" for finding in findings)
        click.echo(f"frames examined: {counted}; {errors} errors, {len(findings) - errors} warnings")
    if has_errors(findings):
        raise click.exceptions.Exit(1)


@data.command()
@click.argument("root", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--print", "only_print", is_flag=True, help="Print the contract and write nothing.")
def init(root: Path, only_print: bool) -> None:
    """Propose a dataset.yaml and tables for the images in FOLDER, and say what was guessed.

    Pairs files by name, numbers or order, looks at label values, and guesses the unit of depth. Existing files are not
    overwritten.
    """
    from geminifusion_model.data.proposal.propose import propose
    from geminifusion_model.data.task_files import CONTRACT_NAME

    proposal = propose(root)
    click.echo(proposal.files[CONTRACT_NAME])
    for note in proposal.notes:
        click.echo(f"- {note}")
    frames = ", ".join(f"{count} of {split}" for split, count in proposal.frames.items())
    if only_print:
        click.echo(f"frames: {frames}; nothing was written")
        return
    for name, content in proposal.files.items():
        (root / name).write_text(content, encoding="utf-8")
    click.echo(
        f"wrote {', '.join(proposal.files)} into {root}; frames: {frames}. Look at the notes above, name the classes, "
        f"then: geminifusion data check {root}, and geminifusion train --data {root} --out RUN"
    )


@data.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--train", default=2000, show_default=True, type=click.IntRange(min=1), help="Training frames.")
@click.option("--test", default=200, show_default=True, type=click.IntRange(min=0), help="Test frames.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the rooms.")
@click.option("--height", default=240, show_default=True, type=click.IntRange(min=32))
@click.option("--width", default=320, show_default=True, type=click.IntRange(min=32))
@click.option(
    "--aligned",
    is_flag=True,
    help="Instead of labeled frames, write the domains of image translation, from the rooms' exact geometry.",
)
def rooms(out: Path, train: int, test: int, seed: int, height: int, width: int, aligned: bool) -> None:
    """Render synthetic rooms into the new folder OUT, in the nyuv2 layout with 13 classes."""
    from rich.progress import Progress

    if aligned:
        from geminifusion_model.data.synthetic_rooms import Rooms
        from geminifusion_model.translation.frame_views import RoomViews

        rendered = Rooms(train + test, seed, (height, width))
        splits = {"train": RoomViews(rendered, 0, train), "test": RoomViews(rendered, train, test)}
        _write_aligned(out, {name: views for name, views in splits.items() if len(views)})
        return

    from geminifusion_model.data.synthetic_rooms.folder import RoomsFolder, write_rooms

    with Progress() as progress:
        bar = progress.add_task("rendering", total=train + test)
        write_rooms(
            out,
            RoomsFolder(train=train, test=test, seed=seed, size=(height, width)),
            on_frame=lambda done: progress.update(bar, completed=done),
        )
    click.echo(f"wrote {train} training and {test} test frames; train with: geminifusion train --data {out} --out RUN")


@data.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--train", default=1000, show_default=True, type=click.IntRange(min=1), help="Training frames.")
@click.option("--val", default=300, show_default=True, type=click.IntRange(min=0), help="Validation frames.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the streets.")
@click.option("--height", default=375, show_default=True, type=click.IntRange(min=32, max=4096))
@click.option("--width", default=1242, show_default=True, type=click.IntRange(min=32, max=4096))
def streets(out: Path, train: int, val: int, seed: int, height: int, width: int) -> None:
    """Render synthetic streets of one camera and one LiDAR into the new folder OUT, in KITTI's layout."""
    from rich.progress import Progress

    from geminifusion_model.detection.data.streets.folder import StreetsFolder, write_streets

    with Progress() as progress:
        bar = progress.add_task("drawing", total=train + val)
        write_streets(
            out,
            StreetsFolder(train=train, val=val, seed=seed, size=(height, width)),
            on_frame=lambda done: progress.update(bar, completed=done),
        )
    click.echo(
        f"wrote {train} training and {val} validation frames; train with: geminifusion train --data {out} --recipe "
        "streets-pillars-b0 --out RUN"
    )


@data.command()
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="The layout of ROOT.  [default: folder if it holds a dataset.yaml, else nyuv2]",
)
@click.option("--metres-per-unit", type=float, help="Metres per stored unit of depth, where the layout does not say.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first frames of each split.")
def domains(root: Path, out: Path, dataset: str | None, metres_per_unit: float | None, limit: int | None) -> None:
    """Compute the domains of image translation from the RGB-D frames in ROOT, into the new folder OUT.

    Training from OUT computes nothing twice.
    """
    from geminifusion_model.data.registry import kind_of, splits_of
    from geminifusion_model.translation.dataset import open_views
    from geminifusion_model.translation.domains import FRAME_DOMAINS

    kind = kind_of(root, dataset)
    needed = tuple(FRAME_DOMAINS)
    splits = {
        split: open_views(kind, root, split, needed, metres_per_unit=metres_per_unit, limit=limit)
        for split in splits_of(kind, root)
    }
    _write_aligned(out, splits)


def _write_aligned(out: Path, splits: Mapping[str, Views]) -> None:
    """Write every split of an aligned folder, with a progress bar."""
    from rich.progress import Progress

    from geminifusion_model.translation.aligned_folder import check_new_splits, write_aligned
    from geminifusion_model.translation.domains import FRAME_DOMAINS

    check_new_splits(out, splits)
    with Progress() as progress:
        for split, views in splits.items():
            bar = progress.add_task(f"writing {split}", total=len(views))

            def done(count: int, bar: TaskID = bar) -> None:
                progress.update(bar, completed=count)

            write_aligned(views, out, split, tuple(FRAME_DOMAINS), on_view=done)
    counted = ", ".join(f"{len(views)} of {split}" for split, views in splits.items())
    click.echo(
        f"wrote {', '.join(FRAME_DOMAINS)}; views: {counted}; train with: geminifusion train --data {out} --recipe "
        "rooms-depth-gen-b0 --out RUN"
    )
