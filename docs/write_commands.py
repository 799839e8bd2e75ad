"""Writes docs/commands.md from the commands themselves (`make docs`); tests/test_docs.py fails where it is stale."""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from freehold.cli.main import _command
from freehold.cli.table import COMMANDS

PAGE = Path(__file__).parent / "commands.md"
_HEAD = """\
# Commands

Every command and option, written by `make docs` from the commands themselves. What they are for stands in the
[other pages](index.md).

Exit codes: 0 done, 1 our fault, 2 you can mend it, 3 refused by a rule (rights, parity, decision), 4 unknown, 130
interrupted. `--json` prints one JSON document and nothing else on standard output.
"""


def page() -> str:
    """The whole page."""
    sections = [section for name in COMMANDS for section in _sections(f"freehold {name}", _command(name))]
    return "\n".join([_HEAD, *sections])


def _sections(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401 (a typer command or group)
    groups = dict(getattr(command, "commands", {}))
    if not groups or getattr(command, "invoke_without_command", False) or _parameters(command):
        yield _section(name, command)
    for each, sub in groups.items():
        yield from _sections(f"{name} {each}", sub)


def _section(name: str, command: Any) -> str:  # noqa: ANN401
    arguments = [each for each in _parameters(command) if each.param_type_name == "argument"]
    title = " ".join([name, *(_argument(each) for each in arguments)])
    about = " ".join((command.help or "").split("\n\n")[0].split())
    rows = [f"| `{_spelling(each)}` | {_meaning(each)} |" for each in _parameters(command)]
    lines = [f"## `{title}`", "", about, ""]
    return "\n".join([*lines, "| | |", "|---|---|", *rows, ""] if rows else lines)


def _parameters(command: Any) -> list[Any]:  # noqa: ANN401
    return [each for each in command.params if not getattr(each, "hidden", False) and each.name != "help"]


def _argument(parameter: Any) -> str:  # noqa: ANN401
    name = (parameter.metavar or str(parameter.name).upper()).strip("[]…") + ("…" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _spelling(parameter: Any) -> str:  # noqa: ANN401
    if parameter.param_type_name == "argument":
        return _argument(parameter)
    both = "/".join([*parameter.opts, *parameter.secondary_opts])
    return both if parameter.is_flag else f"{both} {_value(parameter.type_descriptor.annotation)}"


def _value(annotation: Any) -> str:  # noqa: ANN401
    if get_origin(annotation) is Literal:
        return "/".join(map(str, get_args(annotation)))
    if get_args(annotation):
        return _value(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "/".join(str(each.value) for each in annotation)
    return {"int": "NUMBER", "float": "NUMBER", "Path": "PATH"}.get(annotation.__name__, "TEXT")


def _meaning(parameter: Any) -> str:  # noqa: ANN401
    said = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    default = parameter.default
    if parameter.required or default is None or default in ("", (), False) or callable(default):
        return said
    shown = "on" if default is True else getattr(default, "value", default)
    return f"{said} Default: `{shown}`.".strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
