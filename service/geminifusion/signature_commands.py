"""`geminifusion sign` and `geminifusion verify-signature`. Only click and the standard library at the top."""

from __future__ import annotations

from pathlib import Path

import click

_ARTIFACT = click.argument("artifact", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.command()
@_ARTIFACT
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Ed25519 private key in PEM, as `openssl genpkey -algorithm ed25519` writes it.",
)
def sign(artifact: Path, key: Path) -> None:
    """Sign an artifact: write `metadata.json.sig`, which covers all its files by their checksums.

    The files are checked against their checksums first. Whatever changes the artifact afterwards needs a new signature.
    """
    from geminifusion_runtime.artifact import METADATA_NAME, ArtifactError, open_artifact
    from geminifusion_runtime.signatures import SignatureError, sign_file

    try:
        metadata = open_artifact(artifact)
        path = sign_file(artifact / METADATA_NAME, key)
    except (ArtifactError, SignatureError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"the signature of {artifact} cannot be written ({error.strerror})") from None
    click.echo(f"signed {metadata.reference}: {path}")


@click.command("verify-signature")
@_ARTIFACT
@click.option(
    "--trusted-keys",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="File of Ed25519 public keys in PEM; one of them must have signed the artifact.",
)
def verify_signature(artifact: Path, trusted_keys: Path) -> None:
    """Check that a trusted key signed an artifact, and that its files are those that were signed."""
    from geminifusion_runtime.artifact import ArtifactError, open_artifact

    try:
        metadata = open_artifact(artifact, trusted_keys=trusted_keys)
    except ArtifactError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{metadata.reference} is signed by a key of {trusted_keys}, and its files are those that were signed")
