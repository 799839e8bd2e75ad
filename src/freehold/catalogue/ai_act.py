"""What the European AI Act asks of a model to count as free and open-source, and what is missing for one.

An explanation from the catalogue's facts, not legal advice. The criteria are data: `ai_act.toml`.
"""

from functools import lru_cache
from pathlib import Path

import msgspec

from freehold.catalogue import licence, model, openness
from freehold.catalogue.model import Model
from freehold.catalogue.openness import Degree, Ranked
from freehold.records import Record

_SYSTEMIC = 1e25  # operations of training, Article 51(2)


class Criterion(Record, frozen=True, kw_only=True):
    """One thing the Act asks. `dimension`: the openness index's dimension that answers it."""

    name: str
    asks: str
    clause: str
    dimension: str


class Act(Record, frozen=True, kw_only=True):
    source: str
    spares: str
    still: str
    criteria: tuple[Criterion, ...]


class Finding(Record, frozen=True, kw_only=True):
    """Whether a criterion is met (None: the facts at hand do not settle it), and by what."""

    criterion: str
    asks: str
    clause: str
    met: bool | None
    because: str


@lru_cache(maxsize=1)
def act() -> Act:
    """The criteria, with their clauses."""
    return msgspec.toml.decode((Path(__file__).parent / "ai_act.toml").read_bytes(), type=Act)


def findings(name: str) -> tuple[Finding, ...]:
    """Every criterion for one model; raises `NotFoundError` for an unknown one."""
    entry = model.find(name)
    judged = openness.of_model(entry.name)
    found = []
    for criterion in act().criteria:
        met, because = _judge(criterion, entry, judged)
        found.append(
            Finding(criterion=criterion.name, asks=criterion.asks, clause=criterion.clause, met=met, because=because)
        )
    return tuple(found)


def _judge(criterion: Criterion, entry: Model, judged: tuple[Ranked, ...]) -> tuple[bool | None, str]:
    if criterion.name == "licence":
        return _licence(entry)
    if criterion.name == "systemic risk":
        return _systemic(entry)
    for ranked in judged:
        judgment = ranked.project.judgments.get(criterion.dimension)
        if judgment and judgment.answer is not Degree.UNKNOWN:
            met = None if judgment.answer is Degree.PARTIAL else judgment.answer is Degree.OPEN
            return met, f"judged {judgment.answer} by {ranked.index}: {judgment.evidence or 'no link'}"
    if criterion.name == "weights" and entry.files:
        return True, f"its weights can be pulled: {entry.files[0].sources[0].name}"
    return None, f"no index lists it; `freehold openness assess {entry.name}` judges it"


def _licence(entry: Model) -> tuple[bool | None, str]:
    grant = licence.granted(entry.name)
    text = licence.licences().get(grant.licence if grant else entry.licence.value)
    if text is None:
        return None, "its terms were not established"
    if text.osi_approved:
        return True, f"{text.title} is approved by the Open Source Initiative"
    limits = [rule.sentence for rule in text.rules if rule.effect in ("forbidden", "conditional")]
    return False, f"{text.title}: {limits[0] if limits else 'not approved by the Open Source Initiative'}"


def _systemic(entry: Model) -> tuple[bool | None, str]:
    parameters = entry.active_parameters or entry.parameters
    if parameters is None or entry.training_tokens is None:
        return None, "parameters or training tokens are not known"
    operations = 6.0 * parameters.value * entry.training_tokens.value
    text = f"about {operations:.1e} operations (6 · parameters · tokens, Kaplan et al. 2020)"
    return operations < _SYSTEMIC, text
