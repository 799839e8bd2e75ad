"""Asking a candidate every held-out example, once, and scoring what it answered.

Answers are kept every two seconds, or when a batch is full, under (candidate, prompt, constrained): after `kill -9`
only what was not kept is asked again. A failed answer is a row with its error and the score 0; the run goes on.

Free decoding comes first. Where the free greedy answer *is* a permitted label, to the character, and ended by itself,
the constrained greedy answer is the same and is not asked for: at every step the free choice was the likeliest of all
tokens and its text a prefix of a permitted label, so it is also the likeliest of the tokens that the constraint allows;
and at the end of a permitted label the constraint allows the end. `tests/evaluation/test_measure_real.py` holds this
through the real engine. For JSON the constraint also decides on white space, so both are always asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from time import monotonic

from msgspec.structs import replace

from freehold.engines.engine import Answer
from freehold.errors import EngineError, FreeholdError
from freehold.evaluation.answerers import CONSTRAINED, FREE, Answerer, permitted
from freehold.evaluation.scorers.registry import Scorer, scorer
from freehold.progress import SILENT, Progress
from freehold.records import AnswerType, Candidate, Example, Row
from freehold.spec import Task
from freehold.store.answers import Answered, Answers

_BATCH = 32
_SECONDS = 2.0
_Known = Mapping[tuple[str, bool], Answered]
_Ways = dict[bool, Answered]


def measure(
    candidate: Candidate,
    answerer: Answerer,
    examples: Sequence[Example],
    task: Task,
    store: Answers,
    progress: Progress = SILENT,
) -> list[Row]:
    """One row an example, in the examples' order. `task` has its labels filled in (`answerers.with_labels`).

    Raises `EngineError` where not one example was answered: then it is the engine, not the candidate, that failed.
    """
    known = store.of(candidate.digest)
    given: list[_Ways] = [{} for _ in examples]
    pending: list[Answered] = []
    kept_at = monotonic()
    with progress.step(f"{candidate.kind.value} held-out", len(examples)) as step:
        try:
            for at, ways in _asked(answerer, examples, task, known):
                given[at] = ways
                pending += [
                    each for each in ways.values() if each.prompt and (each.prompt, each.constrained) not in known
                ]
                if len(pending) >= _BATCH or monotonic() - kept_at > _SECONDS:
                    store.keep(candidate.digest, pending)
                    pending, kept_at = [], monotonic()
                step.advance()
        finally:
            store.keep(candidate.digest, pending)
    rows = _scored(candidate, examples, task, given)
    if rows and all(row.error for row in rows):
        raise EngineError(f"{candidate.name} answered none of the {len(rows)} examples: {rows[0].error}")
    return rows


def _asked(answerer: Answerer, examples: Sequence[Example], task: Task, known: _Known) -> Iterator[tuple[int, _Ways]]:
    """The answers to one example after another, in whatever order they come.

    Only a few are under way at a time, so that answers are never far ahead of what is kept.
    """
    labels = frozenset(permitted(task))
    waiting = iter(enumerate(examples))
    places: dict[Future[_Ways], int] = {}
    with ThreadPoolExecutor(max_workers=answerer.concurrency) as pool:
        try:
            while True:
                for at, example in islice(waiting, 2 * answerer.concurrency - len(places)):
                    places[pool.submit(_ask, answerer, example, labels, known)] = at
                if not places:
                    return
                for future in wait(places, return_when=FIRST_COMPLETED).done:
                    yield places.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ask(answerer: Answerer, example: Example, labels: frozenset[str], known: _Known) -> _Ways:
    """Every way that the answerer can be asked one example: known, implied by the free answer, or asked now."""
    try:
        prompt = answerer.prompt(example.messages)
    except FreeholdError as error:
        return {mode: _failed("", mode, str(error)) for mode in answerer.modes}
    ways: _Ways = {}
    implied = False
    for mode in answerer.modes:
        if (prompt, mode) in known:
            ways[mode] = known[prompt, mode]
        elif mode is CONSTRAINED and implied:
            ways[mode] = _constrained(ways[FREE])
        else:
            ways[mode], implied = _one(answerer, example, prompt, mode, labels)
    return ways


def _one(
    answerer: Answerer, example: Example, prompt: str, mode: bool, labels: frozenset[str]
) -> tuple[Answered, bool]:
    """One answer, and whether it settles what the constrained one would be."""
    try:
        answer = answerer.answer(example.messages, mode)
    except FreeholdError as error:
        return _failed(prompt, mode, str(error)), False
    implied = mode is FREE and answer.finish_reason == "stop" and answer.text in labels
    return _kept(prompt, mode, answer), implied


def _kept(prompt: str, constrained: bool, answer: Answer) -> Answered:
    return Answered(
        prompt=prompt,
        constrained=constrained,
        text=answer.text,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        latency_ms=answer.latency_ms,
    )


def _constrained(free: Answered) -> Answered:
    return replace(free, constrained=True)


def _failed(prompt: str, constrained: bool, error: str) -> Answered:
    return Answered(
        prompt=prompt, constrained=constrained, text="", input_tokens=0, output_tokens=0, latency_ms=0.0, error=error
    )


def _scored(candidate: Candidate, examples: Sequence[Example], task: Task, given: Sequence[_Ways]) -> list[Row]:
    metric = scorer(task.metric, task)
    rows = []
    for example, ways in zip(examples, given, strict=True):
        main = ways.get(CONSTRAINED) or ways[FREE]
        free = ways.get(FREE) if task.answer_type is not AnswerType.TEXT else None
        rows.append(_row(candidate, example, (main, free), metric))
    return rows


def _row(candidate: Candidate, example: Example, answers: tuple[Answered, Answered | None], metric: Scorer) -> Row:
    main, free = answers
    score, error = _score(metric, main, example.reference)
    return Row(
        candidate=candidate.digest,
        example=example.id,
        answer=main.text,
        score=score,
        free_answer=free.text if free else None,
        free_score=_score(metric, free, example.reference)[0] if free else None,
        input_tokens=main.input_tokens,
        output_tokens=main.output_tokens,
        latency_ms=main.latency_ms,
        error=error,
    )


def _score(metric: Scorer, answer: Answered, reference: str) -> tuple[float, str | None]:
    """The score, or 0 and why there is none: a scorer may be a stranger's, and one bad row must not end the run."""
    if answer.error:
        return 0.0, answer.error
    try:
        return metric(answer.text, reference), None
    except Exception as error:
        return 0.0, f"the scorer failed: {type(error).__name__}: {error}"
