"""Signatures of artifacts, made and checked with real keys, and by OpenSSL too."""

import shutil
import subprocess

import pytest
from click.testing import CliRunner

from geminifusion import load
from geminifusion.signature_commands import sign, verify_signature
from geminifusion_runtime.artifact import METADATA_NAME, ArtifactError, open_artifact
from geminifusion_runtime.signatures import SignatureError, sign_file

serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
PEM = serialization.Encoding.PEM


def write_keys(folder, name, algorithm="ed25519"):
    """A private key and its public key in PEM."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    key = ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    none = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, none))
    public.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def artifact(make_artifact, tmp_path):
    return make_artifact(tmp_path / "tiny")


@pytest.fixture
def keys(tmp_path):
    return write_keys(tmp_path, "ours")


def test_a_signed_artifact_is_opened_with_any_of_the_trusted_keys(artifact, keys, tmp_path):
    private, public = keys
    done = CliRunner().invoke(sign, [str(artifact), "--key", str(private)])
    assert done.exit_code == 0, done.output
    both = tmp_path / "both.pem"
    both.write_bytes(write_keys(tmp_path, "older")[1].read_bytes() + public.read_bytes())
    load(artifact, trusted_keys=both, threads=1)
    done = CliRunner().invoke(verify_signature, [str(artifact), "--trusted-keys", str(public)])
    assert done.exit_code == 0
    assert "is signed by a key of" in done.output


def test_an_unsigned_artifact_is_refused_in_one_sentence(artifact, keys):
    with pytest.raises(ArtifactError, match=r"is not signed, but only .* sign it: geminifusion sign ARTIFACT"):
        load(artifact, trusted_keys=keys[1], threads=1)
    done = CliRunner().invoke(verify_signature, [str(artifact), "--trusted-keys", str(keys[1])])
    assert done.exit_code == 1
    assert "Traceback" not in done.output


@pytest.mark.parametrize("how", ["other key", "changed metadata", "cut signature", "long signature"])
def test_a_wrong_signature_is_refused(artifact, keys, tmp_path, how):
    private = write_keys(tmp_path, "theirs")[0] if how == "other key" else keys[0]
    signature = sign_file(artifact / METADATA_NAME, private)
    if how == "changed metadata":
        with (artifact / METADATA_NAME).open("a") as file:
            file.write(" ")
    if how == "cut signature":
        signature.write_bytes(signature.read_bytes()[:-1])
    if how == "long signature":
        signature.write_bytes(bytes(65))
    with pytest.raises(ArtifactError, match=r"signature of no key|expected at most 64"):
        open_artifact(artifact, trusted_keys=keys[1])


def test_a_changed_file_of_a_signed_artifact_is_refused(artifact, keys):
    sign_file(artifact / METADATA_NAME, keys[0])
    (artifact / "model.onnx").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="SHA-256"):
        open_artifact(artifact, trusted_keys=keys[1])


def test_a_key_that_cannot_be_used_is_refused(artifact, keys, tmp_path):
    private, public = write_keys(tmp_path, "curve", "ec")
    with pytest.raises(SignatureError, match="is no Ed25519 private key"):
        sign_file(artifact / METADATA_NAME, private)
    sign_file(artifact / METADATA_NAME, keys[0])
    with pytest.raises(ArtifactError, match="holds a public key that is not Ed25519"):
        open_artifact(artifact, trusted_keys=public)
    with pytest.raises(ArtifactError, match="holds no public key in PEM"):
        open_artifact(artifact, trusted_keys=keys[0])
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_artifact(artifact, trusted_keys=tmp_path / "none.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_accepts_the_signature(artifact, keys):
    signature = sign_file(artifact / METADATA_NAME, keys[0])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys[1]), "-rawin"]
    signed = ["-in", str(artifact / METADATA_NAME), "-sigfile", str(signature)]
    subprocess.run([*command, *signed], check=True, capture_output=True)
