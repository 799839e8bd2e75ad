"""A run on no engine: `fake_run.py WORKSPACE JOB` says how its loss falls for a while, as the real child does."""

import signal
import sys
import time
from pathlib import Path

from freehold.console.work import Written
from freehold.store import jobs
from freehold.store.database import connect
from freehold.store.workspace import Workspace

STEPS, PAUSE_S = 60, 0.1


def main(root: str, id: str) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    workspace = Workspace(Path(root))
    store = connect(workspace.database_url)
    progress = Written(workspace.root / "jobs" / f"{id}.jsonl")
    try:
        progress.say("data", "a dataset of <b>markup</b>")
        with progress.step("tune", STEPS) as step:
            for at in range(1, STEPS + 1):
                time.sleep(PAUSE_S)
                step.advance(1, f"epoch 1/1  loss {2 / at:.2f} (val 0.5)  {500} tok/s")
        jobs.end(store, id, "done", "switch")
    except KeyboardInterrupt:
        jobs.end(store, id, "stopped", "stopped; start it again, and it goes on from its last checkpoint")


if __name__ == "__main__":
    main(*sys.argv[1:])
