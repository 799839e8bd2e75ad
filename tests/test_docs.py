"""The docs are tests: what exists is documented, and what is documented exists.

Every `$ freehold …` line in a ```console block must parse with the command's own parser. A block below the comment
`<!-- run -->` is really run, in a folder that begins as a copy of examples/frontline and that the blocks of one page
share; where output stands below a command it must be what is printed, with `…` for any text.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from freehold import spec
from freehold.cli.main import _command
from freehold.cli.table import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
BLOCK = re.compile(r"(?P<run><!-- run -->\n)?```(?P<kind>console|yaml)\n(?P<text>.*?)```", re.DOTALL)
ENVIRONMENT = re.compile(
    r"""(?:environ(?:\.get|\.setdefault|\.pop)?\s*[\[(]\s*|getenv\(\s*)["']([A-Z][A-Z0-9_]+)["']|["'](FREEHOLD_[A-Z_]+)["']"""
)


def _blocks(kind: str) -> Iterator[Any]:
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if match["kind"] == kind:
                line = page.read_text(encoding="utf-8")[: match.start()].count("\n") + 1
                yield pytest.param(match["text"], bool(match["run"]), id=f"{page.relative_to(ROOT)}:{line}")


# -- what exists is documented ---------------------------------------------------------------------------------------


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    location = importlib.util.spec_from_file_location("write_commands", ROOT / "docs" / "write_commands.py")
    assert location and location.loader
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    if module.PAGE.read_text(encoding="utf-8") != module.page():
        pytest.fail("docs/commands.md is stale; run: python docs/write_commands.py", pytrace=False)


def test_every_command_has_a_place_in_a_page_of_its_own() -> None:
    pages = [page for page in PAGES if page.name not in ("commands.md", "CHANGELOG.md") and page.parent.name == "docs"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    missing = [name for name in COMMANDS if not re.search(rf"freehold {name}\b", text)]
    assert not missing, "no page in docs/ says what these commands are for"


def _fields(schema: dict[str, Any], section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, about in section.get("properties", {}).items():
        yield prefix + name
        for reference in re.findall(r"'#/\$defs/(\w+)'", str(about)):
            yield from _fields(schema, schema["$defs"][reference], f"{prefix}{name}.")


def test_every_field_of_the_task_file_is_documented() -> None:
    schema = spec.schema()
    text = (ROOT / "docs" / "task-file.md").read_text(encoding="utf-8")
    missing = [field for field in dict.fromkeys(_fields(schema, schema)) if f"`{field}`" not in text]
    assert not missing, "docs/task-file.md does not say what these fields mean"


def test_every_documented_field_of_the_task_file_exists() -> None:
    schema = spec.schema()
    text = (ROOT / "docs" / "task-file.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE))
    assert documented == set(_fields(schema, schema))


def test_every_environment_variable_that_is_read_is_documented() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    names = {first or second for first, second in ENVIRONMENT.findall(source)}
    assert {"FREEHOLD_HOME", "FREEHOLD_DATABASE", "FREEHOLD_DEBUG"} <= names
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [name for name in sorted(names) if f"`{name}`" not in text and f"`${name}`" not in text]


def test_the_index_leads_to_every_page() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md" and page.name not in text]


# -- what is documented exists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


def _freehold_lines(text: str) -> Iterator[list[str]]:
    """The arguments of every call of freehold in a console block."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            words = shlex.split(line[2:], comments=True)
            while words and "=" in words[0]:
                del words[0]
            if words and words[0] == "freehold":
                ends = [at for at, word in enumerate(words) if word in ("|", ">", "&", "&&", ";", "2>")]
                yield words[1 : ends[0] if ends else None]


def _parse(command: Any, name: str, arguments: list[str]) -> None:  # noqa: ANN401
    """Parse as the command would, subcommands too, and run nothing."""
    from typer.exceptions import Exit

    try:
        context = command.make_context(name, list(arguments))
    except Exit:  # --help
        return
    rest = [*getattr(context, "_protected_args", []), *context.args]
    if rest and getattr(command, "commands", None):
        sub, found, left = command.resolve_command(context, rest)
        assert found is not None, f"{name} {sub}"
        _parse(found, f"{name} {sub}", left)


@pytest.mark.parametrize(("text", "run"), list(_blocks("console")))
def test_every_command_line_parses(text: str, run: bool) -> None:
    for arguments in _freehold_lines(text):
        if not arguments or arguments[0] in ("--help", "--version"):
            continue
        assert arguments[0] in COMMANDS, f"freehold {arguments[0]} does not exist"
        _parse(_command(arguments[0]), f"freehold {arguments[0]}", arguments[1:])


def test_a_wrong_command_line_would_be_found() -> None:
    from typer.exceptions import TyperException

    (arguments,) = _freehold_lines("$ X=1 freehold models show --nonsense | head  # why\n")
    assert arguments == ["models", "show", "--nonsense"]
    with pytest.raises(TyperException):
        _parse(_command("models"), "freehold models", arguments[1:])


@pytest.mark.parametrize(("text", "run"), list(_blocks("yaml")))
def test_every_task_file_in_the_docs_loads(text: str, run: bool, tmp_path: Path) -> None:
    content = yaml.safe_load(text)
    assert isinstance(content, dict)
    if "task" in content:
        (tmp_path / "freehold.yaml").write_text(text, encoding="utf-8")
        spec.load(tmp_path / "freehold.yaml")


# -- blocks that are run ---------------------------------------------------------------------------------------------


def _pages_with_runs() -> list[Path]:
    return [page for page in PAGES if "\n<!-- run -->\n" in page.read_text(encoding="utf-8")]


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `freehold` is the one under test."""
    program = tmp_path / "bin" / "freehold"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from freehold.cli.main import main; main()" "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}


def _steps(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a block and the output that stands below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def _matches(expected: str, printed: str) -> bool:
    pattern = ".*?".join(re.escape(piece) for piece in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


@pytest.mark.parametrize("page", _pages_with_runs(), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_is_what_happens(page: Path, shell: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "frontline"
    shutil.copytree(ROOT / "examples" / "frontline", folder, ignore=shutil.ignore_patterns(".freehold"))
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match["kind"] == "console" and match["run"]:
            for command, expected in _steps(match["text"]):
                done = subprocess.run(
                    ["sh", "-c", command],
                    cwd=folder,
                    env=shell,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=120,
                )
                assert not expected.strip() or _matches(expected, done.stdout), f"$ {command}\n{done.stdout}"
                assert expected.strip() or done.returncode == 0, f"$ {command}\n{done.stdout}"


def test_some_blocks_are_run() -> None:
    assert _pages_with_runs()
