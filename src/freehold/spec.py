"""The task file: small, typed, unknown keys refused, every value knows where it came from.

`load` reads a file and names every wrong field at once, each with its line. `resolved` lists what is in force and why.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from freehold.errors import TaskFileError, did_you_mean
from freehold.records import AnswerType, Provenance

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Section(BaseModel):
    """A part of the task file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, coerce_numbers_to_str=False)


class LabelAnswer(Section):
    """The answer is one of a list of labels."""

    type: Literal["label"] = "label"
    labels: tuple[str, ...] | None = Field(None, description="The permitted labels; left out: taken from the data.")

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels is not None and len(set(labels)) != len(labels):
            raise ValueError("names a label twice; each label may stand once")
        if labels is not None and len(labels) < 2:
            raise ValueError("names fewer than two labels; there is nothing to decide between")
        return labels


class JsonAnswer(Section):
    """The answer is a JSON document."""

    type: Literal["json"]
    json_schema: dict[str, Any] = Field(alias="schema", description="The JSON Schema that an answer must satisfy.")


class TextAnswer(Section):
    """The answer is free text."""

    type: Literal["text"]
    max_tokens: int = Field(256, gt=0, le=8192, description="The longest answer, in tokens.")


Answer = Annotated[LabelAnswer | JsonAnswer | TextAnswer, Field(discriminator="type")]


class DataSpec(Section):
    """Where the examples come from."""

    source: str = Field(
        description="A CSV, JSONL or Parquet file of pairs, a JSONL file of recorded exchanges, or `captured`; "
        "${NAME} stands for an environment variable."
    )
    input: str = Field("text", description="For pairs: the column that holds what came in.")
    answer: str = Field("answer", description="For pairs: the column that holds the answer.")
    held_out: str | None = Field(None, description="A file of held-out examples; left out: Freehold splits.")
    provenance: Provenance = Field(Provenance.HUMAN, description="Whose answers the file holds.")
    other_answers: Literal["refuse", "drop"] = Field(
        "refuse", description="What to do with a row whose answer is not in `answer.labels`."
    )
    redact: bool = Field(
        False,
        description="Hide personal and secret values before anything is kept; the model is asked likewise.",
    )
    limit: int | None = Field(None, gt=0, description="Use only this many training rows, chosen by the seed.")


class Price(Section):
    """What the incumbent charges."""

    input: Decimal = Field(ge=0, description="For input tokens.")
    output: Decimal = Field(ge=0, description="For output tokens.")
    per: Literal["1K", "1M"] = Field("1M", description="The number of tokens that a price is for.")
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")


def _reference_to_the_environment(key: str | None) -> str | None:
    if key is not None and not _REFERENCE.fullmatch(key):
        raise ValueError("is a literal key; write a reference to the environment, such as ${OPENAI_API_KEY}")
    return key


class Incumbent(Section):
    """The model that answers the task today."""

    model: str = Field(description="Its name at the address.")
    base_url: str | None = Field(None, description="An OpenAI-compatible address; left out: recorded answers only.")
    api_key: str | None = Field(None, description="A reference to the environment, such as ${OPENAI_API_KEY}.")
    price: Price | None = Field(None, description="What it charges; left out: costs stay unknown.")
    training_allowed_by: str | None = Field(
        None, description="Where your contract allows training on its answers; left out: its published terms count."
    )

    @field_validator("api_key")
    @classmethod
    def _reference_only(cls, key: str | None) -> str | None:
        return _reference_to_the_environment(key)


class Override(Section):
    """Somebody's decision to go on where the rights gate says no, or cannot say."""

    by: str = Field(min_length=1, description="Who answers for it.")
    reason: str = Field(min_length=1, description="Why, such as the licence that was signed.")


class Use(Section):
    """How the model will be used: the rights gate reads this."""

    commercial: bool | None = Field(None, description="Whether money is earned with it; left out: unknown.")
    monthly_active_users: int | None = Field(None, ge=0, description="Of all the company's products.")
    hosted_service: bool | None = Field(None, description="Whether outsiders may call the model as a service.")
    redistribute: bool | None = Field(None, description="Whether weights leave the company.")
    train_on_outputs: bool | None = Field(None, description="Whether its answers train other models.")
    territory: str | None = Field(None, description="Where it is used: a country code or EU.")
    field: str | None = Field(None, description="The field of use, such as health or military.")
    override: Override | None = Field(None, description="Go on against the rights gate; kept on record.")


class CandidateFilter(Section):
    """Bases chosen from the catalogue by their facts."""

    max_params: str | None = Field(None, pattern=r"^\d+(\.\d+)?[MBT]$", description="Such as 500M or 1B.")
    min_openness: float | None = Field(None, ge=0, le=1, description="Share of the openness index's dimensions.")


class LoraSettings(Section):
    """Low-rank adapters (Hu et al. 2021). What is left out is chosen from the data's size, with its reason."""

    method: Literal["lora"] = "lora"
    rank: int | None = Field(None, ge=1, le=512, description="The adapters' inner dimension.")
    learning_rate: float | None = Field(None, gt=0, lt=1, description="Peak learning rate.")
    epochs: int | None = Field(None, ge=1, le=100, description="Passes over the training data at most.")
    batch_tokens: int | None = Field(None, ge=64, description="Tokens a step.")


class NoTuning(Section):
    """Measure bases as they are."""

    method: Literal["none"]


Tune = Annotated[LoraSettings | NoTuning, Field(discriminator="method")]


class Decide(Section):
    """What was fixed before results are seen."""

    metric: Literal["accuracy", "exact_match", "rouge_l"] | None = Field(
        None, description="Left out: accuracy for labels, exact_match for JSON, rouge_l for text."
    )
    margin: float = Field(0.02, gt=0, lt=1, description="The loss that would still be accepted, in the metric's unit.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of every interval and test.")


class Judge(Section):
    """A language model that grades answers; people's votes check it (`freehold judge agreement`)."""

    model: str = Field(description="A base by name, or the model's name at the address.")
    base_url: str | None = Field(None, description="An OpenAI-compatible address; left out: a base of this workspace.")
    api_key: str | None = Field(None, description="A reference to the environment, such as ${OPENAI_API_KEY}.")
    rubric: str | None = Field(None, description="What a good answer is, in your words; part of the judge's prompt.")

    @field_validator("api_key")
    @classmethod
    def _reference_only(cls, key: str | None) -> str | None:
        return _reference_to_the_environment(key)


class Task(Section):
    """One job that the company gives a model."""

    task: Name = Field(description="The task's name: also the public model name that it is served under.")
    description: str = Field(description="What the model is asked to do, in one or two sentences; part of the prompt.")
    answer: Answer = Field(default_factory=lambda: LabelAnswer(), description="What an accepted answer is.")
    data: DataSpec
    incumbent: Incumbent | None = None
    use: Use = Field(default_factory=lambda: Use())
    candidates: tuple[str, ...] | CandidateFilter = Field(
        ("smollm2-135m-instruct",), description="Bases by name, or a filter over the catalogue."
    )
    tune: Tune = Field(default_factory=lambda: LoraSettings())
    decide: Decide = Field(default_factory=lambda: Decide())
    judge: Judge | None = None
    scorers: tuple[str, ...] = Field(
        (),
        description="Further scores to show: chrf, bleu, rouge_l, tests_pass, answered, regex:…, python:FILE.py:NAME.",
    )
    seed: int = Field(0, ge=0, description="Of every split, shuffle and draw.")

    @property
    def answer_type(self) -> AnswerType:
        return AnswerType(self.answer.type)

    @property
    def metric(self) -> str:
        by_type = {"label": "accuracy", "json": "exact_match", "text": "rouge_l"}
        return self.decide.metric or by_type[self.answer.type]

    @model_validator(mode="after")
    def _metric_fits_answer(self) -> "Task":
        fits = {"label": {"accuracy"}, "json": {"exact_match"}, "text": {"rouge_l", "exact_match"}}
        if self.metric not in fits[self.answer.type]:
            raise ValueError(f"decide.metric: {self.metric} does not fit answer.type {self.answer.type}")
        return self


@dataclass(frozen=True)
class TaskFile:
    """A task, the file it was read from, and the line of every field that stands in it."""

    task: Task
    path: Path
    lines: dict[str, int]

    def resolve(self, path: str) -> Path:
        """A path in the file, relative to the file, with ${NAME} filled in from the environment."""
        return (self.path.parent / Path(expand(path)).expanduser()).resolve()


@dataclass(frozen=True)
class Resolved:
    """A value in force, and where it came from."""

    field: str
    value: object
    source: str


def load(path: Path) -> TaskFile:
    """Read a task file; raises `TaskFileError` that names every wrong field with its line."""
    text = _read(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise TaskFileError(f"{where}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None
    if not isinstance(content, dict):
        raise TaskFileError(f"{path}: a task file is a list of `field: value` lines; `freehold init` writes one")
    lines = dict(field_lines(node, path))
    try:
        return TaskFile(Task.model_validate(content), path, lines)
    except ValidationError as error:
        raise TaskFileError("\n".join(_sentence(path, lines, item) for item in error.errors())) from None


def resolved(file: TaskFile) -> list[Resolved]:
    """Every field of the task, its value, and whether it stands in the file or is the default."""
    return list(_walk(file, file.task, ""))


def schema() -> dict[str, Any]:
    """The task file's JSON Schema, for editors."""
    return Task.model_json_schema(by_alias=True)


def expand(text: str) -> str:
    """Fill in ${NAME} from the environment; raises `TaskFileError` where it is not set."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise TaskFileError(f"the environment variable {name} is not set; the task file refers to ${{{name}}}")
        return os.environ[name]

    return _REFERENCE.sub(value, text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TaskFileError(f"{path}: no such file; `freehold init {path}` writes one") from None
    except IsADirectoryError:
        raise TaskFileError(f"{path}: is a folder; name the task file in it") from None
    except UnicodeDecodeError:
        raise TaskFileError(f"{path}: is not UTF-8 text; a task file is YAML in UTF-8") from None


def field_lines(node: yaml.Node | None, path: Path, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Every field of a YAML file and the line it stands in; raises `TaskFileError` on one that stands twice."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise TaskFileError(f"{path}:{key.start_mark.line + 1}: {prefix}{key.value} stands twice; keep one")
            seen.add(key.value)
            yield prefix + str(key.value), key.start_mark.line + 1
            yield from field_lines(value, path, f"{prefix}{key.value}.")
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{prefix}{index}", value.start_mark.line + 1
            yield from field_lines(value, path, f"{prefix}{index}.")


_TAGS = {"label", "json", "text", "lora", "none", "CandidateFilter", "tuple[str, ...]", "constrained-str"}


def _sentence(path: Path, lines: dict[str, int], item: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    parts = [str(part) for part in item["loc"]]
    field = ".".join(part for at, part in enumerate(parts) if not (part in _TAGS and at in (1,)))
    line = lines.get(field) or lines.get(field.rpartition(".")[0])
    where = f"{path}:{line}" if line else str(path)
    if item["type"] == "extra_forbidden":
        parent, _, wrong = field.rpartition(".")
        near = did_you_mean(wrong, _fields_of(parent))
        near = near.replace("mean ", f"mean {parent}.") if parent else near
        return f"{where}: {field} is not a field{near}"
    if item["type"] == "missing":
        return f"{where}: {field} is missing; `freehold spec --schema` says what it holds"
    return f"{where}: {field + ' ' if field else ''}{_reason(item)}"


def _reason(item: Any) -> str:  # noqa: ANN401
    message: str = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return message
    given = item.get("input")
    hint = "; put it in quotes" if item["type"] == "string_type" and isinstance(given, bool | int | float) else ""
    return f"is {given!r}, but {message[0].lower()}{message[1:].replace('Input', 'it')}{hint}".replace(
        "but input", "but it"
    )


def _fields_of(parent: str) -> list[str]:
    sections: dict[str, list[type[BaseModel]]] = {
        "": [Task],
        "answer": [LabelAnswer, JsonAnswer, TextAnswer],
        "data": [DataSpec],
        "incumbent": [Incumbent],
        "incumbent.price": [Price],
        "use": [Use],
        "use.override": [Override],
        "candidates": [CandidateFilter],
        "tune": [LoraSettings, NoTuning],
        "decide": [Decide],
        "judge": [Judge],
    }
    return [info.alias or name for model in sections.get(parent, []) for name, info in model.model_fields.items()]


def _walk(file: TaskFile, section: Section, prefix: str) -> Iterator[Resolved]:
    for name, info in type(section).model_fields.items():
        field, value = prefix + (info.alias or name), getattr(section, name)
        if isinstance(value, Section):
            yield from _walk(file, value, field + ".")
        else:
            line = file.lines.get(field)
            source = f"{file.path.name}:{line}" if line else "default"
            yield Resolved(field, list(value) if isinstance(value, tuple) else value, source)
