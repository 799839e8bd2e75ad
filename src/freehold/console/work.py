"""The child process of one job, `python -m freehold.console.work WORKSPACE JOB`: how far it is, and how it ended."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from freehold import pipeline, spec
from freehold.console import dataset_look
from freehold.console.works import Event
from freehold.errors import FreeholdError
from freehold.progress import Progress, Step
from freehold.store import jobs
from freehold.store.database import connect
from freehold.store.jobs import Job
from freehold.store.workspace import Workspace

EVERY_S = 0.5


class Written:
    """A `Progress` that writes events for whoever looks, at most two a second and step."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    @contextmanager
    def _begun(self, name: str, total: int | None) -> Iterator[Step]:
        step = _WrittenStep(self, name, total)
        step.write()
        yield step
        step.write()

    def step(self, name: str, total: int | None = None) -> AbstractContextManager[Step]:
        return self._begun(name, total)

    def say(self, name: str, message: str) -> None:
        self.write(Event(at=time.time(), step=name, note=message))

    def write(self, event: Event) -> None:
        with self._path.open("ab") as out:
            out.write(msgspec.json.encode(event) + b"\n")


class _WrittenStep:
    def __init__(self, to: Written, name: str, total: int | None) -> None:
        self._to, self._name, self._total = to, name, total
        self._done, self._note, self._written = 0, "", 0.0

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done, self._note = self._done + count, note or self._note
        if time.monotonic() - self._written > EVERY_S:
            self.write()

    def total(self, count: int) -> None:
        self._total = count

    def write(self) -> None:
        self._written = time.monotonic()
        self._to.write(Event(at=time.time(), step=self._name, done=self._done, total=self._total, note=self._note))


def _run(job: Job, workspace: Workspace, progress: Progress) -> str:
    outcome = pipeline.run(spec.load(Path(job.path)), workspace, progress)
    return f"{outcome.decision.verdict} · report {outcome.report.digest[:12]}"


def _look(job: Job, workspace: Workspace, progress: Progress) -> str:
    return dataset_look.prepare(spec.load(Path(job.path)), workspace, progress)


KINDS: dict[str, Callable[[Job, Workspace, Progress], str]] = {"run": _run, "look": _look}


def main(root: str, id: str) -> int:
    """Do one job, and write down how it ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to stop, as by Ctrl-C
    workspace = Workspace(Path(root))
    store = connect(workspace.database_url)
    job = jobs.find(store, id)
    progress = Written(workspace.root / "jobs" / f"{id}.jsonl")
    try:
        jobs.end(store, id, "done", KINDS[job.kind](job, workspace, progress))
    except KeyboardInterrupt:
        jobs.end(store, id, "stopped", "stopped; start it again, and it goes on from its last checkpoint")
    except FreeholdError as error:
        jobs.end(store, id, "failed", str(error))
        return error.exit_code
    except Exception as error:  # the last boundary of this process
        jobs.end(store, id, "failed", f"{type(error).__name__}: {error}; its log says more")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
