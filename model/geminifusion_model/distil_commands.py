"""The command `geminifusion distil`."""

from __future__ import annotations

from pathlib import Path

import click

from geminifusion_runtime.cpu_count import usable_cores


def _needed_to_run(context: click.Context, option: click.Parameter, value: object) -> object:
    """Require an option unless `--print-config`, which is read before it, asks for the settings alone."""
    if not value and not context.params["print_config"]:
        raise click.MissingParameter(ctx=context, param=option)
    return value


@click.command()
@click.option(
    "--data",
    "sources",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    callback=_needed_to_run,
    help="A folder of photographs, searched to any depth, or a text file that lists some; may be given several times."
    "  [required]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_needed_to_run,
    help="The run's directory.  [required]",
)
@click.option(
    "--teacher-maps",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the teacher's maps, to be shared by several runs; OUT/teacher by default.",
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
    help="Override one setting, e.g. encoder=mit_b1; --print-config explains all of them.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out exactly where it stopped.")
@click.option(
    "--print-config",
    is_flag=True,
    is_eager=True,
    help="Print the configuration as YAML, every setting explained, and stop.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device to train on; auto takes CUDA if there is a device.",
)
@click.option("--wandb", metavar="PROJECT", help="Log to this project at Weights & Biases as well.")
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Threads reading photographs ahead."
)
@click.option("--threads", default=None, type=int, help="CPU threads; as many as usable cores by default.")
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
    from geminifusion_model.training.commented_yaml import commented_yaml
    from geminifusion_model.training.loop.distributed import choose_device
    from geminifusion_model.training.run_config import read_overrides
    from geminifusion_runtime.allocator import keep_freed_memory

    overrides = read_overrides(settings)
    if config is None and resume and out is not None and (out / "config.yaml").is_file():
        config = out / "config.yaml"
    chosen = (
        DistillationConfig.checked({}, overrides) if config is None else DistillationConfig.from_yaml(config, overrides)
    )
    if print_config:
        click.echo(commented_yaml(chosen), nl=False)
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
