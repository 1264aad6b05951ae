"""The page that shows the API's document: Swagger UI, of one release whose files are checked."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from starlette.responses import HTMLResponse

_SWAGGER = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0/"
_STYLE, _STYLE_SHA384 = f"{_SWAGGER}swagger-ui.css", "WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"
_CODE, _CODE_SHA384 = (
    f"{_SWAGGER}swagger-ui-bundle.js",
    "gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9",
)
_START: Final = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});'
_START_SHA256 = base64.b64encode(hashlib.sha256(_START.encode()).digest()).decode()

# It may not be framed, or taken for another type; it runs these scripts alone and talks to this server alone.
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_CODE} 'sha256-{_START_SHA256}'; style-src {_STYLE} 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>geminifusion</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{_STYLE}" integrity="sha384-{_STYLE_SHA384}" crossorigin="anonymous">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{_CODE}" integrity="sha384-{_CODE_SHA384}" crossorigin="anonymous"></script>
<script>{_START}</script>
</body>
</html>
"""


def documentation_page() -> HTMLResponse:
    """The page; it reads `openapi.json` beside itself."""
    return HTMLResponse(_PAGE, headers=_HEADERS)
