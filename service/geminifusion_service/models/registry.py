"""The loaded models: which one a request means, and how long each has to stay.

Used from one event loop, so nothing here is locked: a step between two awaits is atomic for every request.
"""

from __future__ import annotations

import asyncio
import enum
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from geminifusion_runtime.errors import GeminiFusionError, WrongTaskError
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.registry import wrong_task
from geminifusion_service.errors import ModelNotFoundError, NotReadyError


class ModelState(enum.Enum):
    """State of a version, from loading to unloaded."""

    LOADING = "loading"
    READY = "ready"
    FAILING = "failing"  # it responds, but its self-test fails
    UNLOADING = "unloading"  # it takes no new requests and finishes those it has
    UNAVAILABLE = "unavailable"  # not loaded; the reason says why


@dataclass(frozen=True, kw_only=True)
class SelfTestResult:
    """Result of the last self-test of a model. `agreement` is a share of pixels, 0…1; None without a response."""

    kind: str  # "golden": against torch's labels in the artifact; "self": against its own from when it was loaded
    frames: int
    agreement: float | None
    budget: float  # the least agreement that passes
    passed: bool
    problem: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(kw_only=True, eq=False)
class LoadedModel:
    """A loaded model with its memory, self-test and leases."""

    model: Model
    memory_bytes: int | None = None  # resident memory that it takes; None: not measured
    self_test: SelfTestResult | None = None
    leases: int = 0
    last_used: float = field(default_factory=time.monotonic)  # of a request; seconds, monotonic
    retired: bool = False
    drained: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> ModelState:
        """State of this version at the moment."""
        if self.retired:
            return ModelState.UNLOADING
        return ModelState.READY if self.self_test is None or self.self_test.passed else ModelState.FAILING


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of one version, loaded or not, for the operator."""

    name: str
    version: str
    state: ModelState
    reason: str = ""

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that orders versions as people do: 2 before 10, 1.9 before 1.10. Suffixes have no meaning."""
    parts = [part for part in re.split(r"(\d+)", version) if part]
    return tuple((1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts)


class ModelRegistry:
    """The loaded models, by `name` and `name@version`.

    A bare name means its current version. No name means the default: `default`, a name or a reference, else the first
    model. While the default is not loaded, no other model takes its place.
    """

    def __init__(self, models: Sequence[Model] = (), *, default: str | None = None) -> None:
        self._loaded: dict[str, LoadedModel] = {}
        self._current: dict[str, str] = {}  # name -> reference
        self.unloading: list[LoadedModel] = []  # retired, but not closed yet
        self._absent: dict[str, Status] = {}  # by reference
        self._default = default
        for model in models:
            if model.reference in self._loaded:
                raise ValueError(f"two artifacts are both {model.reference}; give each its own name or version")
            self.install(model)

    def __iter__(self) -> Iterator[Model]:
        return (loaded.model for loaded in self.loaded)

    @property
    def loaded(self) -> list[LoadedModel]:
        """The loaded models; the default first."""
        default = self._resolve(None)
        return sorted(self._loaded.values(), key=lambda loaded: loaded.model.reference != default)

    @property
    def references(self) -> set[str]:
        """References of the loaded models."""
        return set(self._loaded)

    @property
    def problems(self) -> tuple[str, ...]:
        """Reasons, on the part of models, to send no requests here; empty when all is well."""
        if self._resolve(None) is None:
            return (self._default_missing(),)
        failing = [self._loaded[reference] for reference in self._current.values()]
        return tuple(
            f"{loaded.model.reference}: {loaded.self_test.problem}"
            for loaded in failing
            if loaded.self_test is not None and not loaded.self_test.passed
        )

    def default_to(self, reference: str) -> None:
        """Make this the model of requests that name none, loaded or not, unless there is a default already."""
        if self._default is None:
            self._default = reference

    def install(
        self,
        model: Model,
        *,
        current: bool = True,
        memory_bytes: int | None = None,
        self_test: SelfTestResult | None = None,
    ) -> LoadedModel | None:
        """Let requests reach a model.

        Args:
            model: verified and warm.
            current: whether a bare name means it from now on; the first of a name is current anyway.
            memory_bytes, self_test: see `LoadedModel`.

        Returns:
            The model of the same reference that it replaced, retired as by `retire`.
        """
        reference, name = model.reference, model.metadata.name
        replaced = self._withdraw(reference) if reference in self._loaded else None
        self._loaded[reference] = LoadedModel(model=model, memory_bytes=memory_bytes, self_test=self_test)
        self._absent.pop(reference, None)
        if current or name not in self._current:
            self._current[name] = reference
        if self._default is None:
            self._default = reference
        return replaced

    def retire(self, reference: str, *, reason: str = "it was unloaded") -> LoadedModel:
        """Let no new request reach a model. Close it once `drained` is set, then `forget` it.

        A bare name then means the newest version that is left.

        Raises:
            ModelNotFoundError: it is not loaded.
        """
        if reference not in self._loaded:
            raise self._not_found(reference)
        loaded = self._withdraw(reference)
        name, version = loaded.model.metadata.name, loaded.model.metadata.version
        if self._current.get(name) == reference:
            left = [other.model for other in self._loaded.values() if other.model.metadata.name == name]
            if left:
                self._current[name] = max(left, key=lambda model: version_key(model.metadata.version)).reference
            else:
                del self._current[name]
        self.record_status(Status(name=name, version=version, state=ModelState.UNAVAILABLE, reason=reason))
        return loaded

    def forget(self, loaded: LoadedModel) -> None:
        """Remove a retired model that has been closed."""
        self.unloading.remove(loaded)

    def record_status(self, status: Status) -> None:
        """Record why a version is not loaded, or that it is being loaded."""
        self._absent[status.reference] = status

    def forget_status(self, reference: str) -> None:
        """Remove the recorded status of a version that is gone."""
        self._absent.pop(reference, None)

    def find(self, reference: str | None) -> Model:
        """The model that a reference or a name means; None means the default.

        Raises:
            ModelNotFoundError: listing what there is.
            NotReadyError: no model was named, and the default is not loaded.
        """
        return self.get(reference).model

    def get(self, reference: str | None) -> LoadedModel:
        """The entry of the model that a reference means; see `find`."""
        resolved = self._resolve(reference)
        if resolved is None:
            raise self._not_found(reference)
        return self._loaded[resolved]

    def for_task(self, reference: str | None, task: str | None) -> LoadedModel:
        """The entry of the model that a request means.

        Args:
            task: of the request; without a reference, and where the default is for another, the first current model
                that is for this task.

        Raises:
            ModelNotFoundError, NotReadyError: see `find`.
            WrongTaskError: the model is for another task.
        """
        loaded = self.get(reference)
        if task is None or loaded.model.metadata.task == task:
            return loaded
        if reference is None:
            for other in self._loaded.values():
                if other.model.metadata.task == task and self.is_current(other):
                    return other
        raise WrongTaskError(wrong_task(loaded.model.reference, loaded.model.metadata.task, task))

    def is_current(self, loaded: LoadedModel) -> bool:
        """Whether its bare name means it."""
        return self._current.get(loaded.model.metadata.name) == loaded.model.reference

    def is_default(self, loaded: LoadedModel) -> bool:
        """Whether requests that name no model mean it."""
        return self._resolve(None) == loaded.model.reference

    def is_newest(self, name: str, version: str) -> bool:
        """Whether no loaded version of a name is newer than this one, loaded or not."""
        others = (model.metadata.version for model in self if model.metadata.name == name)
        return all(version_key(version) >= version_key(other) for other in others)

    @contextmanager
    def lease(self, reference: str | None, task: str | None = None) -> Iterator[Model]:
        """Lease the model of a request; it stays loaded until the lease ends.

        Args:
            reference, task: see `for_task`.

        Raises:
            ModelNotFoundError, NotReadyError, WrongTaskError: see `for_task`.
        """
        loaded = self.for_task(reference, task)
        loaded.last_used = time.monotonic()
        with self.hold(loaded):
            yield loaded.model

    @contextmanager
    def hold(self, loaded: LoadedModel) -> Iterator[None]:
        """Keep a loaded model from being closed, without counting as a use of it."""
        loaded.leases += 1
        try:
            yield
        finally:
            loaded.leases -= 1
            if loaded.retired and not loaded.leases:
                loaded.drained.set()

    def statuses(self, name: str | None = None) -> list[Status]:
        """State of every version that is, was or could not be loaded; by name, the newest version first."""
        found = {
            loaded.model.reference: Status(
                name=loaded.model.metadata.name,
                version=loaded.model.metadata.version,
                state=loaded.state,
                reason="" if loaded.self_test is None else loaded.self_test.problem,
            )
            for loaded in [*self.unloading, *self._loaded.values()]
        }
        listed = [status for status in (self._absent | found).values() if name in (None, status.name)]
        listed.sort(key=lambda status: version_key(status.version), reverse=True)
        return sorted(listed, key=lambda status: status.name)

    def _resolve(self, reference: str | None) -> str | None:
        if reference is None:
            if self._default is None or self._default in self._loaded:
                return self._default
            # The default was unloaded or changes versions: its name decides, never another model.
            return self._current.get(self._default.partition("@")[0])
        return reference if reference in self._loaded else self._current.get(reference)

    def _withdraw(self, reference: str) -> LoadedModel:
        loaded = self._loaded.pop(reference)
        loaded.retired = True
        self.unloading.append(loaded)
        if not loaded.leases:
            loaded.drained.set()
        return loaded

    def _not_found(self, reference: str | None) -> GeminiFusionError:
        available = f"available: {', '.join(self._loaded) or 'none yet'}"
        if reference is None:
            return NotReadyError(f"{self._default_missing()}; {available}")
        return ModelNotFoundError(f"there is no model {reference[:200]!r} here; {available}")

    def _default_missing(self) -> str:
        return f"the default model {self._default} is not loaded" if self._default else "no model is loaded"
