"""What was asked and answered: live, filtered, searched; and one exchange with its costs, its model and its lineage."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.data.patterns import Patterns
from freehold.errors import NotFoundError, UserError
from freehold.records import AdapterManifest, Record
from freehold.store import browse, deployments, exchanges, keys, search
from freehold.store.browse import Wanted
from freehold.store.exchanges import VERDICTS, Exchange, Feedback
from freehold.store.users import Role
from freehold.store.workspace import Workspace, read_record

_AT_ONCE = 100


class Turn(Record, frozen=True, kw_only=True):
    """One message of a conversation as it is shown."""

    role: str
    text: str


class Origin(Record, frozen=True, kw_only=True):
    """One step back from an answer: what stood behind it, and where a page tells more."""

    what: str
    name: str
    link: str = ""


def show(visit: Visit) -> Response:
    """A page of exchanges, newest first; without a search it can stay live."""
    wanted = wanted_of(visit)
    searching = bool(wanted.words)
    number = visit.query.number("page", "page", 1) or 1
    if searching:
        search.index(visit.store, _AT_ONCE)
    found = browse.page(visit.store, wanted, number)
    past = not found.rows and number > 1
    last = max(1, -(-browse.count(visit.store, wanted) // browse.PAGE)) if past and not searching else None
    return visit.page(
        "traffic.html",
        page=found,
        summaries={each.exchange.id: summary(each.exchange) for each in found.rows},
        wanted=wanted,
        models=browse.models(visit.store),
        keys={key.id: key.name for key in keys.every(visit.store)},
        verdicts=VERDICTS,
        waiting=search.waiting(visit.store) if searching else 0,
        past=past,
        last=last,
        live=number == 1 and not searching and visit.query.get("live") != "off",
    )


def wanted_of(visit: Visit) -> Wanted:
    """What the filters of the page ask for."""
    state = visit.query.get("state", "all") or "all"
    if state not in ("all", "answered", "failed"):
        raise UserError(f"state is {state!r}; it is all, answered or failed")
    verdict = visit.query.get("verdict") or None
    if verdict is not None and verdict not in VERDICTS:
        raise UserError(f"verdict is {verdict!r}; it is {', '.join(VERDICTS)}")
    until = _day(visit, "until")
    return Wanted(
        words=visit.query.get("q"),
        model=visit.query.get("model") or None,
        key=visit.query.get("key") or None,
        state=state,  # type: ignore[arg-type]  # checked above
        verdict=verdict,
        since=_day(visit, "since"),
        until=None if until is None else until + 86_400_000_000,
    )


def one(visit: Visit) -> Response:
    """One exchange: what was said, what it cost, what answered, and what that was made of."""
    exchange, attempts, said = exchanges.found(visit.store, visit.params["id"])
    return visit.page(
        "exchange.html",
        exchange=exchange,
        turns=turns(exchange),
        attempts=attempts,
        said=said,
        origins=lineage(visit, exchange),
        key=next((key for key in keys.every(visit.store) if key.id == exchange.key), None),
    )


def judge(visit: Visit) -> Response:
    """Say what an answer was worth; a correction is redacted as everything that is stored."""
    id = visit.params["id"]
    verdict, correction = visit.form.get("verdict"), visit.form.get("correction")
    if verdict == "corrected" and not correction:
        raise UserError("write the answer that would have been right, then send the correction")
    kept = Patterns(visit.workspace.root)().hide(correction) if verdict == "corrected" else None
    exchanges.say(visit.store, Feedback(exchange=id, verdict=verdict, correction=kept))
    visit.log("judged", id, verdict)
    return visit.go(f"/traffic/{id}", f"kept: {verdict}")


def summary(exchange: Exchange) -> tuple[str, str]:
    """The last question and the answer, each in one line."""
    found = turns(exchange)
    asked = next((turn.text for turn in reversed(found[:-1] or found) if turn.role == "user"), "")
    answered = found[-1].text if found and found[-1].role == "assistant" else ""
    return _line(asked), _line(answered)


def turns(exchange: Exchange) -> list[Turn]:
    """The conversation; whatever has another shape is shown as it was kept."""
    request, answer = _document(exchange.request), _document(exchange.answer)
    found = []
    if isinstance(request, dict):
        if isinstance(request.get("system"), str):
            found.append(Turn(role="system", text=request["system"]))
        said = request.get("messages") or request.get("input") or request.get("prompt") or ()
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
        found += [
            Turn(role=str(each.get("role", "user")), text=_text(each.get("content")))
            for each in messages
            if isinstance(each, dict)
        ]
    if not found and exchange.request is not None:
        found = [Turn(role="user", text=exchange.request)]
    if exchange.answer is not None:
        found.append(Turn(role="assistant", text=_answer(answer) or exchange.answer))
    return found


def lineage(visit: Visit, exchange: Exchange) -> list[Origin]:
    """What stood behind the answer when it was given, step by step."""
    rows = deployments.history(visit.store, exchange.model)
    row = next((each for each in rows if each.created_at <= exchange.at), None)
    if row is None:
        return [Origin(what="answered by", name=exchange.answered_by)]
    found = [Origin(what="public name", name=f"{exchange.model}, as of row {row.id}: {row.reason}",
                    link=f"/deployments/{exchange.model}")]  # fmt: skip
    for target in row.deployment.targets:
        if not exchange.answered_by.endswith(deployments.target_name(target)):
            continue
        found.append(Origin(what="answered by", name=deployments.target_name(target)))
        if isinstance(target, deployments.AdapterTarget):
            found += _adapter(visit.workspace, target.adapter)
        if isinstance(target, deployments.AdapterTarget | deployments.BaseTarget):
            found.append(Origin(what="base", name=target.base, link=f"/models/{target.base}"))
        break
    for what, digest in row.deployment.evidence.items():
        link = f"/decision/{digest}" if what == "decision" else f"/evaluation/{digest}" if what == "report" else ""
        found.append(Origin(what=what, name=digest, link=link))
    return found


def _adapter(workspace: Workspace, adapter: str) -> list[Origin]:
    try:
        manifest = read_record(workspace.adapters / adapter / "manifest.json", AdapterManifest)
    except NotFoundError:
        return [Origin(what="adapter", name=f"{adapter[:12]}, whose manifest is gone")]
    recipe = ", ".join(f"{name} {value}" for name, value in list(manifest.recipe.items())[:4])
    return [
        Origin(what="adapter", name=f"{adapter[:12]} · {recipe}", link=f"/tuning/adapters/{adapter}"),
        Origin(what="tuned on dataset", name=manifest.dataset),
    ]


def _day(visit: Visit, name: str) -> int | None:
    said = visit.query.get(name)
    if not said:
        return None
    try:
        return int(datetime.fromisoformat(said).replace(tzinfo=UTC).timestamp() * 1e6)
    except ValueError:
        raise UserError(f"{name} is {said!r}; write a day such as 2026-11-23") from None


def _document(content: str | None) -> Any:  # noqa: ANN401 (any JSON value)
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.MsgspecError:
        return content


def _answer(document: Any) -> str:  # noqa: ANN401
    """The text of an answer, in the shapes of OpenAI's and Anthropic's APIs."""
    if not isinstance(document, dict):
        return document if isinstance(document, str) else ""
    choices = document.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        return _text(message.get("content")) if isinstance(message, dict) else str(choices[0].get("text") or "")
    error = document.get("error")
    if isinstance(error, dict):
        return str(error.get("message") or "")
    return _text(document.get("content") or document.get("output"))


def _text(content: Any) -> str:  # noqa: ANN401
    if isinstance(content, list):
        return "\n".join(_text(each.get("text") or each.get("content")) for each in content if isinstance(each, dict))
    return content if isinstance(content, str) else "" if content is None else msgspec.json.encode(content).decode()


def _line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 160 else f"{flat[:159]}…"


PAGES = (
    Page("/traffic", show),
    Page("/traffic/{id}", one),
    Page("/traffic/{id}/feedback", judge, method="POST", role=Role.VOTER),
)
