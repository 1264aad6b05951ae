"""The command `geminifusion distil`."""

from __future__ import annotations

from pathlib import Path

import click

from geminifusion_model.run_options import chosen_config, config_file, echo_config, needed_to_run, run_options
from geminifusion_runtime.cpu_count import usable_cores


@click.command()
@click.option(
    "--data",
    "sources",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    callback=needed_to_run,
    help="A folder of photographs, searched to any depth, or a text file that lists some; may be given several times."
    "  [required]",
)
@click.option(
    "--teacher-maps",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the teacher's maps, to be shared by several runs; OUT/teacher by default.",
)
@run_options(example="encoder=mit_b1")
def distil(
    sources: tuple[Path, ...],
    out: Path | None,
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
    """Train an encoder to match a frozen image classifier on unlabeled photographs.

    Writes the encoder to --out/final, as a file that `geminifusion train --set imagenet=FILE` starts from.
    """
    import torch

    from geminifusion_model.distillation.config import DistillationConfig
    from geminifusion_model.distillation.images import Photographs
    from geminifusion_model.distillation.run import DistillationRun
    from geminifusion_model.distillation.student import check_start
    from geminifusion_model.distillation.teachers import open_teacher
    from geminifusion_model.training.loop.distributed import choose_device
    from geminifusion_runtime.allocator import keep_freed_memory

    chosen = chosen_config(DistillationConfig, config_file(config, out, resume=resume), lambda _: {}, settings)
    if print_config:
        echo_config(chosen)
        return
    assert out is not None
    if not resume:
        check_start(chosen)
    keep_freed_memory()
    torch.set_num_threads(threads or usable_cores())
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
        saved = run.checkpointer.saved_step
        if saved is None:
            done = f"the teacher's maps of {run.maps.done} of {len(photographs)} photographs are kept"
            raise click.ClickException(f"stopped before the first step; {done}, go on without --resume") from None
        raise click.ClickException(f"stopped at step {saved}; continue with --resume") from None
    if found is not None:
        click.echo(f"{len(run.holdout)} held-out photographs: loss {found.loss:.3f}")
    click.echo(f"the encoder is in {out / 'final'}")
