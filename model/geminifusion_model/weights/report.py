"""The result of importing foreign weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OfficialReport:
    """The result of an import, all names in the file's layout without prefixes.

    `mismatched` holds (name, shape found, shape expected). `ignored` are tensors of the file that nothing computes
    with, or that have no place in this network by design; they are no fault.
    """

    used: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    ignored: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True if every weight was found and fitted, and none was left over."""
        return not (self.missing or self.unexpected or self.mismatched)

    def describe(self) -> str:
        """The faults in one sentence, the first five of each kind by name."""
        misshapen = tuple(f"{name} {found} instead of {wanted}" for name, found, wanted in self.mismatched)
        parts = []
        for label, names in (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", misshapen),
        ):
            if names:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                parts.append(f"{len(names)} {label}: {', '.join(names[:5])}{more}")
        return "the weights do not fit the network. " + "; ".join(parts)
