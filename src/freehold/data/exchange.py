"""Recorded exchanges in OpenAI's format → rows.

Two forms are read: `{"messages": […, {"role": "assistant", …}]}`, whose last assistant turn is the answer, and
`{"request": {"messages": […]}, "response": {"choices": […]}}`, as a gateway records them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.data.row import Judged, Row, judged, optional_text
from freehold.errors import DataError
from freehold.records import Message, Provenance

_ROLES = ("system", "developer", "user", "assistant")


def is_exchange(fields: Mapping[str, Any]) -> bool:
    """Whether a row is a recorded exchange rather than a pair."""
    return "messages" in fields or "request" in fields


def to_row(fields: Mapping[str, Any], index: int, origin: str, default: Provenance) -> tuple[Row, Judged]:
    """One exchange as a row; raises `DataError` where it has no turns, no answer, or holds more than text."""
    request = fields.get("request")
    if request is None:
        messages, answer = _last_answer(_messages(fields.get("messages"), origin), origin)
        request = fields
    else:
        if not isinstance(request, Mapping):
            raise DataError(f"{origin}: request is not an object with `messages`")
        messages = _messages(request.get("messages"), origin)
        answer = _response(fields.get("response"), origin)
    heard = judged(fields, answer, default, origin)
    if not heard.answer:
        raise DataError(f"{origin}: has no answer; the assistant's turn is empty")
    if not any(message.role == "user" and message.content.strip() for message in messages):
        raise DataError(f"{origin}: has no input; there is no user turn with text before the answer")
    row = Row(
        index=index,
        origin=origin,
        messages=messages,
        answer=heard.answer,
        provenance=heard.provenance,
        incumbent_answer=heard.incumbent_answer,
        session=optional_text(fields.get("session")),
        subject=optional_text(fields.get("subject")) or optional_text(request.get("user")),
    )
    return row, heard


def without_answer(fields: Mapping[str, Any], index: int, origin: str) -> Row:
    """A row that is about to be dropped: what is known of it, however broken."""
    request = fields.get("request")
    user = request.get("user") if isinstance(request, Mapping) else None
    return Row(
        index=index,
        origin=origin,
        messages=(),
        answer="",
        provenance=Provenance.INCUMBENT,
        session=optional_text(fields.get("session")),
        subject=optional_text(fields.get("subject")) or optional_text(user),
    )


def _last_answer(messages: tuple[Message, ...], origin: str) -> tuple[tuple[Message, ...], str]:
    at = next((at for at in reversed(range(len(messages))) if messages[at].role == "assistant"), None)
    if at is None:
        raise DataError(f"{origin}: has no answer; the last turn must be the assistant's")
    return messages[:at], messages[at].content


def _response(response: object, origin: str) -> str:
    choices = response.get("choices") if isinstance(response, Mapping) else None
    if not isinstance(choices, Sequence) or not choices or not isinstance(choices[0], Mapping):
        raise DataError(f"{origin}: has no answer; response.choices is missing or empty")
    message = choices[0].get("message")
    if not isinstance(message, Mapping):
        raise DataError(f"{origin}: has no answer; response.choices[0].message is missing")
    return _content(message.get("content"), origin)


def _messages(given: object, origin: str) -> tuple[Message, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise DataError(f"{origin}: messages is not a list of turns, each with a `role` and a `content`")
    return tuple(_message(turn, origin) for turn in given)


def _message(turn: object, origin: str) -> Message:
    if not isinstance(turn, Mapping) or turn.get("role") not in _ROLES:
        raise DataError(f"{origin}: a turn has no known role; the roles are {', '.join(_ROLES)}")
    role = "system" if turn["role"] == "developer" else str(turn["role"])
    return Message(role=role, content=_content(turn.get("content"), origin))


def _content(content: object, origin: str) -> str:
    """Text as it is, or the joined text parts; None (a tool call) is an empty text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(
        isinstance(part, Mapping) and part.get("type") == "text" for part in content
    ):
        return "".join(str(part.get("text", "")) for part in content)
    raise DataError(f"{origin}: a turn holds something other than text; only text can be learned")
