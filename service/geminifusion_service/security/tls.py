"""TLS and mutual TLS for both transports, from the same three files.

A certificate that was renewed on disk is used from the next connection on; open connections keep theirs.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

_log = logging.getLogger(__name__)


class TlsError(ValueError):
    """The certificate or the key cannot be used; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files: the server's certificate with its chain, its key, and for mTLS the CA of client certificates."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamps(self) -> tuple[int, ...]:
        """Modification time of each file; differs after a renewal."""
        return tuple(path.stat().st_mtime_ns for path in (self.certificate, self.key, self.client_ca) if path)


def tls_files(certificate: str, key: str, client_ca: str) -> TlsFiles | None:
    """The files that the settings name; None if they name none.

    Raises:
        TlsError: one is given without another it needs, or a file is missing.
    """
    if not certificate and not key and not client_ca:
        return None
    if not certificate or not key:
        raise TlsError("TLS needs a certificate and its key; give --tls-certificate and --tls-key")
    files = TlsFiles(certificate=Path(certificate), key=Path(key), client_ca=Path(client_ca) if client_ca else None)
    for path in (files.certificate, files.key, files.client_ca):
        if path is not None and not path.is_file():
            raise TlsError(f"{path} is no file; check the TLS settings")
    return files


def http_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS context of uvicorn's sockets: TLS 1.2 or later, with the certificate reloaded when it has changed.

    Raises:
        TlsError: the files do not belong together or are not PEM.
    """
    context = _loaded(files)
    stamps = files.stamps()

    def renew(_socket: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal stamps
        try:
            found = files.stamps()
            if found != stamps:
                stamps = found
                context.load_cert_chain(files.certificate, files.key)
                _log.info("reloaded the TLS certificate")
        except (OSError, ssl.SSLError) as error:
            _log.error("the TLS certificate stays as it was: %s", error)

    context.sni_callback = renew
    return context


def _loaded(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise TlsError(
            f"{files.certificate} and {files.key} cannot be used ({error}); give a PEM certificate and the key it was "
            "made for"
        ) from None
    return context


def grpc_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials of the gRPC port; a renewed certificate is reloaded for the next connection.

    Raises:
        TlsError: as for `http_context`.
    """
    _loaded(files)
    stamps = files.stamps()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal stamps
        try:
            found = files.stamps()
            if found == stamps:
                return None
            _loaded(files)  # gRPC accepts any files, and would then reject every connection
            stamps = found
            return _configuration(files)
        except (OSError, TlsError) as error:
            _log.error("the TLS certificate of gRPC stays as it was: %s", error)
            return None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(files), renewed, require_client_authentication=files.client_ca is not None
    )


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_certificate_configuration(
        [pair], root_certificates=files.client_ca.read_bytes() if files.client_ca else None
    )
