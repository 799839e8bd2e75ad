"""Freehold: move one LLM task from a rented API to an open model that you own.

The library API is what `__all__` names; it is imported when first used, and pinned by `tests/test_public_names.py`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "FreeholdError": "freehold.errors",
    "UserError": "freehold.errors",
    "RefusedError": "freehold.errors",
    "Dataset": "freehold.records",
    "Decision": "freehold.records",
    "Example": "freehold.records",
    "Message": "freehold.records",
    "Report": "freehold.records",
    "Task": "freehold.spec",
    "Workspace": "freehold.store.workspace",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever the name stands for)
    if name not in _EXPORTS:
        raise AttributeError(f"module 'freehold' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
