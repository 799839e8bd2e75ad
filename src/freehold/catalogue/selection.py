"""Models of the catalogue by what they are: size, openness, licence, language, set, and whether they fit here."""

import re
from collections.abc import Iterable

from freehold.catalogue import fit, openness
from freehold.catalogue.model import Model
from freehold.errors import UserError, did_you_mean
from freehold.records import Record

_SCALE = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class Filter(Record, frozen=True, kw_only=True):
    """What must hold; what is left out does not count. A fact that is unknown satisfies no filter.

    `min_openness` is a share of the index's dimensions (0..1); `available` is memory in bytes.
    """

    max_params: int | None = None
    min_openness: float | None = None
    licence: str | None = None
    language: str | None = None
    qianfan_2023: bool = False
    available: int | None = None


def count(text: str) -> int:
    """`500M` or `1.5B` as a number; raises `UserError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMBT]?)", text.strip().upper())
    if not match:
        raise UserError(f"{text}: is not a number of parameters; write it as 500M or 1B")
    return int(float(match[1]) * _SCALE.get(match[2], 1))


def select(models: Iterable[Model], wanted: Filter) -> list[Model]:
    """The models that satisfy a filter, smallest first, unknown sizes last."""
    found = list(models)
    licences = {model.licence.value for model in found}
    if wanted.licence and wanted.licence not in licences:
        raise UserError(f"{wanted.licence}: no model has that licence{did_you_mean(wanted.licence, licences)}")
    kept = [model for model in found if _satisfies(model, wanted)]
    return sorted(kept, key=lambda model: (model.parameters.value if model.parameters else 10**15, model.name))


def judged(name: str) -> openness.Ranked | None:
    """What counts as a model's openness: the first index that judges it."""
    return next(iter(openness.of_model(name)), None)


def _satisfies(model: Model, wanted: Filter) -> bool:
    if wanted.max_params is not None and not (model.parameters and model.parameters.value <= wanted.max_params):
        return False
    if wanted.licence and model.licence.value != wanted.licence:
        return False
    if wanted.language and not (model.languages and wanted.language in model.languages.value):
        return False
    if wanted.qianfan_2023 and model.qianfan_2023 is None:
        return False
    if wanted.min_openness is not None:
        found = judged(model.name)
        if found is None or found.share < wanted.min_openness:
            return False
    return wanted.available is None or _fits(model, wanted.available)


def _fits(model: Model, available: int) -> bool:
    needed = fit.serving_bytes(model)
    return needed is not None and needed <= available
