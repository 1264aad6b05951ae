"""The command `geminifusion pseudo-label`."""

from __future__ import annotations

from pathlib import Path

import click

from geminifusion_model.data.dataset_names import DATASETS
from geminifusion_runtime.cpu_count import usable_cores


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic in its stub alone
    name = "HEIGHTxWIDTH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        sides = str(value).lower().split("x")
        if len(sides) != 2 or not all(side.isdecimal() and 32 <= int(side) <= 8192 for side in sides):
            self.fail(f"{value} is no size; expected height and width from 32 to 8192, such as 480x640", param, ctx)
        return int(sides[0]), int(sides[1])


@click.command("pseudo-label")
@click.option(
    "--labeled",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the labeled data set that says what the classes look like; its training frames are used.",
)
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="The layout of --labeled.  [default: folder if it holds a dataset.yaml, else nyuv2]",
)
@click.option(
    "--holdout",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Frames at the end of the training list to leave out, as the training that follows does, and to score the "
    "head on.",
)
@click.option(
    "--data",
    "sources",
    required=True,
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A folder of photographs, searched to any depth, or a text file that lists some; may be given several times.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The new data set.")
@click.option("--teacher", default="efficientnet-lite2", show_default=True, help="The frozen classifier.")
@click.option(
    "--teacher-maps",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the teacher's maps of the photographs, such as that of a `geminifusion distil`; OUT.maps by "
    "default.",
)
@click.option(
    "--teacher-side",
    default=256,
    show_default=True,
    type=click.IntRange(min=32),
    help="Side in pixels of the square as which the teacher sees every image, whole; a multiple of 32.",
)
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(min=1), help="Passes over the frames.")
@click.option(
    "--least-confidence",
    default=0.7,
    show_default=True,
    type=click.FloatRange(min=0, max=1),
    help="Pixels of which the head is less sure become void.",
)
@click.option(
    "--class-share",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Keep this share of every class's pixels, the surest, instead of those above one confidence for all classes; "
    "--least-confidence is then what no class goes below (class-balanced self-training, arXiv:1810.07911).",
)
@click.option(
    "--size",
    type=_Size(),
    help="Height and width as which photographs are written, whatever their aspect; their own by default.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the head's fit; bfloat16 is faster where the processor has it.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the head's start and of the frames' order.")
@click.option("--threads", default=None, type=int, help="CPU threads; as many as usable cores by default.")
def pseudo_label(
    labeled: Path,
    dataset: str | None,
    holdout: int,
    sources: tuple[Path, ...],
    out: Path,
    teacher: str,
    teacher_maps: Path | None,
    teacher_side: int,
    epochs: int,
    least_confidence: float,
    class_share: float | None,
    size: tuple[int, int] | None,
    precision: str,
    seed: int,
    threads: int | None,
) -> None:
    """Label photographs by a head on a frozen classifier's maps, fitted to labeled frames.

    Writes a data set in which only the pixels that the head is sure of have a class, and nothing but the RGB is
    measured; `geminifusion train --further-data OUT --set further_per_batch=2` mixes it into every batch.
    """
    import torch
    from rich.progress import Progress

    from geminifusion_model.data.registry import kind_of, open_dataset
    from geminifusion_model.data.sample import Subset
    from geminifusion_model.distillation.images import Photographs
    from geminifusion_model.distillation.label_head import STAGES, fit_label_head, score_label_head
    from geminifusion_model.distillation.pseudo_labels import check_pseudo_labels, class_thresholds, write_pseudo_labels
    from geminifusion_model.distillation.teacher_maps import TeacherMaps
    from geminifusion_model.distillation.teachers import open_teacher

    if teacher_side % 32:
        raise click.BadParameter(f"{teacher_side} is no multiple of 32", param_hint="--teacher-side")
    torch.set_num_threads(threads or usable_cores())
    every = open_dataset(kind_of(labeled, dataset), labeled, "train")
    if len(every) <= holdout:
        raise click.ClickException(f"{labeled} has {len(every)} training frames, --holdout is {holdout}; leave some")
    check_pseudo_labels(out, every.task)
    frames = Subset(every, range(len(every) - holdout))
    photographs = Photographs(sources)
    network = open_teacher(teacher)
    maps = TeacherMaps(
        teacher_maps or out.with_name(out.name + ".maps"), network, photographs, side=teacher_side, stages=STAGES
    )

    def maps_of(chosen: list[int]) -> tuple[torch.Tensor, ...]:
        return maps.split(maps.rows(chosen), torch.device("cpu"))[: len(STAGES)]

    with Progress(transient=True) as progress:
        looking = progress.add_task("asking the teacher", total=len(photographs) + len(frames), completed=maps.done)
        maps.complete(network, torch.device("cpu"), lambda done: progress.update(looking, completed=done))
        fitting = progress.add_task("fitting the head", total=epochs)
        head = fit_label_head(
            network,
            frames,
            side=teacher_side,
            epochs=epochs,
            seed=seed,
            precision=precision,
            on_frame=lambda: progress.advance(looking),
            on_epoch=lambda: progress.advance(fitting),
        )
        if holdout:
            apart = Subset(every, range(len(every) - holdout, len(every)))
            miou = score_label_head(network, head, apart, teacher_side)
            progress.console.print(f"{holdout} held-out training frames, RGB alone: mIoU {miou:.2f}")
        thresholds = [least_confidence] * len(frames.task.class_names)
        if class_share is not None:
            thresholds = class_thresholds(len(photographs), maps_of, head, share=class_share, lowest=least_confidence)
        labeling = progress.add_task("labeling", total=len(photographs))
        found = write_pseudo_labels(
            out,
            photographs,
            maps_of,
            head,
            frames.task,
            size=size,
            thresholds=thresholds,
            on_photograph=lambda: progress.advance(labeling),
        )
    named = ", ".join(f"{name} {share:.1%}" for name, share in zip(frames.task.class_names, found.shares, strict=True))
    click.echo(f"{found.photographs} photographs, {found.labeled:.0%} of their pixels labeled: {named}")
    click.echo(f"the data set is in {out}")
