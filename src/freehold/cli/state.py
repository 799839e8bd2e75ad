"""`freehold status` and `doctor`: what there is, what is wrong, what to do next."""

import typer

from freehold.cli.output import as_json, say
from freehold.cli.task import JsonOption
from freehold.doctor import FAULT, GOOD, examine
from freehold.status import status as status_of
from freehold.store.workspace import Workspace

_MARKS = {"good": "✔", "warning": "!", "fault": "✘"}


def status(json: JsonOption = False) -> None:
    """What exists in this workspace, and what to do next."""
    found = status_of(Workspace.here())
    if json:
        as_json([{"task": each.task, "lines": each.lines, "next": each.next} for each in found])
        return
    for each in found:
        say(f"{each.task}")
        for line in each.lines:
            say(f"  {line.what:<11} {line.state:<9} {line.detail}".rstrip())
        say(f"  {'next':<11} {each.next}" if each.next else "")
    if not found:
        say("no task has been run here yet; next: freehold run TASKFILE")


def doctor(json: JsonOption = False) -> None:
    """Check this machine and workspace, and say how to mend each finding. Exit code 2 where there is a fault."""
    findings = examine(Workspace.here())
    if json:
        as_json(findings)
    else:
        for each in findings:
            say(f"  {_MARKS[each.level]} {each.what:<11} {each.detail}")
            if each.level != GOOD:
                say(f"    {'':<11} {each.mend}")
    if any(each.level == FAULT for each in findings):
        raise typer.Exit(2)
