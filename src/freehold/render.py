"""Messages → the exact text and token ids a model sees: the one place, for training and serving alike (invariant 2).

A `Prompt` says how a task is put to a model; a `Renderer` turns messages into ids with the base's own chat template and
tokenizer. The trainer, the evaluation and the gateway all go through here, so what is trained is what is served.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.errors import ModelFileError
from freehold.records import Affixes, Message, Pruning, Record, digest

if TYPE_CHECKING:
    from jinja2 import Template

TOKENIZER_FILE = "tokenizer.json"
TEMPLATE_FILE = "template.json"


class Shot(Record, frozen=True, kw_only=True):
    """A worked example inside a prompt."""

    input: str
    answer: str


class Prompt(Record, frozen=True, kw_only=True):
    """How a task is put to a model: a system message, worked examples as turns, then what came in without `pruning`."""

    system: str
    shots: tuple[Shot, ...] = ()
    pruning: Pruning | None = None

    def messages(self, incoming: Sequence[Message]) -> tuple[Message, ...]:
        """The conversation to render. A system message of the caller's own replaces the prompt's."""
        incoming = pruned(incoming, self.pruning)
        own_system = bool(incoming) and incoming[0].role == "system"
        head = (incoming[0],) if own_system else (Message(role="system", content=self.system),)
        turns: list[Message] = []
        for shot in self.shots:
            turns += [Message(role="user", content=shot.input), Message(role="assistant", content=shot.answer)]
        return (*head, *turns, *(incoming[1:] if own_system else incoming))


def pruned(messages: Sequence[Message], pruning: Pruning | None) -> tuple[Message, ...]:
    """The turns without what every recorded request said the same; a system message that was all constant goes.

    A turn that does not both begin and end so is left as it is, and no user turn is ever emptied.
    """
    if pruning is None:
        return tuple(messages)
    kept = []
    for message in messages:
        if message.role == "system":
            content = _cut(message.content, pruning.system)
        else:
            content = (_cut(message.content, pruning.user) if message.role == "user" else "") or message.content
        if content or message.role != "system":
            kept.append(Message(role=message.role, content=content))
    return tuple(kept)


def _cut(text: str, constant: Affixes) -> str:
    ends = len(constant.prefix) + len(constant.suffix)
    if not ends or len(text) < ends or not (text.startswith(constant.prefix) and text.endswith(constant.suffix)):
        return text
    return text[len(constant.prefix) : len(text) - len(constant.suffix)].strip()


class ChatTemplate(Record, frozen=True, kw_only=True):
    """A model's published chat template and its special tokens."""

    source: str
    bos_token: str
    eos_token: str
    special_tokens: tuple[str, ...]

    @property
    def digest(self) -> str:
        return digest(self)

    def text(self, messages: Sequence[Message], answer_follows: bool = True) -> str:
        """The text a model sees; raises `ModelFileError` where the template cannot express these messages."""
        from jinja2 import TemplateError

        turns = [{"role": self._plain(message.role), "content": self._plain(message.content)} for message in messages]
        try:
            template = _compiled(self.source)
            return template.render(
                messages=turns,
                add_generation_prompt=answer_follows,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
            )
        except TemplateError as error:
            raise ModelFileError(f"the chat template refuses these messages: {error}") from None

    def _plain(self, content: str) -> str:
        """Text in which no special token can be spelled, so that a message cannot end its own turn."""
        for token in self.special_tokens:
            if token in content:
                content = content.replace(token, f"{token[0]} {token[1:]}")
        return content


def json_answer(reference: str, schema: dict[str, Any]) -> str:
    """A JSON reference as a model learns to write it: on one line, keys in the schema's order, as engines decode it."""
    return json.dumps(_in_order(json.loads(reference), schema), ensure_ascii=False)


def _in_order(value: Any, schema: Any) -> Any:  # noqa: ANN401 (JSON)
    rules = schema if isinstance(schema, dict) else {}
    if isinstance(value, list):
        return [_in_order(each, rules.get("items")) for each in value]
    if not isinstance(value, dict):
        return value
    properties = rules.get("properties", {})
    names = [name for name in properties if name in value] + [name for name in value if name not in properties]
    return {name: _in_order(value[name], properties.get(name)) for name in names}


class Rendered(Record, frozen=True, kw_only=True):
    """An example as the trainer sees it: the loss is taken over `answer` only."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Renderer:
    """A base's template and tokenizer, read from its folder in the workspace."""

    def __init__(self, folder: Path) -> None:
        import msgspec
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
            self.template = msgspec.json.decode((folder / TEMPLATE_FILE).read_bytes(), type=ChatTemplate)
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelFileError(
                f"{folder}: tokenizer or template is missing or damaged ({error}); pull again"
            ) from None

    def ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of a conversation that the model should answer."""
        return self.encode(self.template.text(messages))

    def example(self, messages: Sequence[Message], answer: str) -> Rendered:
        """Token ids of a conversation and of the answer, its end-of-turn token included."""
        prompt = self.template.text(messages)
        whole = self.template.text([*messages, Message(role="assistant", content=answer)], answer_follows=False)
        if not whole.startswith(prompt):
            raise ModelFileError("the chat template writes a finished answer unlike a coming one; it cannot be trained")
        text = whole[len(prompt) :]
        end = text.find(self.template.eos_token)
        text = text[: end + len(self.template.eos_token)] if end >= 0 else text + self.template.eos_token
        return Rendered(prompt=self.encode(prompt), answer=self.encode(text))

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    @property
    def end_id(self) -> int:
        """The id of the end-of-turn token."""
        found = self._tokenizer.token_to_id(self.template.eos_token)
        if found is None:
            raise ModelFileError(f"the tokenizer has no {self.template.eos_token}; the template is of another model")
        return int(found)


@lru_cache(maxsize=32)
def _compiled(source: str) -> "Template":
    """As transformers compiles it: sandboxed, blocks trimmed."""
    from jinja2.exceptions import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)
