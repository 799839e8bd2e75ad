"""What an answer may be, as llama.cpp's grammar (GBNF), and as a check of a finished answer.

GBNF: https://github.com/ggml-org/llama.cpp/tree/master/grammars
"""

import json
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from freehold.engines.engine import Constraint, Gbnf, JsonSchema, Labels, Regex
from freehold.errors import UserError

codes: Any = import_module("re._constants")  # the parser behind `re`, public as sre_parse until Python 3.10
parser: Any = import_module("re._parser")

_LONGEST_REPEAT = 1000


def to_gbnf(constraint: Labels | Gbnf | Regex) -> str:
    """The grammar whose language is exactly what `constraint` permits; raises `UserError` where GBNF has no such."""
    if isinstance(constraint, Gbnf):
        return constraint.grammar
    if isinstance(constraint, Labels):
        return labels_gbnf(constraint.labels)
    return regex_gbnf(constraint.pattern)


def labels_gbnf(labels: Sequence[str]) -> str:
    """One of these texts, as a whole."""
    if not labels:
        raise UserError("a label constraint names no label; name at least one")
    if "" in labels:
        raise UserError("a label constraint names the empty label; an answer must have some text")
    return "root ::= " + " | ".join(_literal(label) for label in labels)


def telling_prefixes(labels: Sequence[str]) -> dict[str, str]:
    """The shortest prefix of each label that occurs in no other label: once it is decoded, the rest is forced.

    Decoding may stop there, and the answer is exactly what it would have been: under the grammar every other
    continuation has probability 0. A label that is part of another one has no such prefix and is decoded to its end.
    """
    found: dict[str, str] = {}
    for label in labels:
        others = [other for other in labels if other != label]
        prefixes = (label[:length] for length in range(1, len(label) + 1))
        prefix = next((each for each in prefixes if not any(each in other for other in others)), None)
        if prefix is not None:
            found[prefix] = label
    return found


def regex_gbnf(pattern: str) -> str:
    """Text that matches `pattern` as a whole, in Python's syntax; `.` is any character but a line break."""
    try:
        parsed = parser.parse(pattern)
    except re.error as error:
        raise UserError(f"regex {pattern!r} is not one: {error}") from None
    return f"root ::= {_sequence(parsed, pattern)}"


def checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as an engine should decode under it: JSON on one line, spaced as `render.json_answer` writes it.

    Left alone, engines allow any white space, in which a small model loses itself. `x-guidance` is llguidance's word;
    other engines ignore it. Raises `UserError` where it is no JSON Schema.
    """
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise UserError(f"the JSON Schema is not one: {error.message}") from None
    spacing = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return schema | {"x-guidance": spacing}


def permits(constraint: Constraint, text: str) -> bool:
    """Whether a finished answer satisfies `constraint`. A GBNF grammar cannot be checked here and permits anything."""
    if isinstance(constraint, Labels):
        return text in constraint.labels
    if isinstance(constraint, Regex):
        return re.fullmatch(constraint.pattern, text) is not None
    if isinstance(constraint, JsonSchema):
        return _valid_json(constraint.json_schema, text)
    return True


def _valid_json(schema: dict[str, Any], text: str) -> bool:
    from jsonschema import Draft202012Validator

    try:
        return bool(Draft202012Validator(schema).is_valid(json.loads(text)))
    except ValueError:
        return False


def _literal(text: str) -> str:
    return '"' + "".join(_escaped(character, '"') for character in text) + '"'


def _escaped(character: str, closing: str) -> str:
    code = ord(character)
    if character in ("\\", closing):
        return "\\" + character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02X}"
    return character


def _sequence(items: Any, pattern: str) -> str:  # noqa: ANN401 (the parser's own nodes)
    return " ".join(filter(None, (_node(code, value, pattern) for code, value in items))) or '""'


def _node(code: Any, value: Any, pattern: str) -> str:  # noqa: ANN401
    if code is codes.LITERAL:
        return _literal(chr(value))
    if code is codes.NOT_LITERAL:
        return f"[^{_in_class(value)}]"
    if code is codes.ANY:
        return "[^\\n]"
    if code is codes.IN:
        return _class(value, pattern)
    if code is codes.BRANCH:
        return "(" + " | ".join(_sequence(branch, pattern) for branch in value[1]) + ")"
    if code is codes.SUBPATTERN:
        return f"({_sequence(value[3], pattern)})"
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        low, high, body = value
        return _repeat(low, high, _sequence(body, pattern), pattern)
    if code is codes.AT and value in (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING, codes.AT_END, codes.AT_END_STRING):
        return ""  # the whole answer must match in any case
    raise UserError(f"regex {pattern!r}: {str(code).lower()} cannot be decoded under; use a plain expression")


def _repeat(low: int, high: Any, body: str, pattern: str) -> str:  # noqa: ANN401
    inner = f"({body})"
    if high is codes.MAXREPEAT:
        return inner + {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    if high > _LONGEST_REPEAT:
        raise UserError(
            f"regex {pattern!r}: repeats up to {high} times; at most {_LONGEST_REPEAT} can be decoded under"
        )
    return f"{inner}{{{low},{high}}}"


_CATEGORIES = {
    codes.CATEGORY_DIGIT: "0-9",
    codes.CATEGORY_SPACE: " \\t\\n\\r\\x0B\\x0C",
    codes.CATEGORY_WORD: "0-9A-Za-z_",
}


def _class(items: Any, pattern: str) -> str:  # noqa: ANN401
    negated, parts = "", []
    for code, value in items:
        if code is codes.NEGATE:
            negated = "^"
        elif code is codes.LITERAL:
            parts.append(_in_class(value))
        elif code is codes.RANGE:
            parts.append(f"{_in_class(value[0])}-{_in_class(value[1])}")
        elif code is codes.CATEGORY and value in _CATEGORIES:
            parts.append(_CATEGORIES[value])
        else:
            raise UserError(
                f"regex {pattern!r}: {str(value).lower()} cannot be decoded under; write the characters out"
            )
    return f"[{negated}{''.join(parts)}]"


def _in_class(code: int) -> str:
    if chr(code) in "]^-\\[":
        return f"\\x{code:02X}"
    return _escaped(chr(code), "]")
