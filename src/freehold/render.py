"""Messages → the exact text and token ids a model sees: the one place, for training and serving alike (invariant 2).

A `Prompt` says how a task is put to a model; a `Renderer` turns messages into ids with the base's own chat template and
tokenizer. The trainer, the evaluation and the gateway all go through here, so what is trained is what is served.
"""

import json
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from freehold.errors import ModelFileError
from freehold.records import Affixes, Message, Pruning, Record, digest

if TYPE_CHECKING:
    from jinja2 import Template

TOKENIZER_FILE = "tokenizer.json"
TEMPLATE_FILE = "template.json"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Shot(Record, frozen=True, kw_only=True):
    """A worked example inside a prompt."""

    input: str
    answer: str


class Called(Record, frozen=True, kw_only=True):
    """A tool that an assistant called, with its arguments (a JSON object)."""

    id: str
    name: str
    arguments: dict[str, Any]


class ToolMessage(Message, frozen=True, kw_only=True):
    """A turn in which tools were called, or one that says what a call gave (`call_id`, `name`)."""

    calls: tuple[Called, ...] = ()
    call_id: str | None = None
    name: str | None = None


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
            kept.append(replace(message, content=content))
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

    def text(
        self, messages: Sequence[Message], answer_follows: bool = True, tools: Sequence[dict[str, Any]] = ()
    ) -> str:
        """The text a model sees; raises `ModelFileError` where the template cannot express these messages.

        `tools` are functions in OpenAI's words; a template that knows none leaves them out (see `knows_tools`).
        """
        from jinja2 import TemplateError

        try:
            template = _compiled(self.source)
            return template.render(
                messages=[self._turn(message) for message in messages],
                add_generation_prompt=answer_follows,
                **({"tools": self._plain(list(tools))} if tools else {}),
                bos_token=self.bos_token,
                eos_token=self.eos_token,
            )
        except TemplateError as error:
            raise ModelFileError(f"the chat template refuses these messages: {error}") from None

    @property
    def knows_tools(self) -> bool:
        """Whether a function that a caller offers reaches the model at all."""
        offered = {"type": "function", "function": {"name": "an_offered_tool", "description": "", "parameters": {}}}
        try:
            return "an_offered_tool" in self.text([Message(role="user", content="")], tools=[offered])
        except ModelFileError:
            return False

    def _turn(self, message: Message) -> dict[str, Any]:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if isinstance(message, ToolMessage):
            called = [{"name": each.name, "arguments": each.arguments} for each in message.calls]
            if called:
                ids = [each.id for each in message.calls]
                pairs = zip(ids, called, strict=True)
                turn["tool_calls"] = [{"id": id, "type": "function", "function": each} for id, each in pairs]
            named = {"tool_call_id": message.call_id, "name": message.name}
            turn |= {name: value for name, value in named.items() if value is not None}
        plain: dict[str, Any] = self._plain(turn)
        return plain

    def _plain(self, value: Any) -> Any:  # noqa: ANN401 (JSON)
        """Texts in which no special token can be spelled, so that a message cannot end its own turn."""
        if isinstance(value, dict):
            return {self._plain(name): self._plain(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._plain(each) for each in value]
        if isinstance(value, str):
            for token in self.special_tokens:
                if token in value:
                    value = value.replace(token, f"{token[0]} {token[1:]}")
        return value


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

    def ids(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> tuple[int, ...]:
        """Token ids of a conversation that the model should answer."""
        return self.encode(self.template.text(messages, tools=tools))

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

    def spelled(self, id: int) -> bytes:
        """The bytes of one token, which need not be a whole character; empty for an id that there is not."""
        token = self._tokenizer.id_to_token(id)
        if token is None:
            return b""
        single = _BYTE.fullmatch(token)
        if single:
            return bytes([int(single[1], 16)])
        letters = _byte_letters()
        if self._by_bytes and all(letter in letters for letter in token):
            return bytes(letters[letter] for letter in token)
        return str(token).replace("▁", " ").encode()

    @cached_property
    def _by_bytes(self) -> bool:
        """Whether tokens are spelled in GPT-2's letters for bytes."""
        return "ByteLevel" in str(self._tokenizer.decoder)

    @property
    def end_id(self) -> int:
        """The id of the end-of-turn token."""
        found = self._tokenizer.token_to_id(self.template.eos_token)
        if found is None:
            raise ModelFileError(f"the tokenizer has no {self.template.eos_token}; the template is of another model")
        return int(found)


@lru_cache(maxsize=1)
def _byte_letters() -> dict[str, int]:
    """GPT-2's letter for each byte: printable Latin-1 stands for itself, the others follow from U+0100 on."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [each for each in range(256) if each not in itself]
    return {chr(each): each for each in itself} | {chr(0x100 + at): each for at, each in enumerate(others)}


@lru_cache(maxsize=32)
def _compiled(source: str) -> "Template":
    """As transformers compiles it: sandboxed, blocks trimmed."""
    from jinja2.exceptions import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def tojson(value: Any, indent: int | None = None) -> str:  # noqa: ANN401 (jinja2's own spells < and > otherwise)
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = tojson
    return environment.from_string(source)
