"""Trying models: any deployed name beside others, with parameters; adapters and bases can be made askable."""

from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Send

from freehold.console import chat
from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.errors import NotFoundError, UserError
from freehold.gateway.faults import GatewayError
from freehold.records import AdapterManifest, from_json
from freehold.render import Prompt
from freehold.store import deployments
from freehold.store.deployments import AdapterTarget, BaseTarget, Deployment
from freehold.store.users import Role
from freehold.store.workspace import read_record

MOST_SIDES = 4
_NUMBERS = {"temperature": (0.0, 2.0), "top_p": (0.0, 1.0)}
_WHOLE = {"max_tokens": (1, 8192), "seed": (0, 2**31)}


def show(visit: Visit) -> Response:
    """The sides to choose, and what lies on this disk that nothing asks yet."""
    served = deployments.all_current(visit.store)
    chosen = visit.query.every("model")[:MOST_SIDES] or list(served)[:2]
    desk = visit.house.desk
    return visit.page(
        "playground.html",
        served=served,
        chosen=chosen,
        upstream=desk.routes.upstream if desk else None,
        idle=_idle(visit, served),
        most=MOST_SIDES,
    )


async def answer(visit: Visit, receive: Receive, send: Send) -> None:
    """One side's answer, streamed."""
    model = visit.form.need("model", "the model")
    messages = chat.turns(visit.form.get("messages"), ("system", "user", "assistant"))
    await chat.ask(visit.house.desk, chat.Asking(model, messages, _parameters(visit), "playground"), receive, send)


def wake(visit: Visit) -> Response:
    """Give an adapter or a base a public name, so that it can be asked like any other."""
    what = visit.form.need("what", "what to make askable")
    found = _idle(visit, deployments.all_current(visit.store)).get(what)
    if found is None:
        raise NotFoundError(f"{what}: is not on this disk, or can be asked already")
    deployments.deploy(visit.store, found, f"made askable by {visit.user.user} in the playground")
    visit.log("made askable", found.name)
    return visit.go(f"/playground?model={found.name}", f"{found.name} can be asked in a moment: its engine starts now")


def _idle(visit: Visit, served: dict[str, Deployment]) -> dict[str, Deployment]:
    """Bases and adapters on this disk that no public name asks as they are, each with the deployment it would get."""
    targets = [target for each in served.values() for target in each.targets]
    asked_bases = {each.base for each in targets if isinstance(each, BaseTarget) and each.prompt is None}
    asked_adapters = {each.adapter for each in targets if isinstance(each, AdapterTarget)}
    found = {}
    for path in sorted(visit.workspace.models.glob("*/base.json")):
        name = path.parent.name
        if name not in asked_bases:
            found[f"base {name}"] = Deployment(name=f"base:{name}", target=BaseTarget(base=name))
    for path in sorted(visit.workspace.adapters.glob("*/manifest.json")):
        manifest = read_record(path, AdapterManifest)
        if manifest.digest not in asked_adapters and manifest.render:
            prompt = from_json(_json(manifest.render), Prompt)
            target = AdapterTarget(base=manifest.base, adapter=manifest.digest, prompt=prompt)
            name = f"adapter:{manifest.task}-{manifest.digest[:12]}"
            found[f"adapter {manifest.digest[:12]} of {manifest.task}"] = Deployment(name=name, target=target)
    return found


def _json(value: Any) -> bytes:  # noqa: ANN401 (any JSON-able value)
    import msgspec

    return msgspec.json.encode(value)


def _parameters(visit: Visit) -> dict[str, Any]:
    """What the form says of decoding; what is left empty is the model's own."""
    found: dict[str, Any] = {"stream_options": {"include_usage": True}}
    for name, (least, most) in _NUMBERS.items():
        said = visit.form.get(name)
        if said:
            try:
                value = float(said)
            except ValueError:
                value = -1.0
            if not least <= value <= most:
                raise GatewayError(400, f"{name} is {said!r}; write a number from {least:g} to {most:g}", param=name)
            found[name] = value
    for name, (fewest, largest) in _WHOLE.items():
        try:
            whole = visit.form.number(name, name, least=fewest)
        except UserError as error:
            raise GatewayError(400, str(error), param=name) from None
        if whole is not None:
            found[name] = min(whole, largest)
    return found


PAGES = (
    Page("/playground", show, role=Role.EDITOR),
    Page("/playground/ask", method="POST", role=Role.EDITOR, stream=answer),
    Page("/playground/wake", wake, method="POST", role=Role.EDITOR),
)
