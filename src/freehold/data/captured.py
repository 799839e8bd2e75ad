"""What the gateway recorded of a task → the fields of recorded exchanges, as a JSONL file of them would give.

A task's exchanges are those asked of its incumbent's model or of the task's own public name, unless they are tagged
`task=` with another name.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from freehold.data.subject import Subjects
from freehold.spec import Task
from freehold.store import exchanges
from freehold.store.database import connect
from freehold.store.exchanges import Exchange, Feedback
from freehold.store.workspace import Workspace

Fields = dict[str, Any]
SOURCE = "captured"


def captured(task: Task, workspace: Workspace) -> Iterator[tuple[str, Fields]]:
    """A task's exchanges, as `selected` gives them."""
    models = dict.fromkeys([*([task.incumbent.model] if task.incumbent else []), task.task])
    for place, fields in selected(workspace, exchanges.Query(models=tuple(models))):
        if fields.get("tags", {}).get("task", task.task) == task.task:
            yield place, fields


def selected(workspace: Workspace, query: exchanges.Query) -> Iterator[tuple[str, Fields]]:
    """Each exchange's origin (`exchange <id>`) and fields, oldest first; `redactions` counts hidden values."""
    store = connect(workspace.database_url)
    try:
        subjects = Subjects(workspace)
        subjects.hide_recorded(store)
        for exchange, said in exchanges.captured(store, query):
            fields = _fields(exchange, said, subjects)
            if fields is not None:
                yield f"exchange {exchange.id}", fields
    finally:
        store.dispose()


def _fields(exchange: Exchange, said: Feedback | None, subjects: Subjects) -> Fields | None:
    """None where it is no chat: an embedding, say."""
    request = msgspec.json.decode(exchange.request or "null")
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        return None
    user = request.pop("user", None)  # an id, where it was recorded before pseudonyms were
    return {
        "id": exchange.id,
        "request": request,
        "response": msgspec.json.decode(exchange.answer or "null"),
        "session": exchange.session,
        "subject": exchange.subject or (subjects.pseudonym(str(user)) if user else None),
        "feedback": {"verdict": said.verdict, "correction": said.correction} if said else None,
        "tags": exchanges.tags_of(exchange.tags),
        "redactions": exchange.redactions,
        "at": exchange.at / 1e6,
    }
