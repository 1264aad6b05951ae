"""The commands `geminifusion verify`, `doctor` and `bench`; none of them needs torch unless a checkpoint is given."""

from __future__ import annotations

from pathlib import Path

import click

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("artifact", type=_DIRECTORY)
@click.option("--checkpoint", type=_DIRECTORY, help="Compare with the torch network of this checkpoint as well.")
@click.option("--data", type=_DIRECTORY, help="NYUv2 folder whose test frames are compared too; needs --checkpoint.")
@click.option("--frames", default=50, show_default=True, help="Test frames of --data.")
@click.option("--threads", default=0, show_default=True, help="Threads on the CPU; 0 leaves it to each runtime.")
@click.option(
    "--custom-ops", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="ONNX Runtime kernels."
)
@click.option("--json", "json_path", type=_NEW_FILE, help="Write the certificate here as JSON.")
@click.option("--html", "html_path", type=_NEW_FILE, help="Write a page with tables and pictures here.")
def verify(
    artifact: Path,
    checkpoint: Path | None,
    data: Path | None,
    frames: int,
    threads: int,
    custom_ops: Path | None,
    json_path: Path | None,
    html_path: Path | None,
) -> None:
    """Check ARTIFACT's files, run every runtime it has on its golden frames, and print a certificate.

    Fails if anything is over budget on this machine.
    """
    from geminifusion_export.verification.html_report import write_page
    from geminifusion_export.verification.verify_artifact import recheck_artifact
    from geminifusion_runtime.artifact import read_metadata

    found = recheck_artifact(artifact, checkpoint, data, frames, threads=threads, custom_ops=custom_ops)
    click.echo(str(found))
    if json_path is not None:
        json_path.write_text(found.certificate.to_json(), encoding="utf-8")
    if html_path is not None:
        write_page(html_path, found, read_metadata(artifact))
    found.certificate.require_passed()


@click.command()
@click.option("--json", "json_path", type=_NEW_FILE, help="Write the findings here as JSON.")
def doctor(json_path: Path | None) -> None:
    """Say what this machine can run, and what it lacks for the rest."""
    from geminifusion_export.benchmarking.doctor import examine

    found = examine()
    click.echo(str(found))
    if json_path is not None:
        json_path.write_text(found.to_json(), encoding="utf-8")


@click.command()
@click.argument("artifact", type=_DIRECTORY)
@click.option("--backend", "backends", multiple=True, help="Only runtimes whose name begins so; may be repeated.")
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
    """Measure latency, throughput, arithmetic and memory of every runtime ARTIFACT has files for."""
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
