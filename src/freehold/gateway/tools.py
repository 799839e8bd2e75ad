"""Tool calls of an owned model: what a caller offers, how a model writes a call, and how that is read again.

A model writes calls as its chat template taught it. Two syntaxes are known by their templates: Hermes' (Qwen, Hermes,
SmolLM2 1.7B), JSON between <tool_call> and </tool_call>, and Llama 3's, the whole answer one JSON object.
Sources: OpenAI's API reference (*tools*, *tool_choice*); the published templates of those models.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.gateway.faults import GatewayError
from freehold.render import ChatTemplate


class Function(msgspec.Struct):
    """A function that a caller offers; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    type: str
    function: Function | None = None


class _Name(msgspec.Struct):
    name: str


class NamedChoice(msgspec.Struct):
    """The wish for one function."""

    type: str
    function: _Name | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """A call as an answer carries it: `arguments` is JSON, as the model wrote it."""

    id: str
    name: str
    arguments: str

    @property
    def document(self) -> dict[str, Any]:
        """In OpenAI's words."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class Syntax:
    """How calls are written: what opens and closes one, and what its arguments are called."""

    opening: str
    closing: str
    arguments: str


HERMES = Syntax("<tool_call>\n", "\n</tool_call>", "arguments")
LLAMA = Syntax("", "", "parameters")


def syntax_of(template: ChatTemplate) -> Syntax | None:
    """The syntax that a template teaches; None where it knows no tools, or another syntax."""
    if not template.knows_tools:
        return None
    if "<tool_call>" in template.source and "<function=" not in template.source:
        return HERMES
    return LLAMA if '"parameters":' in template.source else None


@dataclass(frozen=True)
class Offer:
    """The functions that may be called, and whether one must be."""

    functions: tuple[Function, ...]
    must: bool
    several: bool
    syntax: Syntax

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The functions as a template reads them."""
        return [{"type": "function", "function": _plain(each)} for each in self.functions]

    @property
    def json_schema(self) -> dict[str, Any]:
        """What a call that must be made is decoded under."""
        schemas = [_call_schema(each, self.syntax) for each in self.functions]
        definitions: dict[str, Any] = {}
        for schema in schemas:
            definitions |= schema.pop("$defs")
        whole = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return whole | ({"$defs": definitions} if definitions else {})


def offer(
    tools: Sequence[Tool] | None, choice: str | NamedChoice | None, several: bool | None, template: ChatTemplate
) -> Offer | None:
    """What a request offers; None where nothing may be called. Raises `GatewayError` for what cannot be offered."""
    functions = [_function(at, tool) for at, tool in enumerate(tools or ())]
    if not functions:
        if choice not in (None, "none", "auto"):
            raise _wrong("tool_choice", "tool_choice asks for a call, and no tools are offered")
        return None
    if choice == "none":
        return None
    if isinstance(choice, NamedChoice):
        wanted = choice.function.name if choice.function else ""
        functions = [each for each in functions if each.name == wanted]
        if not functions:
            raise _wrong("tool_choice", f"tool_choice names {wanted!r}, which is not among the tools")
    elif choice not in (None, "auto", "required"):
        raise _wrong("tool_choice", f"tool_choice is {choice!r}; it may be none, auto, required or name a function")
    syntax = syntax_of(template)
    if syntax is None:
        what = "this model's chat template knows no tools; leave tools out, or deploy a base whose template does"
        if template.knows_tools:
            what = "this model's chat template writes tool calls in a syntax that is not read here; leave tools out"
        raise _wrong("tools", what)
    must = choice == "required" or isinstance(choice, NamedChoice)
    return Offer(tuple(functions), must, several is not False, syntax)


class CallReader:
    """Reads an answer as it comes: text that is none of a call at once, a call once it is whole.

    What only looks like a call (no JSON, or of a function that was not offered) is text.
    """

    def __init__(self, offered: Offer) -> None:
        self._offer = offered
        self._names = {each.name for each in offered.functions}
        self._held = offered.syntax.opening if offered.must else ""
        self._mark = offered.syntax.opening.strip()
        self._end = offered.syntax.closing.strip()
        self.calls: list[ToolCall] = []

    def feed(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """The text and the calls that are sure now."""
        self._held += text
        if not self._mark:  # the whole answer is one call, or none
            return ("", ()) if self._held.lstrip()[:1] in ("", "{") else (self._release(), ())
        said = ""
        found: list[ToolCall] = []
        while (at := self._held.find(self._mark)) >= 0:
            end = self._held.find(self._end, at)
            said += self._held[:at].rstrip()
            self._held = self._held[at:]
            if end < 0:
                return said, tuple(found)
            whole, self._held = self._held[: end - at + len(self._end)], self._held[end - at + len(self._end) :]
            call = self._call(whole[len(self._mark) : -len(self._end)])
            if call is None:
                said += whole
            else:
                found.append(call)
        sure = _before_mark(self._held, self._mark)
        said += self._said(self._held[:sure])
        self._held = self._held[sure:]
        return said, tuple(found)

    def finish(self) -> tuple[str, tuple[ToolCall, ...]]:
        """What was held back until the end."""
        call = self._call(self._held.strip().removeprefix(self._mark)) if self._held.strip() else None
        if call is not None:
            self._held = ""
            return "", (call,)
        return self._said(self._release()), ()

    def _release(self) -> str:
        said, self._held = self._held, ""
        return said

    def _said(self, text: str) -> str:
        """What stands between and behind calls is white space as a rule, and nobody's answer."""
        return "" if self.calls and not text.strip() else text

    def _call(self, text: str) -> ToolCall | None:
        try:
            found = msgspec.json.decode(text)
        except msgspec.MsgspecError:
            return None
        arguments = found.get(self._offer.syntax.arguments) if isinstance(found, dict) else None
        if not isinstance(arguments, dict) or found.get("name") not in self._names:
            return None
        if self.calls and not self._offer.several:
            return None
        call = ToolCall(f"call_{uuid.uuid4().hex[:24]}", found["name"], msgspec.json.encode(arguments).decode())
        self.calls.append(call)
        return call


def _before_mark(text: str, mark: str) -> int:
    """How much of `text` cannot belong to a mark that has only begun, or to the white space before one."""
    begun = next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:size])), 0)
    return len(text[: len(text) - begun].rstrip())


def _function(at: int, tool: Tool) -> Function:
    if tool.type != "function" or tool.function is None:
        raise _wrong(f"tools[{at}]", f"tools[{at}] is of type {tool.type!r}; an owned model is offered functions")
    return tool.function


def _plain(function: Function) -> dict[str, Any]:
    parameters = function.parameters or {"type": "object", "properties": {}}
    return {"name": function.name, "description": function.description or "", "parameters": parameters}


def _call_schema(function: Function, syntax: Syntax) -> dict[str, Any]:
    """One call; the definitions of its parameters are put under the function's own name, beside those of others."""
    parameters: Any = _renamed(function.parameters or {"type": "object", "properties": {}}, function.name)
    definitions = parameters.pop("$defs", {}) | parameters.pop("definitions", {})
    return {
        "type": "object",
        "properties": {"name": {"const": function.name}, syntax.arguments: parameters},
        "required": ["name", syntax.arguments],
        "additionalProperties": False,
        "$defs": {f"{function.name}.{name}": each for name, each in definitions.items()},
    }


def _renamed(schema: Any, prefix: str) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(schema, list):
        return [_renamed(each, prefix) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _reference(each, prefix) if name == "$ref" else _renamed(each, prefix) for name, each in schema.items()
    }


def _reference(reference: Any, prefix: str) -> Any:  # noqa: ANN401
    for root in ("#/$defs/", "#/definitions/"):
        if isinstance(reference, str) and reference.startswith(root):
            return f"#/$defs/{prefix}.{reference.removeprefix(root)}"
    return reference


def _wrong(param: str, what: str) -> GatewayError:
    return GatewayError(400, what, code="unsupported_value", param=param)
