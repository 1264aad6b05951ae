"""Signatures of artifacts: Ed25519 over `metadata.json`, which holds the SHA-256 of every other file.

`metadata.json.sig` beside it is the plain signature of 64 bytes, as `openssl pkeyutl -rawin` makes and checks it. The
package `cryptography` is optional and imported where a signature is made or checked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from geminifusion_runtime.bounded_files import UnusableFileError, read_bounded

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_SUFFIX = ".sig"
_SIGNATURE_BYTES = 64
_MAX_KEY_FILE_BYTES = 2**20
_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.DOTALL)


class SignatureError(ValueError):
    """A signature is missing or of no trusted key, or a key cannot be used; the message says what to do."""


def signature_path(signed: Path) -> Path:
    """Where the signature of a file is."""
    return signed.with_name(signed.name + SIGNATURE_SUFFIX)


def sign_file(path: Path, key_file: Path) -> Path:
    """Write the signature of a file beside it; return its path.

    Args:
        key_file: PEM of an Ed25519 private key, as `openssl genpkey -algorithm ed25519` writes it.

    Raises:
        SignatureError: the key cannot be used, or `cryptography` is not installed.
        OSError: the file cannot be read, or the signature not written.
    """
    signature = _private_key(key_file).sign(path.read_bytes())
    target = signature_path(path)
    target.write_bytes(signature)
    return target


def require_signature(signed: Path, content: bytes, keys_file: Path) -> None:
    """Require that one of the trusted keys signed these bytes.

    Args:
        signed: the file that `content` was read from; its signature lies beside it.
        keys_file: one Ed25519 public key or several, in PEM.

    Raises:
        SignatureError: there is no signature, none of the keys made it, or the keys cannot be read.
    """
    keys = _public_keys(keys_file)
    from cryptography.exceptions import InvalidSignature

    path = signature_path(signed)
    try:
        signature = read_bounded(path, inside=signed.parent, max_bytes=_SIGNATURE_BYTES)
    except UnusableFileError as error:
        raise SignatureError(str(error)) from None
    except OSError:
        raise SignatureError(
            f"{signed.parent} is not signed, but only artifacts signed by a key of {keys_file} are trusted; sign it: "
            "geminifusion sign ARTIFACT --key PRIVATE.pem"
        ) from None
    for key in keys:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            continue
        return
    raise SignatureError(
        f"{path} is the signature of no key of {keys_file} for these contents: the artifact was changed after it was "
        "signed, or signed by somebody else; take it from whom you trust, or sign it again"
    )


def _public_keys(path: Path) -> list[Ed25519PublicKey]:
    """The keys of a file; at least one."""
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    keys = []
    for block in _PUBLIC_KEY.findall(_read_key_file(path)):
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise SignatureError(f"{path} holds a public key that is not Ed25519; remove it")
        keys.append(key)
    if not keys:
        raise SignatureError(
            f"{path} holds no public key in PEM; write one: openssl pkey -in PRIVATE.pem -pubout -out {path.name}"
        )
    return keys


def _private_key(path: Path) -> Ed25519PrivateKey:
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read_key_file(path), password=None)
    except TypeError:
        raise SignatureError(f"{path} is encrypted; give a decrypted copy: openssl pkey -in {path.name}") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(
            f"{path} is no Ed25519 private key in PEM; make one: openssl genpkey -algorithm ed25519 -out PRIVATE.pem"
        )
    return key


def _read_key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise SignatureError(f"the key file {path} cannot be read ({error.strerror}); give one that exists") from None


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise SignatureError(
            'signatures need the package cryptography; run: pip install "geminifusion[signatures]"'
        ) from None
