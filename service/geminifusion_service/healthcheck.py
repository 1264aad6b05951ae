"""`geminifusion healthcheck`: asks the server of this machine whether it is ready, for containers and supervisors.

It reads the settings that the server reads, so it asks the right port, with TLS where the server has it, and never
through a proxy. Only click and the standard library, because it is run every few seconds.
"""

from __future__ import annotations

import http.client
import ssl

import click

from geminifusion_service.commands import config_option, setting_option
from geminifusion_service.settings import ALL_SETTINGS

_PATH = "/healthz/ready"
_OWN_ADDRESS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a server listens on
_NAMES = ("host", "http_port", "tls_certificate", "tls_key", "tls_client_ca")


def _healthcheck(
    timeout: float, host: str, http_port: int, tls_certificate: str, tls_key: str, tls_client_ca: str
) -> None:
    if not http_port:
        raise click.UsageError("the HTTP port is 0, a free one that only the server knows; give --http-port")
    address, scheme = _OWN_ADDRESS.get(host, host), "https" if tls_certificate else "http"
    where = f"{scheme}://{f'[{address}]' if ':' in address else address}:{http_port}{_PATH}"
    connection = (
        http.client.HTTPSConnection(
            address, http_port, timeout=timeout, context=_context(tls_certificate, tls_key, tls_client_ca)
        )
        if tls_certificate
        else http.client.HTTPConnection(address, http_port, timeout=timeout)
    )
    try:
        connection.request("GET", _PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        if tls_client_ca and isinstance(error, ssl.SSLError | ConnectionResetError):
            # It speaks TLS, and only to clients that its own certificate is not one of.
            click.echo(f"{where}: alive; whether it is ready only a client with a certificate is told")
            return
        raise click.ClickException(f"{where}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise click.ClickException(f"{where}: not ready ({status})")
    click.echo(f"{where}: ready")


def _context(certificate: str, key: str, client_ca: str) -> ssl.SSLContext:
    """TLS to a server whose certificate names another host than this one; where it asks for one, with its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent, and nobody between this machine and itself
    if client_ca and key:
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise click.ClickException(f"cannot use {certificate} and {key} ({error}); give PEM files") from None
    return context


healthcheck = click.Command(
    "healthcheck",
    callback=_healthcheck,
    params=[
        config_option(),
        *(setting_option(setting) for setting in ALL_SETTINGS if setting.name in _NAMES),
        click.Option(["--timeout"], type=click.FloatRange(0, min_open=True), default=2.0, show_default=True,
                     help="Longest to wait for the response, in seconds."),
    ],
    help="Ask the server on this machine whether it is ready; exit code 0 if it is, 1 if not.",
)  # fmt: skip
