"""The command `geminifusion distil`."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    "sources",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A folder of photographs, searched to any depth, or a text file that lists some; may be given several times.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The run's directory.")
@click.option(
    "--teacher-maps",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the teacher's maps are kept, to be shared by several runs; OUT/teacher by default.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file instead of the built-in recipe.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override one setting, e.g. encoder=mit_b1 or teacher=efficientnet-lite0.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out exactly where it stopped.")
@click.option("--print-config", is_flag=True, help="Print the configuration as YAML and stop.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What computes; auto takes CUDA if there is a device.",
)
@click.option("--wandb", metavar="PROJECT", help="Log to this project at Weights & Biases as well.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Threads that read ahead.")
@click.option("--threads", default=None, type=int, help="CPU threads; all this process may use by default.")
def distil(
    sources: tuple[Path, ...],
    out: Path,
    teacher_maps: Path | None,
    config: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    print_config: bool,
    device: str,
    wandb: str | None,
    workers: int,
    threads: int | None,
) -> None:
    """Teach an encoder what a frozen image classifier sees in unlabelled photographs.

    Writes the encoder to --out/final, in a file that `geminifusion train --set imagenet=FILE` starts from.
    """
    import torch

    from geminifusion_model.commands import read_overrides
    from geminifusion_model.distillation.config import DistillationConfig
    from geminifusion_model.distillation.images import Photographs
    from geminifusion_model.distillation.run import DistillationRun
    from geminifusion_model.distillation.teachers import open_teacher
    from geminifusion_model.training.allocator import keep_freed_memory
    from geminifusion_model.training.distributed import choose_device

    overrides = read_overrides(settings)
    kept = out / "config.yaml"
    start = config or (kept if resume and kept.is_file() else None)
    chosen = (
        DistillationConfig.checked({}, overrides) if start is None else DistillationConfig.from_yaml(start, overrides)
    )
    if print_config:
        click.echo(chosen.to_yaml(), nl=False)
        return
    if not sources:
        raise click.UsageError("there are no photographs; give --data FOLDER")
    keep_freed_memory()
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    teacher = open_teacher(chosen.teacher)
    photographs = Photographs(sources)
    click.echo(f"{len(photographs)} photographs; reading them once for the run's record …")
    run = DistillationRun(
        chosen,
        photographs,
        teacher,
        out,
        maps_directory=teacher_maps,
        resume=resume,
        device=choose_device(device),
        wandb_project=wandb,
        workers=workers,
    )
    try:
        found = run.train()
    except KeyboardInterrupt:
        saved = run.safekeeping.saved_step
        if saved is None:
            asked = f"the teacher has looked at {run.maps.done} of {len(photographs)} photographs"
            raise click.ClickException(f"stopped before the first step; {asked}, go on without --resume") from None
        raise click.ClickException(f"stopped at step {saved}; continue with --resume") from None
    if found is not None:
        click.echo(f"{len(run.holdout)} held-out photographs: loss {found.loss:.3f}")
    click.echo(f"the encoder is in {out / 'final'}")
