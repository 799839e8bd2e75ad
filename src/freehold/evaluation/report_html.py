"""The report as one self-contained page: no script, no outside request, light and dark, any script of the world.

What users wrote (messages, answers, labels) is escaped and stands in elements with `dir="auto"`.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from freehold import pages
from freehold.evaluation.charts import bars, curve, points, share_axis
from freehold.evaluation.mistakes import confusions, worst
from freehold.records import AdapterManifest, CandidateFigures, CandidateKind, Example, Kept, Report, Row
from freehold.spec import Task

if TYPE_CHECKING:
    from jinja2 import Environment

METRIC_WORDS = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "rouge_l": "ROUGE-L",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "chrf": "chrF",
    "bleu": "BLEU",
    "field_accuracy": "field accuracy",
    "schema_valid": "valid under the schema",
}
KIND_WORDS = {
    CandidateKind.PROMPTED: "open model, prompted",
    CandidateKind.TUNED: "open model, tuned here",
    CandidateKind.CLASSIFIER: "TF-IDF and logistic regression",
    CandidateKind.REMOTE: "remote endpoint",
    CandidateKind.INCUMBENT: "answers the task today",
}
_MATRIX_UP_TO = 20


def page(
    report: Report,
    rows: Mapping[str, Sequence[Row]],
    examples: Sequence[Example],
    task: Task,
    manifests: Sequence[AdapterManifest] = (),
) -> str:
    """The whole page. `rows` are by candidate digest, `examples` the held-out ones, `manifests` of the adapters."""
    ordered = sorted(report.figures, key=lambda each: (-each.metric.value, each.tokens_per_request))
    best = next((each for each in ordered if each.candidate.kind is not CandidateKind.INCUMBENT), ordered[0])
    axis = share_axis(ordered)
    scatter, token_ticks = points(ordered, axis)
    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            task=task,
            best=best,
            figures=ordered,
            bars=bars(ordered, axis),
            axis=axis,
            points=scatter,
            token_ticks=token_ticks,
            curves=[drawn for manifest in manifests if (drawn := curve(manifest))],
            manifests=manifests,
            confusions=confusions(best),
            matrix=_matrix(best),
            mistakes=worst(best, ordered, rows, examples),
            wrong=sum(row.score < 1 for row in rows.get(best.candidate.digest, ())),
            may_lose=task.guard.may_lose() if task.guard else {},
            dropped={reason: count for reason, count in sorted(report.dropped.items()) if count},
        )
    )


def _matrix(best: CandidateFigures) -> list[list[tuple[int, float]]] | None:
    """Counts with the share of their row, for colour; None where there are no labels or too many to read."""
    if not best.confusion or len(best.confusion) > _MATRIX_UP_TO:
        return None
    return [[(count, count / max(1, sum(line))) for count in line] for line in best.confusion]


@lru_cache(maxsize=1)
def environment() -> "Environment":
    """Where this room's templates and their filters live."""
    environment = pages.environment("evaluation")
    environment.filters["share"] = _share
    environment.filters["metric"] = lambda name: METRIC_WORDS.get(name, name.replace("_", " "))
    environment.filters["kind"] = lambda kind: KIND_WORDS[kind]
    environment.filters["milliseconds"] = _milliseconds
    environment.filters["beside"] = lambda figure, name: (
        f"{figure.value:.4g}" if name[:5] == "cost:" else _share(figure.value)
    )
    environment.filters["kept"] = lambda value, what: f"{value:.2f}" if what is Kept.LANGUAGE else _share(value)
    environment.filters["lost"] = lambda value: f"{100 * value:+.1f}\u00a0%"
    return environment


def _share(value: float) -> str:
    return f"{100 * value:.1f}\u00a0%"


def _milliseconds(value: float) -> str:
    if value <= 0:
        return "–"
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms" if value >= 1 else f"{value:.1f} ms"
