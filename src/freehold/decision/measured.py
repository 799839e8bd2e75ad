"""What was measured is not asked for again: tokens, machine time and accepted share from a report, volume from traffic.

A sheet's own figures stand; only what it leaves out is filled in, with the measurement as its source.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from statistics import fmean
from typing import Any

from freehold.decision.cost_sheet import Estimate, Option, Share, Sheet
from freehold.decision.traffic import Seen, accepted, attempts, jobs_a_month, tokens, turns
from freehold.records import CandidateFigures, CandidateKind, Interval, Report, Row

# Shares of right answers, which an accepted answer may be reckoned by; similarity of texts is no such share.
_SHARES = {"accuracy", "exact_match"}
_RUNS_HERE = {CandidateKind.CLASSIFIER, CandidateKind.PROMPTED, CandidateKind.TUNED}


def fill(sheet: Sheet, report: Report, rows: Mapping[str, Sequence[Row]]) -> Sheet:
    """The sheet with its gaps filled from a report; options are matched by candidate name, else by kind."""
    options = {
        name: _filled(option, found, report, rows) if (found := match(name, report)) else option
        for name, option in sheet.options.items()
    }
    return sheet.model_copy(update={"options": options})


def fill_from_traffic(sheet: Sheet, seen: Sequence[Seen]) -> Sheet:
    """The sheet with the traffic's volume, and its rented option with what answers took, where those are left out."""
    jobs = jobs_a_month(seen)
    if sheet.traffic.jobs is None and jobs is not None:
        sheet = sheet.model_copy(update={"traffic": sheet.traffic.model_copy(update={"jobs": jobs})})
    if sheet.rented is None:
        return sheet
    option = sheet.options[sheet.rented]
    measured = {
        "accepted": accepted(seen),
        "turns": turns(seen),
        "attempts": attempts(seen),
        "input_tokens": tokens(seen, lambda each: each.input_tokens),
        "output_tokens": tokens(seen, lambda each: each.output_tokens),
    }
    update = {name: value for name, value in measured.items() if value and name not in option.model_fields_set}
    return sheet.model_copy(update={"options": {**sheet.options, sheet.rented: option.model_copy(update=update)}})


def fill_cascades(sheet: Sheet, passed_on: Mapping[str, Interval]) -> Sheet:
    """The sheet with what each cascade's first option keeps, from the shares that deployments measured as passed on."""
    update = {}
    for name, cascade in sheet.cascades.items():
        share = passed_on.get(cascade.deployment or "")
        if cascade.kept is None and share is not None:
            update[name] = cascade.model_copy(update={"kept": _kept(cascade.deployment or "", share)})
    return sheet.model_copy(update={"cascades": {**sheet.cascades, **update}})


def _kept(deployment: str, passed_on: Interval) -> Share:
    low, value, high = (1 - _decimal(each) for each in (passed_on.high, passed_on.value, passed_on.low))
    return Share(low=low, value=value, high=high, source=f"{deployment}: passed on of {passed_on.n:,} requests")


def match(name: str, report: Report) -> CandidateFigures | None:
    """The candidate that an option of a sheet means: by name, else by kind where there is one of that kind."""
    by_name = [each for each in report.figures if each.candidate.name == name]
    by_kind = [each for each in report.figures if each.candidate.kind.value == name]
    found = by_name or by_kind
    return found[0] if len(found) == 1 else None


def _filled(option: Option, found: CandidateFigures, report: Report, rows: Mapping[str, Sequence[Row]]) -> Option:
    answered = rows.get(found.candidate.digest, ())
    update: dict[str, Any] = {}
    if option.accepted is None and report.metric in _SHARES:
        update["accepted"] = _accepted(found, report)
    if option.input_tokens is None:
        update["input_tokens"] = _mean(answered, lambda row: row.input_tokens, report)
    if option.output_tokens is None:
        update["output_tokens"] = _mean(answered, lambda row: row.output_tokens, report)
    if option.seconds is None and found.candidate.kind in _RUNS_HERE:
        update["seconds"] = _mean(answered, lambda row: row.latency_ms / 1000, report)
    return option.model_copy(update=update)


def _accepted(found: CandidateFigures, report: Report) -> Share:
    low, value, high = (_decimal(each) for each in (found.metric.low, found.metric.value, found.metric.high))
    source = f"report {report.digest[:12]}: {report.metric}, n = {found.metric.n}"
    return Share(low=low, value=value, high=high, source=source)


def _mean(rows: Sequence[Row], of: Callable[[Row], float], report: Report) -> Estimate | None:
    """The mean over answers that were measured; None where nothing was."""
    measured = [of(row) for row in rows if row.error is None]
    if not any(measured):
        return None
    mean = _decimal(fmean(measured))
    return Estimate(low=mean, value=mean, high=mean, source=f"report {report.digest[:12]}: mean of {len(measured)}")


def _decimal(value: float) -> Decimal:
    return Decimal(f"{value:.6g}")
