"""What an operator may do to the models, over HTTP."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI

from geminifusion_service.api.v1.openapi import CONTROL_RESPONSES, PROBLEM_RESPONSES
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.models.registry import Status

Versions = dict[str, list[dict[str, str]]]


def add_repository_routes(app: FastAPI, models: ModelManager) -> None:
    """Add `/v1/repository`: what there is, load, unload. Who gets as far as this, access control has decided."""

    @app.get("/v1/repository/index", tags=["models"], responses=PROBLEM_RESPONSES)
    async def index() -> Versions:
        """Every version that is loaded or could be, with its state and, if it is not served, the reason."""
        return _listed(await models.index())

    @app.post("/v1/repository/models/{name}/load", tags=["models"], responses=CONTROL_RESPONSES)
    async def load(name: str) -> Versions:
        """Load the newest versions of `name`, or just `name@version`; answers once requests reach it."""
        models.check_may_change()
        return _listed(await models.load(name))

    @app.post("/v1/repository/models/{name}/unload", tags=["models"], responses=CONTROL_RESPONSES)
    async def unload(name: str) -> Versions:
        """Unload `name` or `name@version`; answers once its requests are finished and its memory is given back."""
        models.check_may_change()
        return _listed(await models.unload(name))


def _listed(statuses: Iterable[Status]) -> Versions:
    return {
        "models": [
            {"name": one.name, "version": one.version, "state": one.state.value, "reason": one.reason}
            for one in statuses
        ]
    }
