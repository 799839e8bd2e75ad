"""`freehold demo --traffic`: an invented day of traffic, so that there is something to look at."""

from pathlib import Path

from freehold.cli.output import as_json, say
from freehold.store.database import connect
from freehold.store.workspace import Workspace

_NEXT = ("freehold exchanges", "freehold usage --by key,model", "freehold tasks", "freehold serve")


def record_day(folder: Path, json: bool) -> None:
    """Record the day in a folder's workspace, and say what to look at."""
    from freehold.gateway import demo_traffic

    workspace = Workspace.beside(folder / "traffic.yaml")
    store = connect(workspace.database_url)
    try:
        made = demo_traffic.make(workspace, store)
    finally:
        store.dispose()
    if json:
        return as_json({"workspace": str(workspace.root), **made._asdict()})
    what = "invented requests of the last 24 hours"
    say(f"  {made.exchanges:,} {what}, {made.attempts:,} attempts, {made.failed} failed or broke off")
    say(f"  {made.said} judged by people · keys {', '.join(made.keys)} · all tagged demo=traffic")
    say(f"  workspace  {workspace.root}")
    for at, command in enumerate((f"cd {folder}", *_NEXT)):
        say(f"  {'next' if at == 0 else '':<10} {command}")
    return None
