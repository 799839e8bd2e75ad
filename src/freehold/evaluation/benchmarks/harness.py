"""Other standard tasks, through lm-eval (EleutherAI's lm-evaluation-harness) from local files: nothing is fetched.

A folder holds lm-eval's own task files (YAML); the data they name lies on this disk. lm-eval formats, scores in torch
and judges every document; figures are made from the documents' scores, with intervals, and paired before and after.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from freehold.errors import DataError, MissingPackageError, NotFoundError, did_you_mean
from freehold.evaluation.benchmarks.continuations import Continuations
from freehold.evaluation.statistics import bootstrap_mean, paired_bootstrap
from freehold.records import Interval, Record
from freehold.render import TOKENIZER_FILE, Renderer

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class Scored(Record, frozen=True, kw_only=True):
    """One task's documents under one metric of lm-eval's, in the documents' order."""

    task: str
    metric: str
    scores: tuple[float, ...]

    @property
    def figure(self) -> Interval:
        return bootstrap_mean(self.scores)


def measure(task: str, folder: Path, base: Path, scores: Continuations, limit: int | None = None) -> tuple[Scored, ...]:
    """Run one of the folder's tasks; raises `NotFoundError` where it holds no such task, `DataError` where it fails."""
    with _offline():
        evaluate, manager, model = _harness(folder, base, scores)
        if task not in manager.all_tasks:
            known = ", ".join(manager.all_tasks) or "no task"
            raise NotFoundError(f"{task}: {folder} holds {known}{did_you_mean(task, manager.all_tasks)}")
        try:
            found = evaluate(
                model=model, tasks=[task], task_manager=manager, limit=limit, log_samples=True, bootstrap_iters=0
            )
        except Exception as error:  # whatever a stranger's task file raises
            raise DataError(f"{folder}: lm-eval cannot run {task}: {type(error).__name__}: {error}") from error
    return tuple(_scored(found["samples"]))


def change(before: Scored, after: Scored) -> Interval:
    """After less before, on the same documents."""
    return paired_bootstrap(after.scores, before.scores)


def _scored(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Scored]:
    """Every metric that gives each document a number."""
    for task, documents in sorted(samples.items()):
        for metric in documents[0]["metrics"] if documents else ():
            values = [document[metric] for document in documents]
            if all(isinstance(value, int | float) for value in values):
                yield Scored(task=task, metric=metric, scores=tuple(map(float, values)))


def _harness(folder: Path, base: Path, scores: Continuations) -> tuple[Any, Any, Any]:
    """lm-eval's evaluator, the folder's tasks, and the model in lm-eval's hands."""
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise MissingPackageError("this needs lm-eval; install it with: pip install 'freehold[benchmarks]'") from None
    from transformers import PreTrainedTokenizerFast

    template = Renderer(base).template
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(base / TOKENIZER_FILE), eos_token=template.eos_token, pad_token=template.eos_token
    )
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate, manager, HFLM(pretrained=scores.model, tokenizer=tokenizer, batch_size=1)


@contextmanager
def _offline() -> Iterator[None]:
    """No hub is asked, and lm-eval's own bars stay off the terminal."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(_OFFLINE)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
