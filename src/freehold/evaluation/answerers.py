"""What can be asked: an engine with a prompt, a plain classifier, a remote endpoint, or what the incumbent once said.

Each says which ways it can be asked (`modes`: free, constrained or both) and how many requests it takes at once.
"""

import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from freehold.engines.chat import Chat, ChatEndpoint
from freehold.engines.engine import Answer, Completion, Constraint, Engine, JsonSchema, Labels, Sampling
from freehold.errors import DataError
from freehold.evaluation.classifier import Classifier
from freehold.evaluation.prompted import JSON_TOKENS, LABEL_SPARE, answer_tokens
from freehold.records import Example, Message, digest
from freehold.render import Prompt, Renderer
from freehold.spec import JsonAnswer, LabelAnswer, Task

FREE, CONSTRAINED = False, True


class Answerer(Protocol):
    """Whatever can be measured."""

    @property
    def modes(self) -> tuple[bool, ...]:
        """`FREE`, `CONSTRAINED`, or both in this order."""

    @property
    def concurrency(self) -> int:
        """How many requests it takes at once."""

    def prompt(self, messages: Sequence[Message]) -> str:
        """The digest of everything, besides the candidate, that its answer depends on."""

    def answer(self, messages: Sequence[Message], constrained: bool) -> Answer:
        """Answer one conversation; raises a `FreeholdError` where it cannot."""


@dataclass(frozen=True)
class EngineAnswerer:
    """A base under a prompt, with an adapter or without, decoded greedily.

    A free answer to a label task is decoded as long as it may still become a permitted label: its first token tells
    that of most answers that will not, and what would follow could not make them right (`exact_match` is 0 either way).
    """

    engine: Engine
    renderer: Renderer
    wording: Prompt
    task: Task
    adapter: str | None = None
    concurrency: int = 4

    @property
    def modes(self) -> tuple[bool, ...]:
        return (FREE,) if constraint(self.task) is None else (FREE, CONSTRAINED)

    def prompt(self, messages: Sequence[Message]) -> str:
        ids = self.renderer.ids(self.wording.messages(messages))
        return digest([ids, self._max_tokens(), constraint(self.task)])

    def answer(self, messages: Sequence[Message], constrained: bool) -> Answer:
        rule = constraint(self.task) if constrained else None
        ids = self.renderer.ids(self.wording.messages(messages))
        if not constrained and isinstance(self.task.answer, LabelAnswer):
            first = self._complete(ids, Sampling(max_tokens=1))
            if first.finish_reason == "stop" or not may_become(first.text, permitted(self.task)):
                return first
        return self._complete(ids, Sampling(max_tokens=self._max_tokens(), constraint=rule))

    def _complete(self, ids: tuple[int, ...], sampling: Sampling) -> Answer:
        return self.engine.complete(Completion(prompt=ids, sampling=sampling, adapter=self.adapter))

    def _max_tokens(self) -> int:
        return answer_tokens(self.task, self.renderer)


@dataclass(frozen=True)
class ClassifierAnswerer:
    """The plain classifier: it cannot answer anything but a label that it was trained on."""

    classifier: Classifier
    modes: tuple[bool, ...] = (CONSTRAINED,)
    concurrency: int = 1

    def prompt(self, messages: Sequence[Message]) -> str:
        return digest(messages)

    def answer(self, messages: Sequence[Message], constrained: bool) -> Answer:
        began = time.perf_counter()
        label, _ = self.classifier.answer(_last_user_turn(messages))
        return _untokenised(label, (time.perf_counter() - began) * 1000)


@dataclass(frozen=True)
class RemoteAnswerer:
    """A model behind somebody's API, under the prompt that a careful person would write; it is asked freely only."""

    endpoint: ChatEndpoint
    wording: Prompt
    task: Task
    concurrency: int = 8
    modes: tuple[bool, ...] = (FREE,)

    def prompt(self, messages: Sequence[Message]) -> str:
        return digest([self.wording.messages(messages), self._max_tokens()])

    def answer(self, messages: Sequence[Message], constrained: bool) -> Answer:
        sampling = Sampling(max_tokens=self._max_tokens())
        return self.endpoint.chat(Chat(messages=self.wording.messages(messages), sampling=sampling))

    def _max_tokens(self) -> int:
        """Its tokenizer is not ours: no token is shorter than a byte, which bounds the longest label."""
        if isinstance(self.task.answer, LabelAnswer):
            return max(len(label.encode()) for label in permitted(self.task)) + LABEL_SPARE
        return JSON_TOKENS if isinstance(self.task.answer, JsonAnswer) else self.task.answer.max_tokens


class RecordedAnswerer:
    """The incumbent as recorded: what it answered when the message came in. Its latency and tokens are unknown (0).

    Measure it on `examples` that have an answer on record: one that was never asked is not one that failed.
    """

    modes = (FREE,)
    concurrency = 1

    def __init__(self, examples: Iterable[Example]) -> None:
        self._answers = {digest(example.messages): example.incumbent_answer for example in examples}

    def prompt(self, messages: Sequence[Message]) -> str:
        return digest([messages, self._answers.get(digest(messages))])

    def answer(self, messages: Sequence[Message], constrained: bool) -> Answer:
        recorded = self._answers.get(digest(messages))
        if recorded is None:
            raise DataError("no answer of the incumbent is on record for this message")
        return _untokenised(recorded, 0.0)


def may_become(text: str, labels: Iterable[str]) -> bool:
    """Whether what was decoded so far may still become one of the labels, as `exact_match` compares them.

    Decomposed, so that a letter whose accent is still to come counts; half a character's bytes come as U+FFFD.
    """
    begun = unicodedata.normalize("NFD", text.lstrip().rstrip("\ufffd"))
    return any(unicodedata.normalize("NFD", label).startswith(begun.rstrip()) for label in labels)


def constraint(task: Task) -> Constraint | None:
    """What decoding is held to: the task's labels, its schema, or nothing for text."""
    if isinstance(task.answer, LabelAnswer):
        return Labels(labels=permitted(task))
    return JsonSchema(json_schema=task.answer.json_schema) if isinstance(task.answer, JsonAnswer) else None


def permitted(task: Task) -> tuple[str, ...]:
    """The labels of a task; raises `DataError` where they were not filled in from the dataset (`with_labels`)."""
    if isinstance(task.answer, LabelAnswer) and not task.answer.labels:
        raise DataError(f"{task.task}: the labels are not known yet; they come from the dataset")
    return getattr(task.answer, "labels", None) or ()


def with_labels(task: Task, labels: Sequence[str]) -> Task:
    """The task with the dataset's labels filled in where the file left them out."""
    if not isinstance(task.answer, LabelAnswer) or task.answer.labels:
        return task
    return task.model_copy(update={"answer": LabelAnswer(labels=tuple(labels))})


def _last_user_turn(messages: Sequence[Message]) -> str:
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


def _untokenised(text: str, latency_ms: float) -> Answer:
    return Answer(
        text=text, input_tokens=0, output_tokens=0, cached_tokens=0, finish_reason="stop", latency_ms=latency_ms
    )
