"""Public names and what stands behind them: canaries and shadows with sliders, back again, each change confirmed.

A change names the row that its editor saw. Where another row is newer by then, nothing is changed, and both are shown.
"""

from collections.abc import Iterator

from msgspec.structs import replace
from starlette.responses import Response

from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.errors import NotFoundError, UserError
from freehold.gateway import rollback
from freehold.store import deployments
from freehold.store.deployments import Deployment, Row, Share, target_name
from freehold.store.users import Role

HISTORY = 50


def show(visit: Visit) -> Response:
    """Every public name."""
    return visit.page("deployments.html", found=deployments.all_current(visit.store), target_name=target_name)


def one(visit: Visit) -> Response:
    """One name: what it stands for, its canary's watches, sliders, and its history."""
    rows = _rows(visit)
    deployment = rows[0].deployment
    others = [name for name in deployments.all_current(visit.store) if name != deployment.name]
    return visit.page(
        "deployment.html",
        deployment=deployment,
        row=rows[0],
        rows=rows[:HISTORY],
        others=others,
        told=list(described(deployment)),
        target_name=target_name,
        canary_to=_name_of(visit, deployment.shares[0] if deployment.shares else None),
        shadow_to=_name_of(visit, deployment.shadow),
        ruling=rollback.ruling(visit.store, deployment) if deployment.shares else None,
    )


def review(visit: Visit) -> Response:
    """What would change, to be confirmed."""
    rows = _rows(visit)
    wanted = _wanted(visit, rows[0].deployment)
    if wanted == rows[0].deployment:
        return visit.go(_address(visit), "nothing was changed: the sliders stand where they were")
    fields = [pair for pair in visit.form.pairs if pair[0] != "csrf"]
    return _confirmation(visit, f"Change {wanted.name}?", wanted, "/change", fields, "Change it")


def change(visit: Visit) -> Response:
    """Let the change hold."""
    wanted = _wanted(visit, _rows(visit)[0].deployment)
    reason = visit.form.get("reason") or "changed in the console"
    return _write(visit, wanted, f"{reason} ({visit.user.user})", "deployment changed")


def ask_back(visit: Visit) -> Response:
    """Is going back to an earlier row meant?"""
    row = _earlier(visit, visit.query.number("row", "the row"))
    seen = [("row", str(row.id)), ("seen", visit.query.get("seen"))]
    return _confirmation(
        visit, f"Roll {row.deployment.name} back to row {row.id}?", row.deployment, "/rollback", seen, "Roll back"
    )


def back(visit: Visit) -> Response:
    """Go back to an earlier row, as a new row that says so."""
    row = _earlier(visit, visit.form.number("row", "the row"))
    return _write(visit, row.deployment, f"rolled back to row {row.id} by {visit.user.user}", "rolled back")


def described(deployment: Deployment) -> Iterator[str]:
    """What a deployment does with a request, a line each."""
    rest = 1 - sum(each.share for each in deployment.shares)
    yield f"{rest:.0%} of sessions: {target_name(deployment.target)}"
    for share in deployment.shares:
        yield f"{share.share:.0%} of sessions, as a canary: {target_name(share.target)}"
    if deployment.shadow:
        yield f"{deployment.shadow.share:.0%} of requests also to its shadow: {target_name(deployment.shadow.target)}"
    for target in deployment.fallbacks:
        yield f"where that fails: {target_name(target)}"


def _wanted(visit: Visit, deployment: Deployment) -> Deployment:
    """The deployment as the sliders say."""
    canary, shadow = visit.form.share("canary", "the canary's share"), visit.form.share("shadow", "the shadow's share")
    shares = (_share(visit, "canary_to", canary, "the canary"),) if canary else ()
    beside = _share(visit, "shadow_to", shadow, "the shadow") if shadow else None
    return replace(deployment, shares=shares, shadow=beside)


def _share(visit: Visit, field: str, share: float, what: str) -> Share:
    name = visit.form.get(field)
    if not name:
        raise UserError(f"{what} has a share but no name to ask; choose one beside its slider")
    return Share(target=deployments.current(visit.store, name).target, share=share)


def _confirmation(
    visit: Visit, title: str, wanted: Deployment, action: str, fields: list[tuple[str, str]], word: str
) -> Response:
    return visit.page(
        "confirm.html",
        title=title,
        lines=[*described(wanted), "A running gateway follows within a second; the change is kept with your name."],
        action=_address(visit) + action,
        fields=fields,
        word=word,
        back=_address(visit),
    )


def _write(visit: Visit, wanted: Deployment, reason: str, action: str) -> Response:
    seen = visit.form.number("seen", "the row that you saw") or 0
    if not deployments.deploy_after(visit.store, wanted, reason, seen):
        return _conflict(visit, wanted)
    visit.log(action, wanted.name, "; ".join(described(wanted)))
    return visit.go(_address(visit), "it holds now; a running gateway follows within a second")


def _conflict(visit: Visit, wanted: Deployment) -> Response:
    newest = _rows(visit)[0]
    return visit.page(
        "conflict.html",
        409,
        newest=newest,
        now=list(described(newest.deployment)),
        mine=list(described(wanted)),
        back=_address(visit),
    )


def _rows(visit: Visit) -> list[Row]:
    name = visit.params["name"]
    rows = deployments.history(visit.store, name)
    if not rows:
        deployments.current(visit.store, name)  # raises, and names a near one
    return rows


def _earlier(visit: Visit, id: int | None) -> Row:
    row = next((each for each in _rows(visit) if each.id == id), None)
    if row is None:
        raise NotFoundError(f"{visit.params['name']} has no row {id}; its history lists them")
    return row


def _name_of(visit: Visit, share: Share | None) -> str:
    """The public name whose main target a share asks."""
    if share is None:
        return ""
    named = deployments.all_current(visit.store).items()
    return next((name for name, each in named if each.target == share.target), "")


def _address(visit: Visit) -> str:
    from urllib.parse import quote

    return f"/deployments/{quote(visit.params['name'], safe=':/')}"


PAGES = (
    Page("/deployments", show),
    Page("/deployments/{name:path}/review", review, method="POST", role=Role.EDITOR),
    Page("/deployments/{name:path}/change", change, method="POST", role=Role.EDITOR),
    Page("/deployments/{name:path}/rollback", ask_back, role=Role.EDITOR),
    Page("/deployments/{name:path}/rollback", back, method="POST", role=Role.EDITOR),
    Page("/deployments/{name:path}", one),
)
