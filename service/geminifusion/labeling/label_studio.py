"""Label Studio's protocol of machine-learning backends, over HTTP.

`GET /health`, `POST /setup` with a project's labelling configuration, `POST /predict` with its tasks, `POST /webhook`
with its events, which are acknowledged: nothing is trained here.
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from geminifusion_runtime import strict_json
from geminifusion_runtime.errors import GeminiFusionError

from ..errors import ClientError, InvalidInputError, requires_extra
from .label_config import read_label_config
from .predictions import TaskError, no_prediction, predict_task
from .source import LabelingModel
from .task_images import TaskImages

with requires_extra("geminifusion label-studio", "labeling"):
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

_MAX_BODY_BYTES = 2**26  # tasks may hold images in base64
_TRAINING_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """What an operator chose.

    Attributes:
        depth_field: field of a task's data with the address of the depth.
        password: user and password that Label Studio has to send; None asks for none.
        report: is told, in one sentence, of every task without a prediction and every request that failed.
    """

    depth_field: str
    password: tuple[str, str] | None
    report: Callable[[str], None]


class Backend:
    """The application's routes."""

    def __init__(self, model: LabelingModel, images: TaskImages, options: BackendOptions) -> None:
        self._model, self._images, self._options = model, images, options

    def setup(self, body: Mapping[str, Any]) -> tuple[int, object]:
        """Check that a project's configuration has labels for the model's classes, and name the model."""
        facts = self._model.describe()
        read_label_config(_text(body, "schema")).check(name for _, name in facts.classes)
        return 200, {"model_version": facts.reference}

    def predict(self, body: Mapping[str, Any]) -> tuple[int, object]:
        """A prediction for each task; those that fail have an empty one, unless all of them do."""
        target = read_label_config(_text(body, "label_config"))
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise InvalidInputError("the request has no list of tasks; send what Label Studio's documentation shows")
        results, errors = [], []
        for task in tasks:
            try:
                results.append(predict_task(task, target, self._model, self._images, self._options.depth_field))
            except (ClientError, GeminiFusionError) as error:
                errors.append(error)
                results.append(no_prediction(error))
                self._options.report(f"task {task.get('id')}: {error}")
        if errors and len(errors) == len(tasks):
            raise errors[0]
        return 200, {"results": results}

    def webhook(self, body: Mapping[str, Any]) -> tuple[int, object]:
        """Acknowledge an event."""
        known = body.get("action") in _TRAINING_EVENTS
        return (201, {"result": {}, "status": "ok"}) if known else (200, {"status": "Unknown event"})

    def health(self, _: Mapping[str, Any]) -> tuple[int, object]:
        """Whether the model can be asked."""
        return 200, {"status": "UP", "model_class": self._model.describe().reference}


def application(model: LabelingModel, images: TaskImages, options: BackendOptions) -> Starlette:
    """The backend as an ASGI application."""
    backend = Backend(model, images, options)
    return Starlette(
        routes=[
            Route("/", _endpoint(backend.health, options)),
            Route("/health", _endpoint(backend.health, options)),
            Route("/setup", _endpoint(backend.setup, options), methods=["POST"]),
            Route("/predict", _endpoint(backend.predict, options), methods=["POST"]),
            Route("/webhook", _endpoint(backend.webhook, options), methods=["POST"]),
        ]
    )


def _endpoint(
    answer: Callable[[Mapping[str, Any]], tuple[int, object]], options: BackendOptions
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if options.password is not None and not _is_allowed(request, options.password):
            wanted = {"WWW-Authenticate": 'Basic realm="geminifusion"'}
            return _json(401, {"error": "user or password is wrong; give those of the backend"}, wanted)
        try:
            body = await _body(request) if request.method == "POST" else {}
            status, document = await run_in_threadpool(answer, body)
        except (ClientError, GeminiFusionError) as error:
            options.report(f"{request.url.path}: {error}")
            return _json(_status(error), {"error": str(error)})
        return _json(status, document)

    return endpoint


async def _body(request: Request) -> Mapping[str, Any]:
    """The JSON object of a request.

    Raises:
        InvalidInputError: it is none, or too large.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MAX_BODY_BYTES:
            raise InvalidInputError(f"the request has more than {_MAX_BODY_BYTES} bytes; send fewer tasks at once")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise InvalidInputError("the request is no JSON object; send what Label Studio's documentation shows")
    return body


def _text(body: Mapping[str, Any], field: str) -> str:
    text = body.get(field)
    if not isinstance(text, str):
        raise InvalidInputError(f"the request has no labelling configuration in {field!r}; send the project's XML")
    return text


def _is_allowed(request: Request, wanted: tuple[str, str]) -> bool:
    scheme, _, code = request.headers.get("authorization", "").partition(" ")
    try:
        given = b64decode(code, validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, ":".join(wanted).encode())


def _status(error: TaskError) -> int:
    """What was sent is at fault, or what stands behind this backend."""
    rejected = getattr(error, "status", None) or 502
    return 400 if isinstance(error, InvalidInputError | GeminiFusionError) else rejected


def _json(status: int, document: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(strict_json.to_bytes(document), status, headers, media_type="application/json")
