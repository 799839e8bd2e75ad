"""`/openapi.json`: OpenAPI 3.1 of what is served, made of the routes and of the types that decode and encode.

Source of the shape: OpenAPI Specification 3.1.1. A dialect's own fields are its vendor's: what passes is described as
far as the gateway reads it, and everything else passes untouched.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.routing import BaseRoute

from freehold import __version__
from freehold.gateway.operations import JSON, Asked, MessagesRefusal, Operation, Refusal

_REF = "#/components/schemas/{name}"
_IN_PATH = re.compile(r"\{(\w+)(?::\w+)?\}")
_OUR_HEADERS = (
    ("X-Freehold-Tags", "name=value, with commas; kept with the exchange and on the bill"),
    ("X-Freehold-Session", "which conversation it belongs to"),
    ("X-Freehold-Subject", "whose data it is; kept as a pseudonym"),
)
_PLAIN = r"[^\x00-\x1f\x7f]"
_TAG = r" *([A-Za-z0-9_.-]{1,64} *=[^,\x00-\x1f\x7f]{0,200})?"
_TAGS = f"^{_TAG}(,{_TAG})*$"
_ABOUT = (
    "The gateway in front of every model. `/v1` speaks OpenAI's dialects and Anthropic's Messages; fields that are not "
    "named here pass untouched. `/freehold/v1` is Freehold's own."
)


def document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The document of every `Operation` among the routes."""
    operations = [each for each in routes if isinstance(each, Operation)]
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(_IN_PATH.sub(r"{\1}", each.path), {})[each.method.lower()] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Freehold", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "fh_…, or an upstream's"}},
        },
    }


class _Schemas:
    """Every body's schema, by its type."""

    def __init__(self, operations: list[Operation]) -> None:
        sides = [side for each in operations for side in (each.says.takes, each.says.gives, each.says.also)]
        bodies = [kind for side in sides for kind in side.values()]
        kinds = dict.fromkeys([Refusal, MessagesRefusal, *(kind for kind in bodies if kind is not None)])
        found, self.components = msgspec.json.schema_components(list(kinds), ref_template=_REF)
        self._of = dict(zip(kinds, found, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:  # noqa: ANN401 (a type, or None for bytes)
        return self._of[kind] if kind is not None else {}


def _operation(each: Operation, schemas: _Schemas) -> dict[str, Any]:
    says = each.says
    made: dict[str, Any] = {
        "operationId": f"{each.method.lower()}{re.sub(r'[^a-z]+', '_', each.path.lower()).rstrip('_')}",
        "summary": says.summary,
        "parameters": [*_in_path(each.path), *map(_query, says.query), *(_headers() if says.tagged else ())],
        "responses": _responses(each, schemas),
    }
    if says.takes:
        made["requestBody"] = {"required": True, "content": _content(says.takes, schemas)}
    if not says.open:
        made["security"] = [{}, {"key": []}]
    return made


def _content(bodies: Any, schemas: _Schemas) -> dict[str, Any]:  # noqa: ANN401 (a mapping of media types)
    return {media: {"schema": schemas.of(kind)} for media, kind in bodies.items()}


def _responses(each: Operation, schemas: _Schemas) -> dict[str, Any]:
    says = each.says
    refusal = schemas.of(MessagesRefusal if each.path.endswith("/messages") else Refusal)
    made: dict[str, Any] = {"200": {"description": "OK", "content": _content(says.gives, schemas)}}
    others = dict.fromkeys(says.fails, refusal) | {status: schemas.of(kind) for status, kind in says.also.items()}
    for status, schema in sorted(others.items()):
        made[str(status)] = {"description": HTTPStatus(status).phrase, "content": {JSON: {"schema": schema}}}
    if says.passes:
        made["default"] = {"description": "an upstream's own refusal, as it came"}
    return made


def _in_path(path: str) -> list[dict[str, Any]]:
    names = _IN_PATH.findall(path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query(asked: Asked) -> dict[str, Any]:
    schema = msgspec.json.schema(asked.kind)
    return {"name": asked.name, "in": "query", "required": False, "description": asked.says, "schema": schema}


def _headers() -> list[dict[str, Any]]:
    plain = {"type": "string", "maxLength": 256, "pattern": f"^{_PLAIN}*$"}
    named = [
        {"name": name, "in": "header", "required": False, "description": says, "schema": plain}
        for name, says in _OUR_HEADERS
    ]
    named[0]["schema"] = {"type": "string", "pattern": _TAGS}
    capture = {"type": "string", "enum": ["on", "off"]}
    what = "off: the bill is kept, and not the text"
    last = {"name": "X-Freehold-Capture", "in": "header", "required": False, "description": what, "schema": capture}
    return [*named, last]
