"""JSON and text answers go the same way as labels."""

import json
from pathlib import Path

from things import things

from freehold import pipeline, spec
from freehold.evaluation import report as reports
from freehold.progress import SILENT
from freehold.records import CandidateKind
from freehold.render import json_answer
from freehold.store.workspace import Workspace

_JSON = """\
task: parts
description: Name the kind and the length of the message as JSON.
answer:
  type: json
  schema:
    type: object
    properties: {kind: {enum: [animal, tool]}, long: {type: boolean}}
    required: [kind, long]
    additionalProperties: false
"""
_TEXT = """\
task: shorter
description: Say it in two words.
answer: {type: text, max_tokens: 12}
"""
_COMMON = """\
data: {source: rows.jsonl}
tune: {method: lora, rank: 4, epochs: 1, batch_tokens: 256}
decide: {margin: 0.5}
"""


def _run(folder: Path, task: str, rows: list[dict[str, str]], workspace: Workspace) -> pipeline.Outcome:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "task.yaml").write_text(task + _COMMON, encoding="utf-8")
    return pipeline.run(spec.load(folder / "task.yaml"), workspace, SILENT)


def test_json_answers_satisfy_the_schema(tmp_path: Path, tiny_workspace: Workspace) -> None:
    rows = [
        {"text": text, "answer": json.dumps({"kind": kind, "long": len(text) > 28})} for text, kind in things()[::4]
    ]
    outcome = _run(tmp_path, _JSON, rows, tiny_workspace)
    assert outcome.report.metric == "exact_match"
    assert {each.candidate.kind for each in outcome.report.figures} == {CandidateKind.PROMPTED, CandidateKind.TUNED}
    for answers in reports.read_rows(tiny_workspace, outcome.report).values():
        for row in answers:
            assert set(json.loads(row.answer)) == {"kind", "long"}
            assert row.scores["schema_valid"] == 1.0


def test_text_answers_are_scored_freely(tmp_path: Path, tiny_workspace: Workspace) -> None:
    rows = [{"text": text, "answer": " ".join(text.split()[:2])} for text, _ in things()[::4]]
    outcome = _run(tmp_path, _TEXT, rows, tiny_workspace)
    assert outcome.report.metric == "rouge_l"
    assert all(
        0.0 <= each.metric.low <= each.metric.value <= each.metric.high <= 1.0 for each in outcome.report.figures
    )


def test_json_references_are_written_as_engines_decode_them() -> None:
    schema = {"properties": {"b": {}, "a": {"items": {"properties": {"y": {}, "x": {}}}}}}
    written = json_answer('{"a":[{"x":1,"y":"é"}],"c":null,"b":2}', schema)
    assert written == '{"b": 2, "a": [{"y": "é", "x": 1}], "c": null}'
