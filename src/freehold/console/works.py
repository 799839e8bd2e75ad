"""Work that pages start: child processes that outlive a page and a restart of the server, tracked as jobs in the store.

    .freehold/jobs/<id>.jsonl   how far it is, one event a line     .freehold/jobs/<id>.log   what it printed

A process is known by its number and the moment it began, so that a later one of that number is not taken for it.
"""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from freehold.errors import RefusedError
from freehold.records import Record
from freehold.store import jobs
from freehold.store.database import Store
from freehold.store.jobs import Job
from freehold.store.workspace import Workspace

COMMAND = (sys.executable, "-m", "freehold.console.work")
PATIENCE_S = 20.0


class Event(Record, frozen=True, kw_only=True):
    """How far a step is at a time (seconds since 1970): `done` of `total` (None: nobody knows), and what it says."""

    at: float
    step: str
    done: int = 0
    total: int | None = None
    note: str = ""


class Resources(Record, frozen=True, kw_only=True):
    """What a running job takes now: bytes of memory, and processor time as a share of one core."""

    memory: int
    cores: float


class Works:
    """Starts, watches and stops jobs. `command` is what is run, with the workspace and the job's id added."""

    def __init__(self, workspace: Workspace, store: Store, command: Sequence[str] = COMMAND) -> None:
        self._workspace, self._store, self._command = workspace, store, command
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._asked: set[str] = set()  # to stop
        self._lock = threading.Lock()

    def start(self, kind: str, task: str, path: Path, by: str) -> Job:
        """Begin a job; raises `RefusedError` where one of that kind is at work on the task."""
        with self._lock:
            if any(self.is_running(each) for each in jobs.newest(self._store, 20, task, kind)):
                raise RefusedError(f"{task}: this is under way already; stop it first, or wait for it")
            job = jobs.begin(self._store, kind, task, str(path), by)
            log = self._file(job, "log")
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as out:
                words = [*self._command, str(self._workspace.root), job.id]
                child = subprocess.Popen(
                    words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
                )
            self._children[job.id] = child
            jobs.running(self._store, job.id, child.pid, psutil.Process(child.pid).create_time())
        return jobs.find(self._store, job.id)

    def stop(self, job: Job) -> None:
        """Ask a job to end; it keeps what it has done. One that does not listen is ended after a while."""
        process = self._process(job)
        if process is None:
            return
        self._asked.add(job.id)
        process.terminate()
        threading.Thread(target=_make_sure, args=(process,), daemon=True).start()

    def looked_at(self, job: Job) -> Job:
        """The job as it is now; one whose process went without a word is written down as killed."""
        if job.outcome is None and not self.is_running(job):
            latest = jobs.find(self._store, job.id)
            if latest.outcome is None:
                asked = job.id in self._asked  # before it could listen, or after it was given time to
                outcome, why = ("stopped", "was ended") if asked else ("killed", "its process is gone and left no word")
                jobs.end(
                    self._store, job.id, outcome, f"{why}; start it again, and it goes on from its last checkpoint"
                )
                latest = jobs.find(self._store, job.id)
            return latest
        return job

    def is_running(self, job: Job) -> bool:
        return job.outcome is None and self._process(job) is not None

    def resources(self, job: Job) -> Resources | None:
        """What a job's process and its children take; None where it does not run."""
        process = self._process(job)
        if process is None:
            return None
        memory, cores = 0, 0.0
        for each in (process, *process.children(recursive=True)):
            try:
                memory += each.memory_info().rss
                cores += each.cpu_percent(interval=0.02) / 100
            except psutil.Error:
                continue  # it ended just now
        return Resources(memory=memory, cores=cores)

    def events(self, job: Job) -> list[Event]:
        """How far a job came, oldest first."""
        path = self._file(job, "jsonl")
        if not path.is_file():
            return []
        found = []
        for line in path.read_bytes().splitlines():
            try:
                found.append(msgspec.json.decode(line, type=Event))
            except msgspec.MsgspecError:
                continue  # the last line of a process that was killed
        return found

    def printed(self, job: Job, most: int = 4000) -> str:
        """The end of what a job printed."""
        path = self._file(job, "log")
        return path.read_bytes()[-most:].decode(errors="replace") if path.is_file() else ""

    def _file(self, job: Job, ending: str) -> Path:
        return self._workspace.root / "jobs" / f"{job.id}.{ending}"

    def _process(self, job: Job) -> psutil.Process | None:
        child = self._children.get(job.id)
        if child is not None and child.poll() is not None:
            return None
        try:
            process = psutil.Process(job.pid) if job.pid else None
            alive = process is not None and process.status() != psutil.STATUS_ZOMBIE
            same = process is not None and abs(process.create_time() - (job.pid_started or 0)) < 1
        except psutil.Error:
            return None
        return process if alive and same else None


def _make_sure(process: psutil.Process) -> None:
    try:
        process.wait(PATIENCE_S)
    except psutil.TimeoutExpired:
        process.kill()
