"""The generated reference pages by name, each a function that gives Markdown."""

from __future__ import annotations

from cli_page import cli_page
from grpc_page import grpc_page
from http_page import http_page

from geminifusion_service.reference import errors_page, metrics_page, settings_page

PAGES = {
    "cli": cli_page,
    "settings": settings_page,
    "errors": errors_page,
    "metrics": metrics_page,
    "http": http_page,
    "grpc": grpc_page,
}
