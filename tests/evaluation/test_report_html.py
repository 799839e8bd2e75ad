"""The page is self-contained, escapes what users wrote, shows every script; its pictures lie where the numbers are."""

import re
from html.parser import HTMLParser

import pytest
from evaluation_material import dataset, example, make_task
from msgspec.structs import replace

from freehold.evaluation import report as reports
from freehold.evaluation.charts import Axis, curve, points, share_axis
from freehold.evaluation.mistakes import confusions, worst
from freehold.evaluation.report_html import page
from freehold.records import AdapterManifest, Candidate, CandidateKind, Example, LossPoint, Provenance, Report, Row

LABELS = ("payroll", "الرواتب", "工资")
TEXTS = ["where is my pay", "الراتب لم يصل", "工资没到账", "gaji belum masuk <script>alert(1)</script> & more"]
HELD_OUT = [example(at, LABELS[at % 3], text=f"{TEXTS[at % 4]} {at}") for at in range(24)]
TASK = make_task(answer={"type": "label", "labels": list(LABELS)})
GOOD = Candidate(name="tuned", kind=CandidateKind.TUNED, digest="a" * 64)
PLAIN = Candidate(name="classifier", kind=CandidateKind.CLASSIFIER, digest="b" * 64)


def rows(candidate: Candidate, wrong: set[int], tokens: int) -> list[Row]:
    return [
        Row(
            candidate=candidate.digest,
            example=each.id,
            answer=LABELS[(at + (at in wrong)) % 3],
            score=float(at not in wrong),
            input_tokens=tokens,
            latency_ms=3.0,
        )
        for at, each in enumerate(HELD_OUT)
    ]


MEASURED = [(GOOD, rows(GOOD, {0, 1, 3}, 40)), (PLAIN, rows(PLAIN, {0, 2, 4, 5, 6, 7, 8}, 0))]
ROWS = {candidate.digest: each for candidate, each in MEASURED}
MANIFEST = AdapterManifest(
    digest="c" * 64,
    task="triage",
    base="smollm2",
    base_digest="e" * 64,
    dataset="d" * 64,
    recipe={},
    render={},
    render_digest="",
    seed=0,
    versions={},
    template_digest="",
    weights_sha256="",
    losses=tuple(LossPoint(step=at, train=2 / (at + 1), validation=2.2 / (at + 1)) for at in range(5)),
    best_step=4,
    seconds=1.0,
    tokens_per_second=1.0,
    peak_memory_bytes=1,
)


def built(examples: list[Example] = HELD_OUT) -> Report:
    return reports.build(TASK, dataset(labels=LABELS), MEASURED, examples, reports.Checks(leaks=0))


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_self_contained_and_escaped() -> None:
    text = page(built(), ROWS, HELD_OUT, TASK, [MANIFEST])
    reader = Reader()
    reader.feed(text)
    assert not [tag for tag, _ in reader.tags if tag in {"script", "link", "img", "iframe", "object"}]
    assert not [attributes for _, attributes in reader.tags if {"src", "href", "onclick", "onload"} & attributes.keys()]
    assert not re.search(r"url\(|@import|https?://", text)
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert text.count('<blockquote dir="auto">') == 3
    for each in (*LABELS, "near duplicate", "none found", built().digest):
        assert each in text


def test_agreement_is_never_called_accuracy() -> None:
    echo = [replace(each, provenance=Provenance.INCUMBENT) for each in HELD_OUT]
    text = page(built(echo), ROWS, echo, TASK)
    assert "no decision to switch can rest on them" in text
    assert "accuracy" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S)


def test_mistakes_that_others_got_right_come_first() -> None:
    report = built()
    best = report.figures[0]
    found = worst(best, report.figures, ROWS, HELD_OUT)
    assert {each.example.id for each in found} == {HELD_OUT[at].id for at in (0, 1, 3)}
    assert [each.right for each in found] == [("classifier",), ("classifier",), ()]
    assert {(each.reference, each.answer): each.count for each in confusions(best)} == {
        (LABELS[0], LABELS[1]): 2,
        (LABELS[1], LABELS[2]): 1,
    }


def test_every_interval_lies_on_the_axis() -> None:
    figures = built().figures
    axis = share_axis(figures)
    for each in figures:
        assert axis.low <= each.metric.low <= each.metric.high <= axis.high
    assert [axis.place(value) for value in (axis.low, axis.high)] == [0, 100]
    assert (axis.ticks[0].at, axis.ticks[-1].at) == (0, 100)


def test_more_tokens_lie_further_right() -> None:
    figures = built().figures
    placed, ticks = points(figures, Axis(0, 1, ()))
    at = {each.name: each for each in placed}
    assert at["classifier"].x < at["tuned"].x <= 97
    assert at["tuned"].y == pytest.approx(100 - 100 * 21 / 24)
    assert ticks[0].text == "none"


def test_loss_curve() -> None:
    drawn = curve(MANIFEST)
    assert drawn is not None and drawn.best == 100
    heights = [float(pair.split(",")[1]) for pair in drawn.validation.split()]
    assert heights == sorted(heights) and min(heights) >= 0
    assert curve(replace(MANIFEST, losses=MANIFEST.losses[:1])) is None
