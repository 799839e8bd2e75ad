"""Forgetting a person: nothing of theirs is left anywhere, digests stay whole, what learned from it is refused."""

import json
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from data_room import Room, pairs

from freehold.data import corrections, freeze
from freehold.data.forget import forget
from freehold.errors import NotFoundError, RefusedError
from freehold.records import (
    AdapterManifest,
    Candidate,
    CandidateFigures,
    CandidateKind,
    Dataset,
    Interval,
    Report,
    Split,
    digest,
)
from freehold.store import deployments, exchanges, taints
from freehold.store.answers import Answered, Answers
from freehold.store.database import connect
from freehold.store.exchanges import Entry, Exchange, Feedback
from freehold.store.workspace import write_record

ANNA = "anna@example.org"
WORDS = "the boiler in my flat above the shop hisses"


def blank(kind: type) -> Any:  # noqa: ANN401
    """A record whose fields are empty values of their types."""
    empty: dict[type, Any] = {str: "", int: 0, float: 0.0, dict: {}, tuple: (), bool: False}
    values = {}
    for field in msgspec.structs.fields(kind):
        origin = typing.get_origin(field.type) or field.type
        values[field.name] = None if origin in (typing.Union, types.UnionType) else empty.get(origin, "")
    return kind(**values)


@pytest.fixture
def built(room: Room) -> Dataset:
    """A workspace in which Anna's words are everywhere."""
    lines = pairs(60).splitlines()
    rows = [lines[0] + ",subject", *(f"{line},user{at % 7}" for at, line in enumerate(lines[1:]))]
    rows += [f"{WORDS} {at} {'xyzw'[at] * 30},{('pay', 'rota')[at % 2]},{ANNA}" for at in range(4)]
    room.file("m.csv", "\n".join(rows) + "\n")
    dataset = room.build({"source": "m.csv"})
    mine = [each for each in room.examples() if WORDS in each.text]
    corrections.add(room.workspace, "t", mine[0], "pay")
    workspace, store = room.workspace, connect(room.workspace.database_url)
    for name, source in (("a1", dataset.digest), ("a2", "another")):
        manifest = msgspec.structs.replace(blank(AdapterManifest), digest=name, dataset=source, seconds=321.0)
        write_record(workspace.adapters / name / "manifest.json", manifest)
    _report(room, dataset, mine[0].id)
    Answers(store).keep(
        "c1", [Answered(prompt="p", constrained=True, text="pay", input_tokens=1, output_tokens=1, latency_ms=1.0)]
    )
    target = deployments.ClassifierTarget(digest="k1", folder="classifiers/k1")
    deployments.deploy(
        store, deployments.Deployment(name="t", target=target, evidence={"dataset": dataset.digest}), "first"
    )
    request = json.dumps({"messages": [{"role": "user", "content": WORDS}]})
    entry = Exchange(
        id="x1", at=1, endpoint="chat", model="m", answered_by="u", subject=ANNA, request=request, answer="{}"
    )
    exchanges.record(store, [Entry(entry, ())])
    exchanges.say(store, Feedback(exchange="x1", verdict="corrected", correction=WORDS))
    store.dispose()
    return dataset


def _report(room: Room, dataset: Dataset, example: str) -> None:
    figure = Interval(value=1.0, low=0.9, high=1.0, n=1, method="none")
    candidate = Candidate(name="c", kind=CandidateKind.CLASSIFIER, digest="c1")
    figures = msgspec.structs.replace(blank(CandidateFigures), candidate=candidate, metric=figure)
    report = msgspec.structs.replace(blank(Report), digest="r" * 64, dataset=dataset.digest, figures=(figures,))
    folder = room.workspace.reports
    write_record(folder / f"report-{'r' * 12}.json", report)
    (folder / f"report-{'r' * 12}.html").write_text(f"<p>{WORDS}</p>")
    rows = [{"example": example, "answer": "pay"}, {"example": "other", "answer": "rota"}]
    (folder / f"report-{'r' * 12}.rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_nothing_of_a_person_is_left(room: Room, built: Dataset) -> None:
    def holding(words: bytes) -> list[Path]:
        return [p for p in room.workspace.root.rglob("*") if p.is_file() and words in p.read_bytes()]

    assert len(holding(WORDS.encode())) >= 3
    done = forget(room.workspace, ANNA)
    store = connect(room.workspace.database_url)
    left, _, said = exchanges.found(store, "x1")
    assert (left.request, left.answer, left.subject, said[0].correction) == (None, None, None, None)
    store.dispose()
    assert holding(WORDS.encode()) == [] and holding(ANNA.encode()) == []
    assert sum(map(len, done.examples.values())) == 4 and done.exchanges == ("x1",)
    assert corrections.read(room.workspace, "t") == {}
    assert done.sources_to_clean == ("m.csv:62", "m.csv:63", "m.csv:64", "m.csv:65")


def test_digests_stay_whole(room: Room, built: Dataset) -> None:
    before = {(each.id, each.split) for each in room.examples()}
    forget(room.workspace, ANNA)
    after = {(each.id, each.split) for each in room.examples()}
    gone = {(each.id, each.split) for each in freeze.tombstones(room.workspace, built.digest)}
    assert after | gone == before and len(gone) == 4
    assert freeze.read(room.workspace, built.digest) == built
    content = {
        "examples": sorted(after | gone),
        "task": built.task,
        "answer_type": built.answer_type,
        "labels": built.labels,
        "schema": None,
        "seed": built.seed,
    }
    assert digest(content) == built.digest


def test_what_learned_from_it_is_refused_and_says_what_retraining_takes(room: Room, built: Dataset) -> None:
    learned = [e for e in room.examples() if WORDS in e.text and e.split is not Split.HELD_OUT]
    done = forget(room.workspace, ANNA)
    assert [(each.adapter, each.seconds, each.examples_forgotten) for each in done.adapters] == [
        ("a1", 321.0, len(learned))
    ]
    assert done.classifiers == ("k1",) and done.deployments == ("t",)
    for refused in ("a1", "k1"):
        with pytest.raises(RefusedError, match=f"{len(learned)} examples that were forgotten"):
            taints.require_clean(room.workspace, refused)
    taints.require_clean(room.workspace, "a2")
    assert done.retraining_seconds == 321.0
    store = connect(room.workspace.database_url)
    with pytest.raises(RefusedError, match="forgotten since"):
        taints.require_deployable(room.workspace, deployments.current(store, "t"))
    assert deployments.revision(store) == 2 and Answers(store).of("c1") == {}
    store.dispose()


def test_their_rows_do_not_come_back(room: Room, built: Dataset) -> None:
    forget(room.workspace, ANNA)
    again = room.build({"source": "m.csv"})
    assert again.dropped["forgotten"] == 4 and again.digest != built.digest
    assert not any(WORDS in each.text for each in room.examples())


def test_reports_keep_their_figures(room: Room, built: Dataset) -> None:
    done = forget(room.workspace, ANNA)
    assert done.reports == ("r" * 64,)
    names = {path.name: path for path in room.workspace.reports.iterdir()}
    assert set(names) == {f"report-{'r' * 12}.json", f"report-{'r' * 12}.rows.jsonl"}
    assert "other" in names[f"report-{'r' * 12}.rows.jsonl"].read_text()


def test_a_stranger_is_not_found_and_doing_it_twice_changes_nothing(room: Room, built: Dataset) -> None:
    with pytest.raises(NotFoundError, match="no exchange or example carries this subject"):
        forget(room.workspace, "nobody")
    first = forget(room.workspace, ANNA)
    with pytest.raises(NotFoundError):
        forget(room.workspace, ANNA)
    kept = list((room.workspace.root / "certificates").iterdir())
    assert [path.name for path in kept] == [f"forgotten-{first.digest[:12]}.json"]


def test_the_command(
    freehold: Callable[..., int], room: Room, built: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("data", "forget", ANNA) == 0
    out = capsys.readouterr().out
    assert "4 examples erased" in out and "tainted: adapter a1" in out and "yours to clean: m.csv:62" in out
    assert freehold("forget", "user3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["exchanges"] == []
    assert freehold("forget", "nobody") == 2
