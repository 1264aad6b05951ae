"""Environment variables that a platform sets for services of our name, which are no settings.

Kubernetes gives every container the address of each Service of its namespace: of one called `geminifusion`,
`GEMINIFUSION_SERVICE_HOST`, `GEMINIFUSION_PORT=tcp://10.0.0.11:8000`, `GEMINIFUSION_PORT_8000_TCP_ADDR` …, and of one
called `geminifusion-http` even `GEMINIFUSION_HTTP_PORT=tcp://…`, the name of a setting. Links of Docker do the same and
add `_NAME` and `_ENV_…`. Which of them come depends on what else runs, so they must never stop a start.

Standard library only, like the settings.
"""

from __future__ import annotations

import re

from geminifusion_service.setting_fields import ENVIRONMENT_PREFIX

_OF_SERVICE = re.compile(
    ENVIRONMENT_PREFIX + r"(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?|ENV_.*)"
)
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://.*")
_LINK_NAME = re.compile(r"/[^/]+/[^/]+")  # of Docker: /container/alias


def is_of_platform(name: str, value: str) -> bool:
    """Whether a variable of our prefix was set for a Service or a link."""
    return (
        _OF_SERVICE.fullmatch(name) is not None
        or (name.endswith("_PORT") and _ADDRESS.fullmatch(value) is not None)
        or (name.endswith("_NAME") and _LINK_NAME.fullmatch(value) is not None)
    )
