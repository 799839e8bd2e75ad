"""What an owned model's answer may be: the deployment's own rule first, else what the caller asks for.

A caller asks with OpenAI's `response_format`, or, for what that cannot say, with the fields that vLLM serves:
`structured_outputs` {json | regex | choice | grammar} or, as older clients write it, `guided_json`, `guided_regex`,
`guided_choice`, `guided_grammar`. A grammar is llama.cpp's GBNF.
Sources: OpenAI's API reference; vLLM's documentation, *Structured Outputs*.
"""

from typing import Any

import msgspec

from freehold.engines.engine import Constraint, Gbnf, JsonSchema, Labels, Regex
from freehold.engines.grammar import checked_schema, labels_gbnf, regex_gbnf
from freehold.errors import UserError
from freehold.gateway.chat import ChatRequest, ResponseFormat
from freehold.gateway.faults import GatewayError
from freehold.records import AnswerType
from freehold.store.deployments import Deployment

_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def own_rule(deployment: Deployment) -> Constraint | None:
    """What a deployment's task says that an answer is."""
    if deployment.answer_type is AnswerType.LABEL:
        return Labels(labels=deployment.labels)
    if deployment.answer_type is AnswerType.JSON:
        return JsonSchema(json_schema=deployment.json_schema or _ANY_OBJECT)
    return None


def constraint_of(deployment: Deployment, chat: ChatRequest) -> Constraint | None:
    """What may be decoded; raises `GatewayError` for a wish that is wrong, or that contradicts another."""
    rule = own_rule(deployment)
    if rule is not None:
        return rule
    wishes = [(field, each) for field, each in _wishes(chat).items() if each is not None]
    if len(wishes) > 1:
        fields = " and ".join(field for field, _ in wishes)
        raise _wrong(wishes[1][0], f"{fields} are both given; an answer can be held to one of them")
    if not wishes:
        return None
    field, wish = wishes[0]
    try:
        _check(wish)
    except UserError as error:
        raise GatewayError(400, f"{field}: {error}", code="invalid_value", param=field) from None
    return wish


def _wishes(chat: ChatRequest) -> dict[str, Constraint | None]:
    found: dict[str, Constraint | None] = {"response_format": _formatted(chat.response_format)}
    named = chat.structured_outputs
    for prefix, json, regex, choice, grammar in (
        ("structured_outputs.", *((named.json, named.regex, named.choice, named.grammar) if named else (None,) * 4)),
        ("guided_", chat.guided_json, chat.guided_regex, chat.guided_choice, chat.guided_grammar),
    ):
        found[f"{prefix}json"] = None if json is None else JsonSchema(json_schema=_schema(f"{prefix}json", json))
        found[f"{prefix}regex"] = None if regex is None else Regex(pattern=regex)
        found[f"{prefix}choice"] = None if choice is None else Labels(labels=tuple(choice))
        found[f"{prefix}grammar"] = None if grammar is None else Gbnf(grammar=grammar)
    return found


def _formatted(wanted: ResponseFormat | None) -> Constraint | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return JsonSchema(json_schema=_ANY_OBJECT)
    if wanted.type == "json_schema" and wanted.json_schema is not None:
        return JsonSchema(json_schema=wanted.json_schema.schema or _ANY_OBJECT)
    what = f"response_format.type is {wanted.type!r}; it may be text, json_object or json_schema"
    raise _wrong("response_format", what)


def _schema(field: str, written: dict[str, Any] | str) -> dict[str, Any]:
    if not isinstance(written, str):
        return written
    try:
        return msgspec.json.decode(written, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise _wrong(field, f"{field} is no JSON object; write a JSON Schema") from None


def _check(wish: Constraint) -> None:
    """Refuse here, with the field's name, what any engine would refuse; a grammar only its engine can read."""
    if isinstance(wish, JsonSchema):
        checked_schema(wish.json_schema)
    elif isinstance(wish, Labels):
        labels_gbnf(wish.labels)
    elif isinstance(wish, Regex):
        regex_gbnf(wish.pattern)


def _wrong(param: str, what: str) -> GatewayError:
    return GatewayError(400, what, code="unsupported_value", param=param)
