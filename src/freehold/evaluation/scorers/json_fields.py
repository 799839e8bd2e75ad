"""Scores of JSON answers: the same document, the share of fields that are right, and validity under the schema.

Documents are compared as JSON Schema compares them (2020-12, section 4.2.2): the order of keys does not matter, 1 and
1.0 are one number, and true is not 1. A document that names a key twice, or holds NaN, is not JSON (RFC 8259).
"""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

_Path = tuple[str | int, ...]


def canonical_match(answer: str, reference: str) -> float:
    """1 where both are the same JSON document, else 0."""
    left, right = parse(answer), parse(reference)
    return float(left is not INVALID and right is not INVALID and bool(_plain(left) == _plain(right)))


def field_accuracy(answer: str, reference: str) -> float:
    """The share of leaf fields, of either document, that both hold alike: a missing and an extra field both count."""
    left, right = parse(answer), parse(reference)
    if left is INVALID or right is INVALID:
        return 0.0
    given, wanted = dict(_leaves(left)), dict(_leaves(right))
    alike = sum(path in given and _plain(given[path]) == _plain(value) for path, value in wanted.items())
    return float(alike / len(given.keys() | wanted.keys()))


def schema_valid(answer: str, schema: dict[str, Any]) -> float:
    """1 where the answer is JSON that satisfies the schema, else 0."""
    from jsonschema.validators import validator_for

    document = parse(answer)
    return float(document is not INVALID and bool(validator_for(schema)(schema).is_valid(document)))


class _Invalid:
    """What a text that is not JSON parses to."""


INVALID = _Invalid()


def parse(text: str) -> Any:  # noqa: ANN401 (any JSON value)
    """The JSON document that a text is, or `INVALID`."""
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return INVALID


def _distinct(items: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in items}) != len(items):
        raise ValueError("a key stands twice")
    return dict(items)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _plain(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """A form in which Python's equality is JSON's."""
    if isinstance(value, bool) or value is None:
        return ("literal", value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _leaves(value: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:  # noqa: ANN401 (any JSON value)
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, (*path, key))
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            yield from _leaves(each, (*path, index))
    else:
        yield path, value
