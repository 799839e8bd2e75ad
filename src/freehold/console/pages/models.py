"""The catalogue: models by their facts, how open they are, whether they may be used so, and where they came from."""

from markupsafe import Markup
from starlette.responses import Response

from freehold.catalogue import fit, licence, lineage, model, openness, rights, selection
from freehold.catalogue.rights import FIELDS, Behind
from freehold.catalogue.selection import Filter
from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.errors import NotFoundError
from freehold.spec import Use

FACTS = (
    "organisation", "country", "release_month", "parameters", "active_parameters", "architecture", "context_length",
    "languages", "licence", "base", "training_tokens", "modality",
)  # fmt: skip
_QUESTIONS = (
    ("commercial", "Is money earned with it?"),
    ("hosted_service", "May outsiders call the model?"),
    ("redistribute", "Do weights leave the company?"),
    ("train_on_outputs", "Do its answers train other models?"),
)


def warm() -> None:
    """Read what ships of the catalogue, so that the first visitor does not wait for it."""
    licence.licences()
    for name in model.built_in():
        selection.judged(name)


def show(visit: Visit) -> Response:
    """The models that pass the filters."""
    known = model.known(visit.workspace)
    size, open_share = visit.query.get("max_params"), visit.query.number("openness", "openness", least=0)
    wanted = Filter(
        max_params=selection.count(size) if size else None,
        min_openness=None if open_share is None else open_share / 100,
        licence=visit.query.get("licence") or None,
        language=visit.query.get("language") or None,
        available=fit.available_bytes() if visit.query.get("fits") else None,
    )
    found = selection.select(known.values(), wanted)
    return visit.page(
        "models.html",
        found=found,
        judged={each.name: selection.judged(each.name) for each in found},
        total=len(known),
        licences=sorted({each.licence.value for each in known.values()}),
        languages=sorted({name for each in known.values() if each.languages for name in each.languages.value}),
    )


def one(visit: Visit) -> Response:
    """Every fact of one model with its source, its lineage as a picture, and the rights check as a form."""
    entry = model.find(visit.params["name"], visit.workspace)
    asked = bool(visit.query)
    use = _use(visit)
    behind = Behind(teacher=visit.query.get("teacher") or None, contract=visit.query.get("contract"))
    try:
        drawn = Markup(lineage.svg(lineage.of(entry.name, visit.workspace)))
    except NotFoundError:
        drawn = Markup("")
    return visit.page(
        "model.html",
        entry=entry,
        facts=[(name.replace("_", " "), getattr(entry, name)) for name in FACTS if getattr(entry, name) is not None],
        judged=openness.of_model(entry.name),
        grant=licence.granted(entry.name),
        licences=licence.licences(),
        lineage=drawn,
        verdict=rights.check(entry.name, use, behind, visit.workspace) if asked else None,
        questions=_QUESTIONS,
        fields=FIELDS,
    )


def matrix(visit: Visit) -> Response:
    """How open each project is, dimension by dimension, each mark with its evidence."""
    name = visit.query.get("index") or openness.FIRST
    of = openness.index(name)
    names = sorted(path.stem for path in openness.FOLDER.glob("*.toml"))
    return visit.page("openness.html", index=of, rows=openness.ranked(name), names=names)


def _use(visit: Visit) -> Use:
    """The use that the form describes; what was left open is unknown, and never counts as allowed."""
    answers = {name: {"yes": True, "no": False}.get(visit.query.get(name)) for name, _ in _QUESTIONS}
    return Use(
        **answers,
        monthly_active_users=visit.query.number("users", "monthly active users", least=0),
        territory=visit.query.get("territory") or None,
        field=visit.query.get("field") or None,
    )


PAGES = (Page("/models", show), Page("/models/openness", matrix), Page("/models/{name:path}", one))
