"""Which models are loaded, which one a request means, and how long each has to stay.

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
from typing import Any

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_service.errors import ModelNotFoundError, NotReadyError


class ModelState(enum.Enum):
    """Where a version is in its life."""

    LOADING = "loading"
    READY = "ready"
    FAILING = "failing"  # it answers, but its canary says wrongly
    UNLOADING = "unloading"  # it takes no new requests and finishes those it has
    UNAVAILABLE = "unavailable"  # not loaded; the reason says why


@dataclass(frozen=True, kw_only=True)
class CanaryResult:
    """What the last canary of a model found. `agreement` is a share of pixels, 0…1; None where nothing was answered."""

    kind: str  # "golden": torch's labels from the artifact; "self": the model's own from when it was loaded
    frames: int
    agreement: float | None
    budget: float  # the least agreement that passes
    passed: bool
    problem: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(kw_only=True, eq=False)
class Slot:
    """A loaded model and what is known of it while it is loaded."""

    model: Model
    memory_bytes: int | None = None  # resident memory it brought with it; None: not measured
    canary: CanaryResult | None = None
    leases: int = 0
    last_used: float = field(default_factory=time.monotonic)  # of a request; seconds, monotonic
    retired: bool = False
    drained: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> ModelState:
        """Of this version now."""
        if self.retired:
            return ModelState.UNLOADING
        return ModelState.READY if self.canary is None or self.canary.passed else ModelState.FAILING


@dataclass(frozen=True, kw_only=True)
class Status:
    """One version as an operator sees it."""

    name: str
    version: str
    state: ModelState
    reason: str = ""

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Orders versions as people do: 2 before 10, 1.9 before 1.10. No suffix has a meaning of its own."""
    parts = [part for part in re.split(r"(\d+)", version) if part]
    return tuple((1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts)


class ModelRegistry:
    """The models that are loaded, by `name` and `name@version`.

    A bare name means its current version. No name means the default: `default`, a name or a reference, else the first
    model; while that is not loaded, never another one.
    """

    def __init__(self, models: Sequence[Model] = (), *, default: str | None = None) -> None:
        self._slots: dict[str, Slot] = {}
        self._current: dict[str, str] = {}  # name -> reference
        self.unloading: list[Slot] = []  # retired, but not closed yet
        self._absent: dict[str, Status] = {}  # by reference
        self._default = default
        for model in models:
            if model.reference in self._slots:
                raise ValueError(f"two artifacts are both {model.reference}; give each its own name or version")
            self.install(model)

    def __iter__(self) -> Iterator[Model]:
        return (slot.model for slot in self.slots)

    @property
    def slots(self) -> list[Slot]:
        """What is loaded; the default first."""
        default = self._resolve(None)
        return sorted(self._slots.values(), key=lambda slot: slot.model.reference != default)

    @property
    def references(self) -> set[str]:
        """Of what is loaded."""
        return set(self._slots)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why no requests should be sent here, as far as models go; empty when all is well."""
        if self._resolve(None) is None:
            return (self._default_missing(),)
        failing = [self._slots[reference] for reference in self._current.values()]
        return tuple(
            f"{slot.model.reference}: {slot.canary.problem}"
            for slot in failing
            if slot.canary is not None and not slot.canary.passed
        )

    def default_to(self, reference: str) -> None:
        """Let requests that name no model mean this one, loaded or not, unless a default is settled already."""
        if self._default is None:
            self._default = reference

    def install(self, model: Model, *, current: bool = True, **facts: Any) -> Slot | None:  # noqa: ANN401 - of Slot
        """Let requests reach a model; `facts` are fields of its `Slot`.

        Args:
            current: whether a bare name means it from now on; the first of a name is current anyway.

        Returns:
            What had the same reference and is out of reach now, as after `retire`.
        """
        reference, name = model.reference, model.metadata.name
        replaced = self._withdraw(reference) if reference in self._slots else None
        self._slots[reference] = Slot(model=model, **facts)
        self._absent.pop(reference, None)
        if current or name not in self._current:
            self._current[name] = reference
        if self._default is None:
            self._default = reference
        return replaced

    def retire(self, reference: str, *, reason: str = "it was unloaded") -> Slot:
        """Let no new request reach a model. It may be closed once `Slot.drained` is set and has to be `forget`-ed then.

        A bare name falls back to the newest version that is left.

        Raises:
            ModelNotFoundError: it is not loaded.
        """
        if reference not in self._slots:
            raise self._not_found(reference)
        slot = self._withdraw(reference)
        name, version = slot.model.metadata.name, slot.model.metadata.version
        if self._current.get(name) == reference:
            left = [other.model for other in self._slots.values() if other.model.metadata.name == name]
            if left:
                self._current[name] = max(left, key=lambda model: version_key(model.metadata.version)).reference
            else:
                del self._current[name]
        self.note(Status(name=name, version=version, state=ModelState.UNAVAILABLE, reason=reason))
        return slot

    def forget(self, slot: Slot) -> None:
        """A retired model has been closed."""
        self.unloading.remove(slot)

    def note(self, status: Status) -> None:
        """Remember why a version is not loaded, or that it is being."""
        self._absent[status.reference] = status

    def drop_note(self, reference: str) -> None:
        """A version that was noted is gone."""
        self._absent.pop(reference, None)

    def find(self, reference: str | None) -> Model:
        """The model asked for.

        Raises:
            ModelNotFoundError: listing what there is.
            NotReadyError: no model was named, and the default is not loaded.
        """
        return self.slot(reference).model

    def slot(self, reference: str | None) -> Slot:
        """The loaded model asked for, and what is known of it; see `find`."""
        resolved = self._resolve(reference)
        if resolved is None:
            raise self._not_found(reference)
        return self._slots[resolved]

    def is_current(self, slot: Slot) -> bool:
        """Whether a bare name means it."""
        return self._current.get(slot.model.metadata.name) == slot.model.reference

    def is_default(self, slot: Slot) -> bool:
        """Whether a request that names no model means it."""
        return self._resolve(None) == slot.model.reference

    def is_newest(self, name: str, version: str) -> bool:
        """Whether no loaded version of a name is newer than this one, loaded or not."""
        versions = [slot.model.metadata.version for slot in self._slots.values() if slot.model.metadata.name == name]
        return all(version_key(version) >= version_key(other) for other in versions)

    @contextmanager
    def lease(self, reference: str | None) -> Iterator[Model]:
        """The model asked for, which stays loaded until the lease ends.

        Raises:
            ModelNotFoundError, NotReadyError: see `find`.
        """
        slot = self.slot(reference)
        slot.last_used = time.monotonic()
        with self.hold(slot):
            yield slot.model

    @contextmanager
    def hold(self, slot: Slot) -> Iterator[None]:
        """Keep a loaded model from being closed, without counting as a use of it."""
        slot.leases += 1
        try:
            yield
        finally:
            slot.leases -= 1
            if slot.retired and not slot.leases:
                slot.drained.set()

    def statuses(self, name: str | None = None) -> list[Status]:
        """Every version that is loaded, was, or could not be; by name, the newest version first."""
        found = {
            slot.model.reference: Status(
                name=slot.model.metadata.name,
                version=slot.model.metadata.version,
                state=slot.state,
                reason="" if slot.canary is None else slot.canary.problem,
            )
            for slot in [*self.unloading, *self._slots.values()]
        }
        listed = [status for status in (self._absent | found).values() if name in (None, status.name)]
        listed.sort(key=lambda status: version_key(status.version), reverse=True)
        return sorted(listed, key=lambda status: status.name)

    def _resolve(self, reference: str | None) -> str | None:
        if reference is None:
            if self._default is None or self._default in self._slots:
                return self._default
            # The default went away or changes versions: its name decides, never another model.
            return self._current.get(self._default.partition("@")[0])
        return reference if reference in self._slots else self._current.get(reference)

    def _withdraw(self, reference: str) -> Slot:
        slot = self._slots.pop(reference)
        slot.retired = True
        self.unloading.append(slot)
        if not slot.leases:
            slot.drained.set()
        return slot

    def _not_found(self, reference: str | None) -> GeminiFusionError:
        available = f"available: {', '.join(self._slots) or 'none yet'}"
        if reference is None:
            return NotReadyError(f"{self._default_missing()}; {available}")
        return ModelNotFoundError(f"there is no model {reference[:200]!r} here; {available}")

    def _default_missing(self) -> str:
        return f"the default model {self._default} is not loaded" if self._default else "no model is loaded"
