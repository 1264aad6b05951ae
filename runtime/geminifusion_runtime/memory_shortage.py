"""Recognizing that memory ran out, which torch, its allocators and NumPy each say in their own way."""

from __future__ import annotations

# torch on a CPU of Linux and elsewhere, the system (ENOMEM), torch on a GPU, ONNX Runtime
_TEXTS = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "out of memory",
    "Failed to allocate memory",
    "bad allocation",
    "std::bad_alloc",
)


def is_memory_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _TEXTS)


def describe_memory_shortage(error: BaseException, *, where: str, work: str, advice: str) -> str:
    """One sentence for whoever can do something about it.

    Args:
        where: what has too little memory, `cpu` for example.
        work: what it was needed for.
        advice: what to do.
    """
    cause = str(error).strip().partition("\n")[0]
    return f"{where} has too little memory for {work}{f' ({cause})' if cause else ''}; {advice}"
