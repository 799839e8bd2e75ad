"""What was decided and on what: the certificate to print and sign, and its costs with sliders."""

import base64
import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from freehold.console.house import Visit
from freehold.console.page import POLICY, Page
from freehold.decision import certificate, cost_sheet, measured, pictures, scenarios
from freehold.decision import page as certificate_page
from freehold.decision.break_even import BreakEven, break_even
from freehold.decision.cost_sheet import Sheet
from freehold.decision.costs import Cost, costs
from freehold.errors import NotFoundError, UndeterminedError, UserError
from freehold.evaluation import report as reports
from freehold.records import Decision
from freehold.store import decisions
from freehold.store.workspace import Workspace

SHEET = "costs.yaml"
SLIDERS = (
    ("price", "What the vendor asks"),
    ("traffic", "Jobs a month"),
    ("machine", "What a machine costs an hour"),
    ("people", "People's hours"),
)
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


@dataclass(frozen=True)
class Reckoned:
    """A sheet's costs, and where owning pays."""

    costs: list[Cost]
    pays: list[BreakEven]


def show(visit: Visit) -> Response:
    """Every decision, newest first."""
    found = list(reversed(decisions.every(visit.workspace, visit.store)))
    return visit.page("decisions.html", decisions=found, headline=certificate.headline, spell=certificate.spell)


def one(visit: Visit) -> Response:
    """One decision in short, and its costs with sliders."""
    decision = read(visit)
    return visit.page(
        "decision.html",
        decision=decision,
        headline=certificate.headline(decision),
        intact=certificate.intact(decision),
        forest=Markup(pictures.forest(decision.comparisons, decision.plan.margin)) if decision.comparisons else "",
        spell=certificate.spell,
        sliders=SLIDERS,
        **_costs(visit, decision),
    )


def changed(visit: Visit) -> Response:
    """The costs alone, for other positions of the sliders."""
    return visit.page("costs.html", **_costs(visit, read(visit)))


def printable(visit: Visit) -> Response:
    """The certificate as one page, as `freehold decision page` writes it; its own style is allowed by its digest."""
    decision = read(visit)
    if not certificate.intact(decision):
        raise NotFoundError(f"{decision.digest[:12]}: was altered: its content is not what its digest says")
    sheet = _sheet(visit, decision)
    found = _reckoned(sheet) if sheet else Reckoned([], [])
    html = certificate_page.page(decision, found.costs, found.pays)
    style = _STYLE.search(html)
    digest = base64.b64encode(hashlib.sha256((style[1] if style else "").encode()).digest()).decode()
    policy = POLICY.replace("style-src 'self'", f"style-src 'sha256-{digest}'")
    return HTMLResponse(_without_policy(html), headers={"content-security-policy": policy})


def read(visit: Visit) -> Decision:
    """The decision that the address names."""
    return decisions.read(visit.workspace, visit.params["digest"].replace("/", ""))


def _costs(visit: Visit, decision: Decision) -> dict[str, Any]:
    """What the template of the costs needs."""
    words = {
        "money": certificate_page.money,
        "thousand": certificate_page.thousand,
        "pays_words": certificate_page.pays,
        "curve": lambda each: Markup(pictures.break_even_curve(each)),
        "tornado": lambda each: Markup(pictures.tornado(each)),
    }
    sheet = _sheet(visit, decision)
    if sheet is None:
        return {"found": None, "sheet": SHEET, "digest": decision.digest, **words}
    for name, change in (("price", _price), ("traffic", scenarios.traffic), ("machine", _machine), ("people", _people)):
        factor = _factor(visit, name)
        if factor != 1:
            sheet = change(sheet, factor)
    return {"found": _reckoned(sheet), "sheet": SHEET, "digest": decision.digest, **words}


def _reckoned(sheet: Sheet) -> Reckoned:
    pays = []
    for name in (*sheet.options, *sheet.cascades):
        if name != sheet.rented:
            with suppress(UndeterminedError):
                pays.append(break_even(sheet, name))
    return Reckoned(costs(sheet), pays)


def _factor(visit: Visit, name: str) -> Decimal:
    """A slider stands at a power of two: 0 is as it is, 1 twice as much, −1 half."""
    said = visit.query.get(name) or "0"
    try:
        power = float(said)
    except ValueError:
        power = 99.0
    if not -4 <= power <= 4:
        raise UserError(f"{name} is {said!r}; a slider stands between -4 and 4")
    return Decimal(str(round(2**power, 4)))


def _price(sheet: Sheet, factor: Decimal) -> Sheet:
    return scenarios.vendor_price(sheet, sheet.rented, factor) if sheet.rented else sheet


def _machine(sheet: Sheet, factor: Decimal) -> Sheet:
    for name in sheet.options:
        sheet = scenarios.machine_price(sheet, name, factor)
    return sheet


def _people(sheet: Sheet, factor: Decimal) -> Sheet:
    for name in sheet.options:
        sheet = scenarios.staff_time(sheet, name, factor)
    return sheet


def _sheet(visit: Visit, decision: Decision) -> Sheet | None:
    """The cost sheet beside the workspace, its gaps filled from the report that was decided on."""
    path = next((each for each in (visit.workspace.root.parent / SHEET, Path(SHEET)) if each.is_file()), None)
    if path is None:
        return None
    return _filled(path, path.stat().st_mtime_ns, visit.workspace.root, decision.evidence.get("report", ""))


@lru_cache(maxsize=8)
def _filled(path: Path, _changed: int, root: Path, digest: str) -> Sheet:
    workspace = Workspace(root)
    sheet = cost_sheet.parse(path.read_text(encoding="utf-8"), path)
    with suppress(NotFoundError):
        report = reports.read(workspace, digest)
        sheet = measured.fill(sheet, report, reports.read_rows(workspace, report))
    return sheet


def _without_policy(html: str) -> str:
    """The page names a looser policy for when it lies on a disk; here the header's holds."""
    return re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n?', "", html)


PAGES = (
    Page("/decision", show),
    Page("/decision/{digest}", one),
    Page("/decision/{digest}/costs", changed),
    Page("/decision/{digest}/certificate", printable),
)
