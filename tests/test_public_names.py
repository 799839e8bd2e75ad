"""The library API: these names and no others, each explained, none of them costly to have at hand."""

import subprocess
import sys

import pytest

import freehold

NAMES = {
    "SILENT",
    "Candidate",
    "Dataset",
    "Decision",
    "Engine",
    "EngineError",
    "Example",
    "FreeholdError",
    "LlamaCpp",
    "Message",
    "Prompt",
    "RefusedError",
    "Renderer",
    "Report",
    "Task",
    "TaskFile",
    "UndeterminedError",
    "UserError",
    "Workspace",
    "__version__",
    "load",
    "pull",
    "run",
}


def test_the_public_names_are_these() -> None:
    assert set(freehold.__all__) == NAMES
    assert len(freehold.__all__) == len(NAMES)
    assert set(dir(freehold)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_each_is_there_and_explained(name: str) -> None:
    value = getattr(freehold, name)
    own = value.__doc__ if isinstance(value, type) or callable(value) else type(value).__doc__
    assert own, f"freehold.{name} has no docstring"
    assert own.strip()[0].isupper() or own.strip()[0] == "`"


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        freehold.nothing  # noqa: B018 (the look-up is what is tested)


def test_importing_freehold_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import freehold; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names] == [
        "freehold"
    ]
