"""Programs: pass@k (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", section 2.1).

A file holds one problem a line: what is asked, and the tests that a right program passes. Every problem is answered
several times at a temperature, each answer with a seed of its own, and run in a child process on a short leash.
"""

from collections.abc import Sequence
from pathlib import Path

from freehold.data import typed_lines
from freehold.engines.chat import Chat
from freehold.engines.engine import Sampling
from freehold.errors import UserError
from freehold.evaluation.asking import Asked
from freehold.evaluation.scorers.program import pass_at_k, passes
from freehold.evaluation.statistics import bootstrap_mean
from freehold.progress import SILENT, Progress
from freehold.records import Interval, Message, Record

_LONGEST = 512
_TEMPERATURE = 0.8


class Problem(Record, frozen=True, kw_only=True):
    """What is asked, and Python that raises where the program is wrong."""

    prompt: str
    tests: str


class Passed(Record, frozen=True, kw_only=True):
    """How many of `samples` programs passed, problem by problem."""

    model: str
    samples: int
    right: tuple[int, ...]

    def at(self, k: int) -> Interval:
        """The chance that one of k programs passes: the mean over problems, which are resampled."""
        if not 1 <= k <= self.samples:
            raise UserError(f"pass@{k} needs at least {k} samples a problem; there are {self.samples}")
        return bootstrap_mean([pass_at_k(self.samples, each, k) for each in self.right])


def read(path: Path) -> list[Problem]:
    """The problems of a JSONL file; raises `DataError` naming the line that is wrong."""
    return [problem for _, problem in typed_lines.read(path, Problem, "problems")]


def measure(asked: Asked, problems: Sequence[Problem], samples: int, progress: Progress = SILENT) -> Passed:
    """Ask and run every problem `samples` times; an answer that failed is a program that does not pass."""
    requests = [
        Chat(
            messages=(Message(role="user", content=each.prompt),),
            sampling=Sampling(max_tokens=_LONGEST, temperature=_TEMPERATURE, seed=seed),
        )
        for each in problems
        for seed in range(samples)
    ]
    answers = asked.all(requests, progress)
    right = []
    with progress.step("run", len(problems)) as step:
        for at, each in enumerate(problems):
            mine = answers[at * samples : (at + 1) * samples]
            right.append(sum(passes(answer.text, each.tests) == 1 for answer in mine if not answer.error))
            step.advance()
    return Passed(model=asked.name, samples=samples, right=tuple(right))
