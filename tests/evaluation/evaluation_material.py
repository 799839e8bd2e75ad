"""A task, its examples, a store, and an engine that answers by rule through the engines' own protocol."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from freehold.engines.engine import Address, Answer, Completion, Labels
from freehold.errors import EngineError
from freehold.records import Dataset, Example, Message, Provenance, Split, canonical
from freehold.render import TEMPLATE_FILE, TOKENIZER_FILE, ChatTemplate, Renderer
from freehold.spec import Task

LABELS = ("payroll", "safety", "scheduling")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


def example(at: int, reference: str = "payroll", split: Split = Split.HELD_OUT, **facts: object) -> Example:
    text = str(facts.pop("text", f"{reference} message number {at}"))
    fields = {"salt": "", "provenance": Provenance.HUMAN, "origin": f"test:{at}", **facts}
    return Example(
        id=hashlib.sha256(f"{split} {at} {text}".encode()).hexdigest(),
        split=split,
        messages=(Message(role="user", content=text),),
        reference=reference,
        **fields,  # type: ignore[arg-type]
    )


def examples(count: int, split: Split = Split.HELD_OUT) -> list[Example]:
    return [example(at, LABELS[at % 3], split) for at in range(count)]


def dataset(**facts: object) -> Dataset:
    fields: dict[str, object] = {
        "digest": "d" * 64,
        "task": "triage",
        "answer_type": "label",
        "labels": LABELS,
        "json_schema": None,
        "counts": {},
        "provenance": {},
        "dropped": {"near_duplicate": 6},
        "sources": (),
        "seed": 0,
    }
    return Dataset(**(fields | facts))  # type: ignore[arg-type]


class RuleEngine:
    """Answers by a rule on the prompt's text; counts what it was asked."""

    def __init__(self, rule: Callable[[str, Completion], str], renderer: Renderer) -> None:
        self._rule, self._renderer, self._lock = rule, renderer, threading.Lock()
        self.asked: list[bool] = []

    def start(self) -> None: ...

    def complete(self, request: Completion) -> Answer:
        with self._lock:
            self.asked.append(request.sampling.constraint is not None)
        text = self._rule(self._renderer.decode(request.prompt), request)
        constraint = request.sampling.constraint
        if isinstance(constraint, Labels) and text not in constraint.labels:
            text = constraint.labels[0]
        return Answer(
            text=text,
            input_tokens=len(request.prompt),
            output_tokens=3,
            cached_tokens=0,
            finish_reason="stop",
            latency_ms=5.0,
        )

    def tokenize(self, text: str) -> Sequence[int]:
        return self._renderer.encode(text)

    def address(self) -> Address:
        raise EngineError("not served")

    def stop(self) -> None: ...


def covers(what: str, hits: Sequence[bool]) -> None:
    """Hold a 95 % interval to 93–97 % of the simulated draws; `pytest -rP` shows what was counted."""
    share = sum(map(bool, hits)) / len(hits)
    print(f"covers {share:.1%} of {len(hits):,} draws: {what}")  # noqa: T201
    assert 0.93 <= share <= 0.97, f"{what}: {share:.3f}"


def make_task(**fields: object) -> Task:
    base: dict[str, object] = {"task": "triage", "description": "Route messages.", "data": {"source": "x.csv"}}
    return Task.model_validate(base | {"answer": {"type": "label", "labels": LABELS}} | fields)


def make_renderer(folder: Path) -> Renderer:
    """A tokenizer of single characters, made here."""
    vocabulary = {"[UNK]": 0} | {chr(code): code for code in range(1, 256)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    template = ChatTemplate(source=TEMPLATE, bos_token="", eos_token="<|im_end|>", special_tokens=("<|im_end|>",))
    (folder / TEMPLATE_FILE).write_bytes(canonical(template))
    return Renderer(folder)
