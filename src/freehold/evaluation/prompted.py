"""How a careful person would prompt a base: the task in words, what may be answered, and a few worked examples.

The part that never changes comes first, so that an engine's prefix cache holds it. Worked examples come from the
training examples only (invariant 1) and are drawn by their own content: the same data gives the same prompt.
"""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from freehold.errors import DataError
from freehold.records import Example, Split, canonical
from freehold.render import Prompt, Renderer, Shot
from freehold.spec import JsonAnswer, LabelAnswer, Task

LABEL_SHOTS = 12
OTHER_SHOTS = 4
LABEL_SPARE = 8
JSON_TOKENS = 512


def careful_prompt(task: Task, train: Sequence[Example], renderer: Renderer, context_length: int) -> Prompt:
    """The prompt with as many worked examples as fit beside the longest training message and its answer.

    `task` has its labels filled in. Raises `DataError` where not even the instruction fits the context (in tokens).
    """
    if any(example.split is not Split.TRAIN for example in train):
        raise DataError("worked examples may come from training examples only")
    room = context_length - answer_tokens(task, renderer)
    longest = max((example.messages for example in train), key=lambda turns: sum(len(m.content) for m in turns))
    shots = tuple(Shot(input=example.text, answer=example.reference) for example in _worked(task, train))
    for count in range(len(shots), -1, -1):
        prompt = Prompt(system=instruction(task), shots=shots[:count])
        if len(renderer.ids(prompt.messages(longest))) <= room:
            return prompt
    raise DataError(
        f"the instruction of {task.task} does not fit into {context_length} tokens; shorten its description or labels"
    )


def instruction(task: Task) -> str:
    """The system message: the description, then what an answer may be."""
    answer = task.answer
    if isinstance(answer, LabelAnswer):
        listed = "\n".join(f"- {label}" for label in answer.labels or ())
        return f"{task.description}\nAnswer with exactly one of these labels and nothing else:\n{listed}"
    if isinstance(answer, JsonAnswer):
        schema = msgspec.json.encode(answer.json_schema).decode()
        return (
            f"{task.description}\nAnswer with one JSON document and nothing else. It satisfies this schema:\n{schema}"
        )
    return task.description


def answer_tokens(task: Task, renderer: Renderer) -> int:
    """The most tokens that an answer may take: for labels the longest one, with room to spell it another way."""
    answer = task.answer
    if isinstance(answer, LabelAnswer):
        return max((len(renderer.encode(label)) for label in answer.labels or ()), default=0) + LABEL_SPARE
    return JSON_TOKENS if isinstance(answer, JsonAnswer) else answer.max_tokens


def _worked(task: Task, train: Sequence[Example]) -> Iterator[Example]:
    """Examples of about middling length or less, one a label in turn, in an order drawn from their content."""
    lengths = sorted(len(example.text) for example in train)
    middling = lengths[len(lengths) // 2]
    single = [example for example in train if len(example.messages) <= 2 and example.text.strip()]
    order = sorted(single, key=lambda example: (len(example.text) > middling, _draw(task.seed, example)))
    is_label = isinstance(task.answer, LabelAnswer)
    seen: set[str] = set()
    for example in order:
        if is_label and example.reference in seen:
            continue
        seen.add(example.reference)
        yield example
        if len(seen) >= (LABEL_SHOTS if is_label else OTHER_SHOTS):
            return


def _draw(seed: int, example: Example) -> bytes:
    return hashlib.sha256(canonical([seed, example.text, example.reference])).digest()
