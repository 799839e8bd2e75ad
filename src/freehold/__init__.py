"""Freehold: move one LLM task from a rented API to an open model that you own.

The library API is what `__all__` names; it is imported when first used, and pinned by `tests/test_public_names.py`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    # the flow
    "load": "freehold.spec",
    "pull": "freehold.catalogue.pull",
    "run": "freehold.pipeline",
    # what it works on
    "Task": "freehold.spec",
    "TaskFile": "freehold.spec",
    "Workspace": "freehold.store.workspace",
    "SILENT": "freehold.progress",
    # what it makes
    "Candidate": "freehold.records",
    "Dataset": "freehold.records",
    "Decision": "freehold.records",
    "Example": "freehold.records",
    "Message": "freehold.records",
    "Report": "freehold.records",
    # what a model sees, and what answers
    "Engine": "freehold.engines.engine",
    "LlamaCpp": "freehold.engines.llamacpp",
    "Prompt": "freehold.render",
    "Renderer": "freehold.render",
    # what can go wrong
    "EngineError": "freehold.errors",
    "FreeholdError": "freehold.errors",
    "RefusedError": "freehold.errors",
    "UndeterminedError": "freehold.errors",
    "UserError": "freehold.errors",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever the name stands for)
    if name not in _EXPORTS:
        raise AttributeError(f"module 'freehold' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
