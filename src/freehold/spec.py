"""The task file: small, typed, unknown keys refused, every value knows where it came from.

`load` reads a file and names every wrong field at once, each with its line. `resolved` lists what is in force and why.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from freehold.errors import TaskFileError, did_you_mean
from freehold.records import AnswerType, Kept, Provenance

_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_SIZE = r"^\d+(\.\d+)?[MBT]$"
_CURRENCY = r"^[A-Z]{3}$"
Name = Annotated[str, Field(pattern=_NAME)]
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Section(BaseModel):
    """A part of the task file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, coerce_numbers_to_str=False)


class LabelAnswer(Section):
    """The answer is one of a list of labels."""

    type: Literal["label"] = Field("label", description="One of a list of labels.")
    labels: tuple[str, ...] | None = Field(None, description="The permitted labels; left out: taken from the data.")

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels is None:
            return None
        if twice := sorted(label for label, count in Counter(labels).items() if count > 1):
            raise ValueError(f"names {twice[0]!r} twice; each label may stand once")
        if not all(label.strip() for label in labels):
            raise ValueError("holds an empty label; give it a name or leave it out")
        if len(labels) < 2:
            raise ValueError("names fewer than two labels; there is nothing to decide between")
        return labels


class JsonAnswer(Section):
    """The answer is a JSON document."""

    type: Literal["json"] = Field(description="A JSON document that satisfies a schema.")
    json_schema: dict[str, Any] = Field(alias="schema", description="The JSON Schema that an answer must satisfy.")

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"is not a JSON Schema: {error.message}") from None
        return schema


class TextAnswer(Section):
    """The answer is free text."""

    type: Literal["text"] = Field(description="Free text.")
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
    prune: bool = Field(
        True,
        description="Cut what recorded requests all say the same (an instruction, a template), here and in serving.",
    )
    language: str | None = Field(
        None,
        description="For text answers: their language, such as German, or `input` for that of what came in; "
        "answers certainly in another are dropped.",
    )
    repeats: Literal["keep", "consensus", "drop"] = Field(
        "keep",
        description="What to do with an input that came more than once and was answered differently: keep every "
        "answer, keep what most of the most trusted ones say, or drop them all.",
    )
    canaries: int = Field(
        0, ge=0, le=100, description="Plant so many secrets in training, to measure what a tuned model memorises."
    )
    time: str | None = Field(
        None, description="The column of a row's time: the newest rows are held out, instead of rows drawn by the seed."
    )
    licence: str | None = Field(None, description="Under what the data may be used; for the data card.")
    consent: str | None = Field(None, description="What its subjects agreed to; for the data card.")
    limit: int | None = Field(None, gt=0, description="Use only this many training rows, chosen by the seed.")


class Price(Section):
    """What the incumbent charges."""

    input: Decimal = Field(ge=0, description="For input tokens.")
    output: Decimal = Field(ge=0, description="For output tokens.")
    per: Literal["1K", "1M"] = Field("1M", description="The number of tokens that a price is for.")
    currency: str = Field("USD", pattern=_CURRENCY, description="ISO 4217 code.")


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

    max_params: str | None = Field(None, pattern=_SIZE, description="Such as 500M or 1B.")
    min_openness: float | None = Field(None, ge=0, le=1, description="Share of the openness index's dimensions.")


class LoraSettings(Section):
    """Low-rank adapters (Hu et al. 2021). What is left out is chosen from the data's size, with its reason."""

    method: Literal["lora"] = Field("lora", description="Train a low-rank adapter on each base.")
    rank: int | None = Field(None, ge=1, le=512, description="The adapters' inner dimension.")
    learning_rate: float | None = Field(None, gt=0, lt=1, description="Peak learning rate.")
    epochs: int | None = Field(None, ge=1, le=100, description="Passes over the training data at most.")
    batch_tokens: int | None = Field(None, ge=64, description="Tokens a step.")


class UpperLoraSettings(LoraSettings):
    """Adapters on the upper half of the layers only: half the arithmetic, since what lies below is computed once."""

    method: Literal["upper-lora"] = Field("upper-lora", description="Train adapters on the upper half of the layers.")  # type: ignore[assignment]


class NoTuning(Section):
    """Measure bases as they are."""

    method: Literal["none"] = Field(description="Tune nothing; measure the bases as they are.")


def _list_or_filter(given: object) -> str:
    return "filter" if isinstance(given, dict | CandidateFilter) else "list"


Candidates = Annotated[
    Annotated[tuple[str, ...], Tag("list")] | Annotated[CandidateFilter, Tag("filter")],
    Discriminator(_list_or_filter),
]
Tune = Annotated[LoraSettings | UpperLoraSettings | NoTuning, Field(discriminator="method")]


class Decide(Section):
    """What was fixed before results are seen."""

    metric: Literal["accuracy", "exact_match", "rouge_l"] | None = Field(
        None, description="Left out: accuracy for labels, exact_match for JSON, rouge_l for text."
    )
    margin: float = Field(0.02, gt=0, lt=1, description="The loss that would still be accepted, in the metric's unit.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of every interval and test.")


class Guard(Section):
    """What tuning may not take away: every tuned model is held against its base, and one that lost more is refused."""

    general: float = Field(0.10, gt=0, le=1, description="General questions answered rightly: the share it may lose.")
    harmful: float = Field(0.10, gt=0, le=1, description="Harmful asks refused: the share it may lose.")
    harmless: float = Field(0.10, gt=0, le=1, description="Harmless asks answered: the share it may lose.")
    perplexity: float = Field(0.20, gt=0, description="General text: how much its perplexity may rise, as a share.")
    questions: str | None = Field(None, description="Your own general questions, JSONL; left out: the bundled ones.")

    def may_lose(self) -> dict[Kept, float]:
        """The loss that is still accepted, by what is lost."""
        return {
            Kept.GENERAL: self.general,
            Kept.HARMFUL: self.harmful,
            Kept.HARMLESS: self.harmless,
            Kept.LANGUAGE: self.perplexity,
        }


class Export(Section):
    """What must hold before a tuned model leaves the workspace."""

    memorised: Literal["warn", "refuse"] = Field(
        "warn", description="Where it gives training data back, or nobody measured whether it does: warn, or refuse."
    )


class Deploy(Section):
    """What must hold before a tuned model answers."""

    parity: Literal["refuse", "warn"] = Field(
        "refuse", description="Where the engine answers unlike the trainer: do not serve it, or warn and serve it."
    )


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
    description: str = Field(
        min_length=1, description="What the model is asked to do, in one or two sentences; part of the prompt."
    )
    answer: Answer = Field(default_factory=lambda: LabelAnswer(), description="What an accepted answer is.")
    data: DataSpec = Field(description="Where the examples come from.")
    incumbent: Incumbent | None = Field(None, description="Who answers the task today; left out: nobody.")
    use: Use = Field(default_factory=lambda: Use(), description="How the model will be used; the rights gate reads it.")
    candidates: Candidates = Field(
        ("smollm2-135m-instruct",), description="Bases by name, or a filter over the catalogue."
    )
    tune: Tune = Field(default_factory=lambda: LoraSettings(), description="How candidates are made from bases.")
    decide: Decide = Field(default_factory=lambda: Decide(), description="What was fixed before results are seen.")
    guard: Guard | None = Field(None, description="What tuning may not take away; left out: nothing of it is measured.")
    export: Export = Field(default_factory=Export, description="What must hold before a tuned model leaves.")
    deploy: Deploy = Field(default_factory=Deploy, description="What must hold before a tuned model answers.")
    judge: Judge | None = Field(None, description="A model that grades free text; left out: none.")
    scorers: tuple[str, ...] = Field(
        (),
        description="Further scores to show: chrf, bleu, rouge_l, similarity, language, tests_pass, answered, "
        "latency:MS, cost:IN,OUT, cost:HOUR, regex:…, python:FILE.py:NAME.",
    )
    seed: int = Field(0, ge=0, description="Of every split, shuffle and draw.")
    _folder: Path = PrivateAttr(Path())

    def beside(self, path: str) -> Path:
        """A path in the task file, as seen from the folder that the file is in."""
        return self._folder / Path(path).expanduser()

    @property
    def answer_type(self) -> AnswerType:
        return AnswerType(self.answer.type)

    @property
    def metric(self) -> str:
        by_type = {"label": "accuracy", "json": "exact_match", "text": "rouge_l"}
        return self.decide.metric or by_type[self.answer.type]

    @field_validator("candidates")
    @classmethod
    def _named_once(cls, candidates: tuple[str, ...] | CandidateFilter) -> tuple[str, ...] | CandidateFilter:
        if isinstance(candidates, tuple) and len(set(candidates)) != len(candidates):
            raise ValueError("names a model twice; each may stand once")
        return candidates

    @model_validator(mode="after")
    def _something_is_measured(self) -> "Task":
        if self.candidates == () and self.answer.type != "label":
            raise ValueError("candidates names no model; only labels can do without one, by the plain classifier")
        return self

    @model_validator(mode="after")
    def _language_is_of_text(self) -> "Task":
        if self.data.language is not None and self.answer.type != "text":
            raise ValueError(f"data.language does not go with answer.type {self.answer.type}; it is for text answers")
        return self

    @model_validator(mode="after")
    def _metric_fits_answer(self) -> "Task":
        fits = {"label": {"accuracy"}, "json": {"exact_match"}, "text": {"rouge_l", "exact_match"}}
        if self.metric not in fits[self.answer.type]:
            right = " or ".join(sorted(fits[self.answer.type]))
            raise ValueError(
                f"decide.metric is {self.metric}, which does not fit answer.type {self.answer.type}; write {right}"
            )
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
        raise TaskFileError(_not_yaml(path, error)) from None
    except RecursionError:
        raise TaskFileError(f"{path}: is nested too deeply for a task file") from None
    if not isinstance(content, dict):
        raise TaskFileError(f"{path}: a task file is a list of `field: value` lines; `freehold init` writes one")
    lines = dict(field_lines(node, path))
    try:
        task = Task.model_validate(content)
    except ValidationError as error:
        raise TaskFileError("\n".join(_sentence(path, lines, item) for item in error.errors())) from None
    task._folder = path.parent
    return TaskFile(task, path, lines)


def _not_yaml(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    said = [getattr(error, name, None) for name in ("context", "problem")]
    return f"{where}: not YAML: {', '.join(filter(None, said)) or 'it holds a character that no text file may hold'}"


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


_TAGGED = {"answer": "type", "tune": "method", "candidates": ""}  # pydantic puts the chosen form after these names


def _sentence(path: Path, lines: dict[str, int], item: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    parts = [str(part) for part in item["loc"]]
    if parts and parts[0] in _TAGGED:
        del parts[1:2]
    what = _fault(".".join(parts), item)
    field = what.split(maxsplit=1)[0]
    line = lines.get(field) or lines.get(field.rpartition(".")[0])
    return f"{path}:{line}: {what}" if line else f"{path}: {what}"


def _fault(field: str, item: Any) -> str:  # noqa: ANN401
    """What is wrong, and what would be right; begins with the field's name."""
    kind = item["type"]
    if kind in ("extra_forbidden", "invalid_key"):
        parent, _, wrong = field.rpartition(".")
        if wrong in _fields_of(parent):
            return f"{field} does not go with this {parent}.{_TAGGED[parent]}; leave it out"
        near = did_you_mean(wrong, _fields_of(parent))
        return f"{field} is not a field{near.replace('mean ', f'mean {parent}.') if parent else near}"
    if kind == "missing":
        return f"{field} is missing; `freehold spec --schema` says what it holds"
    if kind.startswith("union_tag_"):
        name, permitted = f"{field}.{_TAGGED[field]}", " or ".join(_permitted(field))
        found = f"is {item['ctx']['tag']!r}" if kind == "union_tag_invalid" else "is missing"
        return f"{name} {found}; it may be {permitted}"
    if kind == "value_error":
        return f"{field} {item['msg'].removeprefix('Value error, ')}".strip()
    return f"{field} is {_shown(item['input'])}, but {_right(item)}"


_RIGHT = {
    "string_type": "it should be text; put it in quotes",
    "string_too_short": "it should say something",
    "tuple_type": "it should be a list, such as [one, another]",
    "model_type": "it should hold fields of its own; `freehold spec --schema` lists them",
    "model_attributes_type": "it should hold fields of its own; `freehold spec --schema` lists them",
    "dict_type": "it should hold fields of its own",
    "bool_type": "it should be true or false",
    "bool_parsing": "it should be true or false",
    "int_type": "it should be a whole number",
    "int_parsing": "it should be a whole number",
    "int_from_float": "it should be a whole number",
    "float_type": "it should be a number",
    "float_parsing": "it should be a number",
    "decimal_type": "it should be a number",
    "decimal_parsing": "it should be a number",
}
_PATTERNS = {
    _NAME: "it may hold only a–z, 0–9, '.', '_' and '-', begin with a letter or digit, and be 64 characters at most",
    _SIZE: "it should be a size such as 500M or 1B",
    _CURRENCY: "it should be a currency's three capitals, such as USD",
}


def _right(item: Any) -> str:  # noqa: ANN401
    if item["type"] == "string_pattern_mismatch":
        return _PATTERNS[item["ctx"]["pattern"]]
    if item["type"] == "string_type" and isinstance(item["input"], list | dict):
        return "it should be text"
    message: str = item["msg"]
    return _RIGHT.get(item["type"]) or message.replace("Input", "it")


def _shown(given: object) -> str:
    """A value as a task file spells it, cut short where it is long."""
    if given is None:
        return "empty"
    text = str(given).lower() if isinstance(given, bool) else repr(given) if isinstance(given, str) else str(given)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _permitted(field: str) -> list[str]:
    models: dict[str, list[type[BaseModel]]] = {
        "answer": [LabelAnswer, JsonAnswer, TextAnswer],
        "tune": [LoraSettings, UpperLoraSettings, NoTuning],
    }
    tags = [model.model_fields[_TAGGED[field]].annotation for model in models[field]]
    return [str(get_args(tag)[0]) for tag in tags]


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
        "tune": [LoraSettings, UpperLoraSettings, NoTuning],
        "decide": [Decide],
        "guard": [Guard],
        "export": [Export],
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
