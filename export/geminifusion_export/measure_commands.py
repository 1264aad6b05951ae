"""The commands `geminifusion verify`, `doctor` and `bench`; they need torch only if a checkpoint is given."""

from __future__ import annotations

from pathlib import Path

import click

from geminifusion_export.gpu_acceptance.parts import LETTERS, chosen_parts

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("artifact", type=_DIRECTORY)
@click.option("--checkpoint", type=_DIRECTORY, help="Compare with the torch network of this checkpoint as well.")
@click.option("--data", type=_DIRECTORY, help="NYUv2 folder whose test frames are compared too; needs --checkpoint.")
@click.option("--frames", default=50, show_default=True, help="Test frames of --data.")
@click.option("--threads", default=0, show_default=True, help="Threads on the CPU; 0: all this process may use.")
@click.option(
    "--custom-ops", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="ONNX Runtime kernels."
)
@click.option("--backend", "also", multiple=True, help="Verify this one as well, e.g. torch-float16; may be repeated.")
@click.option("--json", "json_path", type=_NEW_FILE, help="Write the certificate here as JSON.")
@click.option("--html", "html_path", type=_NEW_FILE, help="Write a page with tables and images here.")
def verify(
    artifact: Path,
    checkpoint: Path | None,
    data: Path | None,
    frames: int,
    threads: int,
    custom_ops: Path | None,
    also: tuple[str, ...],
    json_path: Path | None,
    html_path: Path | None,
) -> None:
    """Check ARTIFACT's files, run every backend it has files for on its golden frames, and print a certificate.

    Backends run with the options they serve with. Fails if anything is over budget on this machine.
    """
    from geminifusion_export.verification.html_report import write_report
    from geminifusion_export.verification.verify_artifact import verify_artifact
    from geminifusion_runtime.artifact import read_metadata

    verification = verify_artifact(
        artifact, checkpoint, data, frames, threads=threads, custom_ops=custom_ops, also=also
    )
    click.echo(str(verification))
    if json_path is not None:
        json_path.write_text(verification.certificate.to_json(), encoding="utf-8")
    if html_path is not None:
        write_report(html_path, verification, read_metadata(artifact))
    verification.certificate.require_passed()


@click.command()
@click.option("--gpu", is_flag=True, help="Run everything on the GPU: right or wrong, and how fast. Up to ten minutes.")
@click.option(
    "--part", "letters", multiple=True, type=click.Choice(LETTERS), help="With --gpu, only this part; repeat."
)
@click.option("--json", "json_path", type=_NEW_FILE, help="Write the findings here as JSON.")
def doctor(gpu: bool, letters: tuple[str, ...], json_path: Path | None) -> None:
    """Report what this machine can run, and what is missing for the rest.

    With --gpu each part passes, fails or is skipped with what it lacks, in a process of its own; then come a table and
    a JSON object to paste into an issue. The exit code is 1 if a part failed.
    """
    if gpu:
        _doctor_of_gpu(letters, json_path)
        return
    if letters:
        raise click.UsageError("--part names a part of --gpu; give that too")
    from geminifusion_export.benchmarking.doctor import diagnose

    found = diagnose()
    click.echo(str(found))
    if json_path is not None:
        json_path.write_text(found.to_json(), encoding="utf-8")


def _doctor_of_gpu(letters: tuple[str, ...], json_path: Path | None) -> None:
    from geminifusion_export.gpu_acceptance.run import run_parts

    acceptance = run_parts(
        chosen_parts(letters), lambda part: click.echo(f"{part.letter} {part.status} {part.title}: {part.detail}")
    )
    click.echo(f"\n{acceptance}\n\n```json\n{acceptance.to_json()}```")
    if json_path is not None:
        json_path.write_text(acceptance.to_json(), encoding="utf-8")
    if acceptance.failed:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("artifact", type=_DIRECTORY)
@click.option("--backend", "backends", multiple=True, help="Only backends whose name starts so; may be repeated.")
@click.option("--batch", "batches", multiple=True, type=int, default=(1,), show_default=True, help="May be repeated.")
@click.option("--size", "sizes", multiple=True, metavar="HxW", help="May be repeated; the scored size if not given.")
@click.option("--threads", default=0, show_default=True, help="Threads on the CPU; 0: all this process may use.")
@click.option("--repeats", default=20, show_default=True, help="Measured rounds.")
@click.option("--warmup", default=3, show_default=True, help="Rounds before them.")
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure peak memory in extra processes.")
@click.option("--json", "json_path", type=_NEW_FILE, help="Write the figures here as JSON.")
@click.option("--plot", "plot_path", type=_NEW_FILE, help="Draw the latencies here as SVG.")
def bench(
    artifact: Path,
    backends: tuple[str, ...],
    batches: tuple[int, ...],
    sizes: tuple[str, ...],
    threads: int,
    repeats: int,
    warmup: int,
    memory: bool,
    json_path: Path | None,
    plot_path: Path | None,
) -> None:
    """Measure latency, throughput, FLOPs and memory of every backend ARTIFACT has files for."""
    from geminifusion_export.benchmarking.benchmark import BenchmarkOptions, parse_size, run_benchmark

    options = BenchmarkOptions(
        backends=backends,
        batches=batches,
        sizes=tuple(map(parse_size, sizes)),
        threads=threads,
        repeats=repeats,
        warmup=warmup,
        memory=memory,
    )
    found = run_benchmark(artifact, options)
    click.echo(str(found))
    if json_path is not None:
        json_path.write_text(found.to_json(), encoding="utf-8")
    if plot_path is not None:
        plot_path.write_text(found.to_svg(), encoding="utf-8")
