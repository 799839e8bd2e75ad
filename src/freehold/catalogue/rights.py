"""The rights gate: a verdict on one use of one model, with the clause that decides. Not legal advice.

A verdict is the strictest of everything that stands behind a model: its own licence, its bases', the training data's
and the teacher's terms on outputs. Unknown never counts as allowed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from freehold.catalogue import licence, model
from freehold.catalogue.licence import Grant, Licence, Rule
from freehold.catalogue.model import Model
from freehold.errors import NotFoundError, RefusedError, UndeterminedError, UserError, did_you_mean
from freehold.records import Record
from freehold.spec import Use
from freehold.store.workspace import Workspace

NOT_ADVICE = "not legal advice"
_UNREAD = {"background", "secondary-low", "secondary-conflict", "secondary"}
_MEMBERS = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"
_EU = frozenset(["EU", *_MEMBERS.split()])
FIELDS = (
    "general", "research", "education", "retail", "logistics", "customer-service", "manufacturing", "public-sector",
    "health", "legal", "finance", "insurance", "employment", "housing", "welfare", "law-enforcement", "immigration",
    "critical-infrastructure", "military", "weapons",
)  # fmt: skip


class Answer(StrEnum):
    """From mild to strict; `unknown` yields only to a known prohibition."""

    ALLOWED = "allowed"
    CONDITIONAL = "conditional"
    UNKNOWN = "unknown"
    FORBIDDEN = "forbidden"


_STRICTNESS = list(Answer)


class Reason(Record, frozen=True, kw_only=True):
    """One condition that bears on the verdict: what, in which clause of what, and where that was read."""

    answer: Answer
    sentence: str
    clause: str
    source: str
    licence: str
    concerns: str
    unless: str = ""


class Verdict(Record, frozen=True, kw_only=True):
    """May this model be used so? `reasons` are strictest first; `duties` hold in any case."""

    model: str
    verdict: Answer
    licences: tuple[str, ...]
    reasons: tuple[Reason, ...]
    duties: tuple[str, ...]
    read_on: str
    notice: str = NOT_ADVICE

    @property
    def exit_code(self) -> int:
        """0 allowed or conditional, 3 forbidden, 4 unknown (DESIGN.md, The commands)."""
        return {Answer.FORBIDDEN: 3, Answer.UNKNOWN: 4}.get(self.verdict, 0)

    @property
    def headline(self) -> str:
        """The verdict in a few words, with what would lift it."""
        deciding = [reason for reason in self.reasons if reason.answer is self.verdict]
        lifted = next((reason.unless for reason in deciding if reason.unless), "")
        return (
            f"{self.verdict} without {lifted}" if lifted and self.verdict is not Answer.ALLOWED else str(self.verdict)
        )


class Subject(Record, frozen=True, kw_only=True):
    """One thing whose terms count, and as what."""

    name: str
    concerns: str
    licence: Licence | None
    grant: Grant | None
    source: str
    multimodal: bool = False
    outputs_only: bool = False


class Behind(Record, frozen=True, kw_only=True):
    """What else stands behind a tuned model, beside its base.

    `teacher`: the model whose answers are trained on. `contract`: where the user's own contract allows that; it then
    replaces the teacher's published terms. `data`, `adapter`: licences of the training data and of an adapter.
    """

    teacher: str | None = None
    contract: str = ""
    data: tuple[str, ...] = ()
    adapter: str | None = None


def check(name: str, use: Use, behind: Behind | None = None, workspace: Workspace | None = None) -> Verdict:
    """The verdict on one use. `name` may carry the date a copy was obtained: `yi-34b@2024-01`.

    Raises `NotFoundError` for unknown names, `UserError` for a use that contradicts itself.
    """
    _consistent(use)
    behind = behind or Behind()
    subjects = [*_chain(name, model.known(workspace)), *_behind(behind)]
    reasons = [reason for subject in subjects for reason in _reasons(subject, use)]
    reasons.sort(key=lambda reason: -_STRICTNESS.index(reason.answer))
    if behind.teacher and behind.contract:
        reasons.append(_stated(behind.teacher, behind.contract))
    texts = [subject.licence for subject in subjects if subject.licence]
    return Verdict(
        model=name,
        verdict=max((reason.answer for reason in reasons), key=_STRICTNESS.index, default=Answer.ALLOWED),
        licences=tuple(dict.fromkeys(text.title for text in texts)),
        reasons=tuple(reasons),
        duties=tuple(dict.fromkeys(duty for subject in subjects for duty in _duties(subject, use))),
        read_on=min((text.read_on for text in texts), default=""),
    )


def enforce(verdict: Verdict) -> None:
    """Raises `RefusedError` where a use is forbidden, `UndeterminedError` where the terms do not settle it."""
    if verdict.exit_code == 0:
        return
    first = verdict.reasons[0]
    sentence = f"{verdict.model}: {verdict.headline}: {first.sentence} ({first.licence}, {first.clause}); {NOT_ADVICE}"
    raise (RefusedError if verdict.verdict is Answer.FORBIDDEN else UndeterminedError)(sentence)


def _consistent(use: Use) -> None:
    if use.field is not None and use.field not in FIELDS:
        known = ", ".join(FIELDS)
        raise UserError(
            f"use.field: {use.field} is not a known field of use{did_you_mean(use.field, FIELDS)}; known: {known}"
        )
    if use.commercial and use.field == "research":
        raise UserError("the use contradicts itself: it is commercial and its field is research; state one of the two")
    if use.commercial is False and use.hosted_service and (use.monthly_active_users or 0) > 0:
        raise UserError(
            "the use contradicts itself: a hosted service with active users, and not commercial; "
            "state commercial: true, or hosted_service: false"
        )
    if use.territory is not None and use.territory not in _territories():
        raise UserError(f"use.territory: {use.territory} is not a country code of ISO 3166-1, or EU; such as DE or US")


@lru_cache(maxsize=1)
def _territories() -> frozenset[str]:
    """The codes of ISO 3166-1 alpha-2, and the European Union."""
    return frozenset((Path(__file__).parent / "territories.txt").read_text().split())


def _chain(name: str, models: Mapping[str, Model]) -> Iterator[Subject]:
    """The model's own terms, and those of what it was made from."""
    stated, at, revision = name.partition("@")
    if at and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])(-\d{2})?", revision):
        raise UserError(f"{name}: after @ comes the date on which the copy was obtained, such as {stated}@2024-01-31")
    plain = model.key_of(stated, models)
    yield _subject(plain, revision, "the model", models)
    seen = {plain}
    entry = models.get(plain)
    while entry and entry.base and entry.base.value not in seen:
        seen.add(entry.base.value)
        try:
            yield _subject(entry.base.value, "", f"its base {entry.base.value}", models)
        except NotFoundError:
            return  # the base's own terms are not in the catalogue; the model's licence is what its publisher states
        entry = models.get(entry.base.value)


def _subject(name: str, revision: str, concerns: str, models: Mapping[str, Model]) -> Subject:
    grant, entry = licence.granted(name, revision), models.get(name)
    multimodal = "vision" in name or name.startswith("llama-4") or _images(entry)
    if grant:
        text = licence.licences()[grant.licence]
        return Subject(
            name=name, concerns=concerns, licence=text, grant=grant, source=grant.source, multimodal=multimodal
        )
    if entry is None:
        raise _unknown(name, revision)
    found = licence.licences().get(entry.licence.value)
    return Subject(
        name=name, concerns=concerns, licence=found, grant=None, source=entry.licence.source, multimodal=multimodal
    )


def _images(entry: Model | None) -> bool:
    return entry is not None and entry.modality is not None and "image" in entry.modality.value


def _unknown(name: str, revision: str) -> NotFoundError:
    family = licence.family(name)
    if len(family) > 1 or (family and len(family[0].covers) > 1):
        each = "; ".join(f"{grant.title}: {licence.licences()[grant.licence].title}" for grant in family)
        return NotFoundError(f"{name} is a family, and its licences differ by size: {each}; name one model")
    known = {*model.built_in(), *(each for grant in licence.grants() for each in grant.covers if "*" not in each)}
    when = f" obtained on {revision}" if revision else ""
    return NotFoundError(
        f"{name}{when}: no terms are known{did_you_mean(name, known)}; `freehold models` lists what is"
    )


def _behind(behind: Behind) -> Iterator[Subject]:
    for each in behind.data:
        yield _text(each, f"the training data ({each})")
    if behind.adapter:
        yield _text(behind.adapter, "the adapter")
    if behind.teacher and not behind.contract:
        yield _teacher(behind.teacher)


def _text(name: str, concerns: str) -> Subject:
    key = name.strip().lower()
    found = licence.licences().get(key)
    if found is None:
        raise NotFoundError(f"{name}: no such licence{did_you_mean(key, licence.licences())}; see docs/rights.md")
    return Subject(name=key, concerns=concerns, licence=found, grant=None, source=found.source)


def _teacher(name: str) -> Subject:
    """Whose answers are trained on: only its terms on outputs count."""
    key = name.strip().lower()
    grant, concerns = licence.granted(key), f"the answers of {name}"
    if grant:
        text = licence.licences()[grant.licence]
        return Subject(name=key, concerns=concerns, licence=text, grant=grant, source=grant.source, outputs_only=True)
    return Subject(name=key, concerns=concerns, licence=None, grant=None, source="no terms known", outputs_only=True)


def _stated(teacher: str, contract: str) -> Reason:
    return Reason(
        answer=Answer.ALLOWED,
        sentence="you state that your contract allows training on the answers",
        clause=contract,
        source="stated by the user",
        licence="your contract",
        concerns=f"the answers of {teacher}",
    )


def _reasons(subject: Subject, use: Use) -> Iterator[Reason]:
    if subject.licence is None:
        yield _reason(subject, Answer.UNKNOWN, "its terms were not established", "no licence text", "")
        return
    if subject.grant and subject.grant.confidence in _UNREAD and not subject.grant.service:
        said = subject.grant.confidence.replace("-", " ")
        sentence = f"the catalogue has not read the licence text of this model ({said}); read it and decide"
        yield _reason(subject, Answer.UNKNOWN, sentence, "no clause", "")
    for rule in _rules(subject):
        holds = _holds(rule, use, subject)
        if rule.effect != "duty" and holds is not False:
            yield _reason(subject, _answer(rule, holds), _worded(rule, holds), rule.clause, rule.unless)


def _rules(subject: Subject) -> Iterator[Rule]:
    text = subject.licence
    for rule in text.rules if text else ():
        if not subject.outputs_only or rule.when.train_on_outputs:
            yield rule


def _answer(rule: Rule, holds: bool | None) -> Answer:
    """A rule whose condition is not settled makes the use conditional on it."""
    if rule.effect == "unknown":
        return Answer.UNKNOWN if holds else Answer.CONDITIONAL
    return Answer(rule.effect) if holds else Answer.CONDITIONAL


def _worded(rule: Rule, holds: bool | None) -> str:
    return rule.sentence if holds else f"{_asked(rule)}: {rule.sentence}"


def _asked(rule: Rule) -> str:
    """What the user left open, on which a rule depends."""
    when = rule.when
    if when.users_over is not None:
        return "depends on your monthly active users"
    named = [
        name for name in ("commercial", "hosted_service", "redistribute", "train_on_outputs") if getattr(when, name)
    ]
    words = [name.replace("_", " ") for name in named]
    return f"if {', '.join(words) or 'used in ' + ', '.join(when.field or when.territory)}"


def _reason(subject: Subject, answer: Answer, sentence: str, clause: str, unless: str) -> Reason:
    title = subject.licence.title if subject.licence else "terms unknown"
    return Reason(
        answer=answer,
        sentence=sentence,
        clause=clause,
        source=subject.source,
        licence=title,
        concerns=subject.concerns,
        unless=unless,
    )


def _duties(subject: Subject, use: Use) -> Iterator[str]:
    title = subject.licence.title if subject.licence else ""
    for rule in _rules(subject):
        if rule.effect == "duty" and (holds := _holds(rule, use, subject)) is not False:
            yield f"{'' if holds else 'if you pass it on: '}{rule.sentence} ({title}, {rule.clause})"


def _holds(rule: Rule, use: Use, subject: Subject) -> bool | None:
    """Whether a rule's conditions are met: yes, no, or not settled (Kleene's conjunction)."""
    results = list(_conditions(rule, use, subject))
    if False in results:
        return False
    return None if None in results else True


def _conditions(rule: Rule, use: Use, subject: Subject) -> Iterator[bool | None]:
    when = rule.when
    outputs = True if subject.outputs_only else use.train_on_outputs
    stated = {
        "commercial": use.commercial,
        "hosted_service": use.hosted_service,
        "redistribute": use.redistribute,
        "train_on_outputs": outputs,
        "multimodal": subject.multimodal,
    }
    for name, value in stated.items():
        if getattr(when, name):
            yield value
    if when.users_over is not None:
        users = use.monthly_active_users
        yield None if users is None else users > when.users_over
    if when.territory:
        yield _within(use.territory, when.territory)
    if when.field:
        yield None if use.field is None else "*" in when.field or use.field in when.field


def _within(territory: str | None, excluded: Sequence[str]) -> bool | None:
    if territory is None:
        return None
    return "*" in excluded or territory in excluded or ("EU" in excluded and territory in _EU)
