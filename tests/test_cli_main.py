"""The command line's own behaviour: light to start, one sentence on every fault, one document where --json is asked."""

import json
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from freehold.cli.table import COMMANDS, Command

HEAVY = {"torch", "transformers", "typer", "rich", "pydantic", "sqlalchemy", "numpy", "scipy", "sklearn", "starlette"}


def _in_a_new_process(*arguments: str) -> tuple[int, str, set[str]]:
    """Exit code, standard output, and the names of the packages that were imported."""
    code = (
        "import sys; from freehold.cli.main import run; code = run(sys.argv[1:]); sys.stdout.flush();"
        "sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, {name.partition(".")[0] for name in done.stderr.split()}


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let `freehold fails` raise this."""

    def install(error: BaseException) -> None:
        def command() -> None:
            raise error

        module = ModuleType("failing_command")
        module.__dict__["command"] = command
        monkeypatch.setitem(sys.modules, "failing_command", module)
        monkeypatch.setitem(COMMANDS, "fails", Command("failing_command:command", "Fail."))

    return install


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(argument: str) -> None:
    code, out, modules = _in_a_new_process(argument)
    assert code == 0 and out
    assert not modules & HEAVY


def test_help_lists_every_command_with_its_sentence() -> None:
    _, out, _ = _in_a_new_process("--help")
    for name, command in COMMANDS.items():
        assert f"  {name} " in out
        assert command.help in out
        assert command.help.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_its_own_help(
    name: str, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold(name, "--help") == 0
    said = capsys.readouterr()
    assert f"Usage: freehold {name}" in said.out
    assert said.err == ""


def test_an_unknown_command_names_a_near_one(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("plann") == 2
    assert capsys.readouterr().err.startswith("freehold plann: no such command; did you mean plan?")


def test_an_unknown_option_is_one_line_and_exit_2(
    freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("plan", "--jsn") == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "--jsn" in said.err and "freehold plan --help" in said.err


def test_json_is_one_document_and_nothing_else(
    freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("spec", "--schema") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["properties"]["task"]
    assert said.err == ""


def test_an_interrupt_is_130(
    freehold: Callable[..., int], fails: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fails(KeyboardInterrupt())
    assert freehold("fails") == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"


def test_a_reader_that_left_is_no_fault() -> None:
    code = "import sys; from freehold.cli.main import run; code = run(['spec', '--schema']); sys.exit(code)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_what_the_system_refuses_is_one_sentence(
    freehold: Callable[..., int], fails: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fails(PermissionError(13, "Permission denied", "locked.csv"))
    assert freehold("fails") == 2
    assert capsys.readouterr().err == "locked.csv: Permission denied\n"


def test_a_fault_of_ours_is_one_sentence_and_a_log(
    freehold: Callable[..., int],
    fails: Callable[[BaseException], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / ".freehold").mkdir()
    fails(ZeroDivisionError("asked by jane@example.com with sk-proj-abcdefghijklmnopqrstuvwx1234567890"))
    assert freehold("fails") == 1
    said = capsys.readouterr()
    (log,) = (tmp_path / ".freehold" / "logs").iterdir()
    assert said.err == f"freehold fails: a fault in Freehold (ZeroDivisionError); please report it with {log}\n"
    text = log.read_text()
    assert "Traceback" in text and "ZeroDivisionError" in text
    assert "jane@example.com" not in text and "sk-proj" not in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_without_a_workspace_the_log_is_temporary_and_none_is_made(
    freehold: Callable[..., int],
    fails: Callable[[BaseException], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    fails(ZeroDivisionError("oh"))
    assert freehold("fails") == 1
    (log,) = elsewhere.iterdir()
    assert capsys.readouterr().err.endswith(f"{log}\n")
    assert not (tmp_path / ".freehold").exists()


def test_debug_shows_the_traceback_and_keeps_no_log(
    freehold: Callable[..., int],
    fails: Callable[[BaseException], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FREEHOLD_DEBUG", "1")
    (tmp_path / ".freehold").mkdir()
    fails(ZeroDivisionError("oh"))
    assert freehold("fails") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    assert not list((tmp_path / ".freehold").iterdir())
