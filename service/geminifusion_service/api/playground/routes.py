"""What a browser gets: the page at `/`, the API's reference at `/docs`, their files, and sample images.

All of it is in the package, so that a browser talks to this server alone. The pages say nothing about the models and
are open where keys are asked for; what their scripts ask for carries the key.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from geminifusion_runtime.bundled import DemoPair, DemoStreet, demo_pairs, demo_street
from geminifusion_service.api.openapi import PAGE_PATH
from geminifusion_service.api.v1.query import accepts_gzip

FILES_PATH = "/playground/"
_STATIC = Path(__file__).resolve().parent / "static"
_PAGE, _REFERENCE = "page.html", "reference.html"
# mimetypes reads the machine's tables, which may say otherwise.
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SAMPLE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".txt": "text/plain", ".bin": "application/octet-stream"}
# A page may not be framed or taken for another type, links from it send no referrer, and it runs scripts of this server
# alone. Pictures that it draws are `blob:`.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",  # browsers ask each time whether it has changed
}


@dataclass(frozen=True, kw_only=True)
class _File:
    """One file of the pages, as it is sent."""

    content: bytes
    zipped: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> _File:
        content = path.read_bytes()
        return cls(
            content=content,
            zipped=gzip.compress(content, mtime=0),
            media_type=f"{_TYPES[path.suffix]}; charset=utf-8",
            tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        )

    def response(self, request: Request, **headers: str) -> Response:
        all_headers = {**_HEADERS, "ETag": self.tag, "Vary": "Accept-Encoding", **headers}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=all_headers)
        if accepts_gzip(request.headers.get("accept-encoding")):
            return Response(self.zipped, 200, {**all_headers, "Content-Encoding": "gzip"}, self.media_type)
        return Response(self.content, 200, all_headers, self.media_type)


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """Files to try a model on.

    Args:
        verbs: of the tasks that it is for.
        files: by the name of the part of a request.
    """

    name: str
    title: str
    license: str
    verbs: tuple[str, ...]
    files: Mapping[str, Path]

    @classmethod
    def of_pair(cls, pair: DemoPair) -> _Sample:
        files = {"rgb": pair.rgb, "depth": pair.depth}
        verbs = ("segment", "translate")
        return cls(name=pair.name, title=pair.title, license=pair.license, verbs=verbs, files=files)

    @classmethod
    def of_street(cls, street: DemoStreet) -> _Sample:
        files = {"rgb": street.rgb, "points": street.points, "calibration": street.calibration}
        return cls(name=street.name, title=street.title, license=street.license, verbs=("detect",), files=files)

    def described(self) -> dict[str, object]:
        facts = {"name": self.name, "title": self.title, "license": self.license}
        return {**facts, "verbs": self.verbs, "parts": list(self.files)}


def is_page(path: str) -> bool:
    """Whether a path is of the pages, which a browser asks for without a key."""
    return path in ("/", PAGE_PATH) or path.startswith(FILES_PATH)


def playground_routes(grpc_port: Callable[[], int]) -> list[Route]:
    """The pages, their files and the sample images.

    Args:
        grpc_port: the port of the gRPC interface, for the calls that the page shows.
    """
    files = {path.name: _File.read(path) for path in _STATIC.iterdir()}
    street = demo_street()
    samples = [*(_Sample.of_pair(pair) for pair in demo_pairs().values()), _Sample.of_street(street)]
    by_name = {sample.name: sample for sample in samples}

    async def root(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return files[_PAGE].response(request, Vary="Accept, Accept-Encoding")
        facts = {"service": "geminifusion", "docs": PAGE_PATH, "models": "/v1/models"}
        return JSONResponse(facts, headers={"Vary": "Accept, Accept-Encoding"})

    async def reference(request: Request) -> Response:
        return files[_REFERENCE].response(request)

    async def file(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found.response(request)

    async def about(_: Request) -> Response:
        listed = [sample.described() for sample in samples]
        return JSONResponse({"grpc_port": grpc_port(), "samples": listed}, headers=_HEADERS)

    async def sample(request: Request) -> Response:
        found = by_name.get(request.path_params["sample"])
        path = None if found is None else found.files.get(request.path_params["part"])
        if path is None:
            raise HTTPException(404)
        return Response(path.read_bytes(), 200, _HEADERS, _SAMPLE_TYPES[path.suffix])

    return [
        Route("/", root),
        Route(PAGE_PATH, reference),
        Route(f"{FILES_PATH}about", about),
        Route(f"{FILES_PATH}samples/{{sample}}/{{part}}", sample),
        Route(f"{FILES_PATH}{{name}}", file),
    ]
