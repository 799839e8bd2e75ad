"""Work that pages start, in its real child process: looked at, run to the end, stopped, killed."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from console_house import TASK, Filling, write_task

from freehold.console import dataset_look
from freehold.console.pages.tuning import losses_of, pace
from freehold.console.works import Event, Works
from freehold.errors import RefusedError
from freehold.store import jobs, stages
from freehold.store.database import Store, connect
from freehold.store.jobs import Job
from freehold.store.workspace import Workspace

RUN = """\
task: triage
description: Say what kind of thing this is.
data: {source: rows.csv}
tune: {method: lora, rank: 4, learning_rate: 0.01, epochs: 2, batch_tokens: 256}
decide: {margin: 0.5}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / ".freehold")


@pytest.fixture
def store(workspace: Workspace) -> Store:
    return connect(workspace.database_url)


def until(works: Works, store: Store, job: Job, ended: Callable[[Job], bool], seconds: float = 240) -> Job:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found = works.looked_at(jobs.find(store, job.id))
        if ended(found):
            return found
        time.sleep(0.2)
    raise AssertionError(works.printed(job))


def test_a_dataset_is_looked_at(workspace: Workspace, store: Store, tmp_path: Path) -> None:
    Filling(workspace, store, "http://127.0.0.1:1/v1").everything(tmp_path)
    works = Works(workspace, store)
    job = works.start("look", TASK, tmp_path / "task.yaml", "ada")
    with pytest.raises(RefusedError, match="under way already"):
        works.start("look", TASK, tmp_path / "task.yaml", "ada")
    done = until(works, store, job, lambda each: each.outcome is not None)
    assert done.outcome == "done", done.message
    look = dataset_look.read(workspace, stages.finished(store, TASK)["data"].output)
    assert look is not None and look.suspects and look.card.sections


def test_a_failure_is_said_in_a_sentence(workspace: Workspace, store: Store, tmp_path: Path) -> None:
    works = Works(workspace, store)
    (tmp_path / "task.yaml").write_text("task: triage\nanwser: 1\n", encoding="utf-8")
    job = works.start("run", TASK, tmp_path / "task.yaml", "ada")
    done = until(works, store, job, lambda each: each.outcome is not None)
    assert done.outcome == "failed" and "anwser is not a field" in done.message


def test_a_process_that_is_gone_without_a_word(workspace: Workspace, store: Store, tmp_path: Path) -> None:
    works = Works(workspace, store, (sys.executable, "-c", "import time; time.sleep(60)"))
    job = works.start("run", TASK, tmp_path, "ada")
    assert works.is_running(job) and works.resources(job) is not None
    os.kill(job.pid or 0, signal.SIGKILL)
    assert until(works, store, job, lambda each: each.outcome is not None).outcome == "killed"
    again = works.start("run", TASK, tmp_path, "ada")
    works.stop(again)
    assert until(works, store, again, lambda each: each.outcome is not None).outcome == "stopped"


def test_another_process_of_that_number_is_not_taken_for_it(workspace: Workspace, store: Store) -> None:
    job = jobs.begin(store, "run", TASK, "x", "ada")
    jobs.running(store, job.id, os.getpid(), 1.0)
    assert not Works(workspace, store).is_running(jobs.find(store, job.id))


def test_time_left_follows_from_the_last_minute() -> None:
    now = time.time()
    events = [Event(at=now - 100 + at * 10, step="tune", done=at * 10, total=200) for at in range(11)]
    found = pace(events)
    assert found is not None and found.left_s == pytest.approx(100, abs=2)
    assert pace([]) is None and pace(events[:1]) is not None


@pytest.mark.slow
def test_the_whole_flow_runs_as_a_child(tiny_base: Path, workspace: Workspace, store: Store, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, workspace.models / "smollm2-135m-instruct")
    path = write_task(tmp_path)
    path.write_text(RUN, encoding="utf-8")
    works = Works(workspace, store)
    job = works.start("run", TASK, path, "ada")
    until(works, store, job, lambda each: bool(losses_of(works.events(job))) or each.outcome is not None)
    works.stop(job)
    assert until(works, store, job, lambda each: each.outcome is not None).outcome == "stopped"
    again = works.start("run", TASK, path, "ada")
    done = until(works, store, again, lambda each: each.outcome is not None)
    assert done.outcome == "done", done.message
    assert len(losses_of(works.events(again))) >= 1, "the trainer says its loss in words that the page understands"
