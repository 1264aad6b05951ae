"""Which models are loaded, and which one a request means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from geminifusion_service.errors import ModelNotFoundError
from geminifusion_service.models.model import Model


class ModelRegistry:
    """The models that are loaded, by `name` and `name@version`; the first is the default."""

    def __init__(self, models: Sequence[Model] = ()) -> None:
        self._by_reference = {model.reference: model for model in models}
        if len(self._by_reference) != len(models):
            raise ValueError(
                f"two artifacts are both {[m.reference for m in models]}; give each its own name or version"
            )

    def __iter__(self) -> Iterator[Model]:
        return iter(self._by_reference.values())

    def find(self, reference: str | None) -> Model:
        """The model asked for; a bare name takes the version that was loaded last, None the default.

        Raises:
            ModelNotFoundError: listing what there is.
        """
        models = list(self._by_reference.values())
        if reference is None and models:
            return models[0]
        if reference in self._by_reference:
            return self._by_reference[reference]
        for model in reversed(models):
            if model.metadata.name == reference:
                return model
        raise ModelNotFoundError(
            f"there is no model {reference!r} here; available: {', '.join(self._by_reference) or 'none yet'}"
        )

    @contextmanager
    def lease(self, reference: str | None) -> Iterator[Model]:
        """The model asked for, which stays loaded until the lease ends.

        Raises:
            ModelNotFoundError: see `find`.
        """
        yield self.find(reference)
