"""The error tree: what is drawn on top of errors.py is what is there, and every class ends in its exit code."""

import inspect
import re
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from freehold import errors
from freehold.cli.table import COMMANDS, Command
from freehold.errors import FreeholdError, UserError, did_you_mean

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, FreeholdError)]
_DRAWN = re.compile(
    r"^ {4}(?P<indent>[│├└─ ]*)(?P<name>\w+Error) +exit (?P<exit>\d), HTTP (?P<status>\d+)", re.MULTILINE
)


def _drawn() -> dict[str, tuple[str, int, int]]:
    """Each class in the drawing: its parent, exit code and HTTP status."""
    found: dict[str, tuple[str, int, int]] = {}
    above: dict[int, str] = {-4: "Exception"}
    for match in _DRAWN.finditer(errors.__doc__ or ""):
        depth = len(match["indent"])
        above[depth] = match["name"]
        found[match["name"]] = (above[depth - 4], int(match["exit"]), int(match["status"]))
    return found


def test_every_class_is_drawn_as_it_is() -> None:
    real = {each.__name__: (each.__bases__[0].__name__, each.exit_code, each.http_status) for each in CLASSES}
    assert _drawn() == real


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_docstring_is_a_sentence_and_the_default_message(kind: type[FreeholdError]) -> None:
    text = str(kind())
    assert text == (kind.__doc__ or "").strip()
    assert text[0].isupper() and text.endswith(".") and "\n" not in text
    assert str(kind("no such file")) == "no such file"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_ends_in_its_exit_code_and_one_line(
    kind: type[FreeholdError],
    freehold: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> None:
        raise kind("here is what is wrong")

    module = ModuleType("failing_command")
    module.__dict__["fails"] = fails
    monkeypatch.setitem(sys.modules, "failing_command", module)
    monkeypatch.setitem(COMMANDS, "fails", Command("failing_command:fails", "Fail."))
    assert freehold("fails") == kind.exit_code
    said = capsys.readouterr()
    assert said.err == "here is what is wrong\n"
    assert said.out == ""


def test_what_the_user_can_mend_is_a_client_error_and_what_is_ours_is_a_server_error() -> None:
    for kind in CLASSES:
        if issubclass(kind, UserError):
            assert kind.exit_code == 2
        else:
            assert kind.exit_code != 2
    assert {kind.exit_code for kind in CLASSES} == {1, 2, 3, 4}


def test_a_near_name_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("anwser", ["answer", "source"]) == "; did you mean answer?"
    assert did_you_mean("xyz", ["answer", "source"]) == ""
