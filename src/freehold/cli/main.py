"""`freehold COMMAND …`: looks the command up, runs it, and turns every error into one sentence and an exit code.

Exit codes: 0 done, 1 our fault, 2 the user can mend it, 3 refused by a rule, 4 unknown, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from freehold import __version__
from freehold.cli import crash
from freehold.cli.table import COMMANDS
from freehold.errors import FreeholdError, did_you_mean

INTERRUPTED = 130


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        return _print(_help())
    if arguments[0] in ("--version", "-V"):
        return _print(f"freehold {__version__}")
    name, *rest = arguments
    if name not in COMMANDS:
        return _fail(f"freehold {name}: no such command{did_you_mean(name, COMMANDS)}; `freehold --help` lists them", 2)
    return _run_command(name, rest)


def _run_command(name: str, arguments: Sequence[str]) -> int:
    from typer.exceptions import Abort, Exit, TyperException

    try:
        command = _command(name)
        with command.make_context(f"freehold {name}", list(arguments)) as context:  # not main(): it hides interrupts
            code: Any = command.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except Exit as end:
        return int(end.exit_code)
    except FreeholdError as error:
        return _fail(str(error), error.exit_code)
    except TyperException as error:
        return _fail(f"freehold {name}: {error.format_message()} See `freehold {name} --help`.", 2)
    except (KeyboardInterrupt, Abort):
        return _fail("stopped; the same command goes on from here", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(_os_sentence(error), 2)
    except Exception as error:  # the last boundary: kept whole in a log
        return _fail(crash.sentence(error, name), 1)


def _command(name: str) -> Any:  # noqa: ANN401 (a TyperCommand or TyperGroup; typer is imported late)
    import typer

    module, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(help=COMMANDS[name].help)(target)
        target = app
    return typer.main.get_command(target)


def _os_sentence(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Freehold moves one LLM task from a rented API to an open model that you own.",
            "",
            "  freehold COMMAND [OPTIONS]     `freehold COMMAND --help` explains one",
            "",
            *lines,
            "",
            "Exit codes: 0 done · 1 our fault · 2 you can mend it · 3 refused by a rule · 4 unknown",
        ]
    )


def _print(text: str) -> int:
    sys.stdout.write(text + "\n")
    return 0


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(message + "\n")
    return code
