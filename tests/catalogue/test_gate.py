"""The gate in the pipeline: refused, on record, overridden by a name and a reason, and the duties written down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freehold import pipeline, spec
from freehold.catalogue import add, card, gate, lineage, rights
from freehold.catalogue.add import Statement
from freehold.catalogue.gate import Passage
from freehold.catalogue.rights import Behind
from freehold.errors import RefusedError, UndeterminedError, UserError
from freehold.progress import SILENT
from freehold.records import AdapterManifest, Base, BaseFile, LossPoint
from freehold.spec import Override, Use
from freehold.store import exports
from freehold.store.exports import Export
from freehold.store.workspace import Workspace, read_record, write_record

OVERRIDE = Override(by="Ada Lovelace", reason="licence signed with Meta on 2026-03-01")


def manifest(base: str) -> AdapterManifest:
    return AdapterManifest(
        digest="a" * 64, task="triage", base=base, base_digest="b" * 64, dataset="c" * 64, recipe={"rank": 16},
        render={}, render_digest="", seed=3, versions={"torch": "2"}, template_digest="", weights_sha256="d" * 64,
        losses=(LossPoint(step=1, train=0.5, validation=None),), best_step=1, seconds=0, tokens_per_second=0,
        peak_memory_bytes=0,
    )  # fmt: skip


def passed(name: str, workspace: Workspace, **use: Any) -> Passage:  # noqa: ANN401
    asked = Use(**use)
    return gate.passed(rights.check(name, asked, None, workspace), "triage", asked, workspace)


def test_what_is_allowed_passes_and_is_kept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    passage = passed("smollm2-135m-instruct", workspace, commercial=True)
    assert passage.sentence == "allowed (Apache License 2.0)"
    assert read_record(tmp_path / "rights" / f"{passage.digest}.json", Passage) == passage


def test_what_is_forbidden_or_unknown_stops_and_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"section 2.*use\.override with by and reason"):
        passed("llama-2-7b", Workspace(tmp_path), monthly_active_users=10**9)
    with pytest.raises(UndeterminedError, match="terms were not established"):
        passed("ernie-bot", Workspace(tmp_path))
    assert not list(tmp_path.rglob("*.json"))


def test_an_override_is_on_record_with_name_and_reason(tmp_path: Path) -> None:
    passage = passed("llama-2-7b", Workspace(tmp_path), monthly_active_users=10**9, override=OVERRIDE)
    assert passage.verdict.verdict == "forbidden"
    assert (passage.overridden_by, passage.reason) == ("Ada Lovelace", OVERRIDE.reason)
    assert "overridden by Ada Lovelace: licence signed" in passage.sentence


def test_an_override_that_is_not_needed_is_not_recorded_as_one(tmp_path: Path) -> None:
    assert passed("olmo-7b", Workspace(tmp_path), override=OVERRIDE).overridden_by is None


def test_same_question_same_record(tmp_path: Path) -> None:
    digests = {passed("olmo-7b", Workspace(tmp_path / name), commercial=True).digest for name in ("a", "b")}
    assert len(digests) == 1


def test_the_task_file_carries_an_override(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("task: t\ndescription: d\ndata: {source: x.csv}\nuse: {override: {by: Ada}}\n")
    with pytest.raises(spec.TaskFileError, match=r"use\.override\.reason"):
        spec.load(path)
    path.write_text("task: t\ndescription: d\ndata: {source: x.csv}\nuse: {override: {by: Ada, reason: signed}}\n")
    assert spec.load(path).task.use.override == Override(by="Ada", reason="signed")


@pytest.fixture
def flow(tmp_path: Path, tiny_gguf: Path) -> Callable[[str], tuple[pipeline.Flow, Base]]:
    """A flow at the gate, over a base of our own whose licence forbids commercial use."""
    workspace = Workspace(tmp_path / "w")
    stated = Statement(name="research-only", licence="qwen-research-2024", organisation="us", source="its README")
    add.from_file(stated, tiny_gguf, workspace)
    weights = BaseFile(name="weights.gguf", sha256="0", size=1, source="file")
    base = Base(name="research-only", digest="0", architecture="llama", parameters=1, context_length=1,
                licence="qwen-research-2024", weights=weights, template_digest="")  # fmt: skip

    def start(use: str) -> tuple[pipeline.Flow, Base]:
        path = tmp_path / "t.yaml"
        path.write_text(f"task: t\ndescription: d\ndata: {{source: x.csv}}\nuse: {use}\n")
        started = pipeline.Flow(spec.load(path), workspace, SILENT)
        started._behind = Behind  # type: ignore[method-assign]  # no examples yet, so no teacher
        return started, base

    return start


def test_the_flow_stops_at_the_gate(flow: Callable[[str], tuple[pipeline.Flow, Base]]) -> None:
    started, base = flow("{commercial: true}")
    with pytest.raises(RefusedError, match="Qwen RESEARCH LICENSE AGREEMENT, section 2"):
        started.rights([base.name])
    started, base = flow("{commercial: true, override: {by: Ada, reason: signed}}")
    started.rights([base.name])
    assert "overridden by Ada: signed" in started.stages[-1].message
    started, base = flow("{commercial: false}")
    started.rights([base.name])
    assert "overridden" not in started.stages[-1].message


@pytest.mark.parametrize(
    ("base", "lines"),
    [
        (
            "llama-3.1-8b",
            ['display "Built with Llama"', "Llama 3.1 is licensed under the Llama 3.1 Community License,"],
        ),
        (
            "gemma3-270m",
            [
                "Gemma is provided under and subject to the Gemma Terms of Use",
                "Gemma Terms of Use (2025-03-24), section 3.1)",
            ],
        ),
        ("smollm2-135m-instruct", ["give recipients a copy of the licence (Apache License 2.0, section 4(a))"]),
        ("ernie-bot", ["none is known", "its terms were not established"]),
    ],
)
def test_a_folder_that_leaves_carries_its_duties(tmp_path: Path, base: str, lines: list[str]) -> None:
    card.write(tmp_path, manifest(base), Use(commercial=True), Behind(), Workspace(tmp_path))
    notice = (tmp_path / "NOTICE").read_text()
    assert all(line in notice for line in lines)
    assert "if you pass it on" not in notice.partition("Conditions of use")[0]
    text = (tmp_path / "MODEL_CARD.md").read_text()
    assert "a" * 64 in text and base in text and "rank 16" in text and "not legal advice" in text.lower()


def test_a_card_is_the_same_for_the_same_adapter(tmp_path: Path) -> None:
    for name in ("a", "b"):
        card.write(tmp_path / name, manifest("olmo-7b"), Use(), Behind(), Workspace(tmp_path))
    assert (tmp_path / "a" / "NOTICE").read_bytes() == (tmp_path / "b" / "NOTICE").read_bytes()
    assert (tmp_path / "a" / "MODEL_CARD.md").read_bytes() == (tmp_path / "b" / "MODEL_CARD.md").read_bytes()


def test_what_was_exported_carries_the_use_that_its_adapter_was_tuned_for(tmp_path: Path) -> None:
    workspace, made = Workspace(tmp_path / "w"), manifest("llama-3.1-8b")
    card.write(workspace.adapters / made.digest, made, Use(commercial=True), Behind(data=("cc-by-sa-4.0",)), workspace)
    folder = tmp_path / "out"
    folder.mkdir()
    card.write_beside(folder, made, "a merged model in GGUF", workspace)
    notice, text = (folder / "NOTICE").read_text(), (folder / "MODEL_CARD.md").read_text()
    assert notice.startswith("triage: a merged model in GGUF of llama-3.1-8b, modified by tuning")
    assert "Built with Llama" in notice and "CC BY-SA 4.0" in notice
    assert "a merged model in GGUF" in text and "commercial True" in text and made.digest in text
    write_record(workspace.adapters / made.digest / "manifest.json", made)
    files = {"model.gguf": "0" * 64}
    export = Export(
        digest="", task="triage", adapter=made.digest, base=made.base, format="llama.cpp", encoding="Q4_0", files=files
    ).named()
    exports.keep(workspace, export)
    found = lineage.of("triage", workspace)
    assert [edge.child for edge in found.ancestors][:1] == ["triage (aaaaaaaaaaaa)"]
    assert f"llama.cpp Q4_0 ({export.digest[:12]})" in lineage.svg(found)


def test_an_export_of_an_adapter_without_a_record_states_no_use(tmp_path: Path) -> None:
    made = manifest("ernie-bot")
    card.write_beside(tmp_path / "out", made, "a PEFT adapter", Workspace(tmp_path / "w"))
    assert "| intended use | not stated |" in (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "its terms were not established" in (tmp_path / "out" / "NOTICE").read_text()


def test_two_adapters_of_one_task_are_told_apart(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for digest in ("a" * 64, "b" * 64):
        made = msgspec.structs.replace(manifest("olmo-7b"), digest=digest)
        write_record(workspace.adapters / digest / "manifest.json", made)
    with pytest.raises(UserError, match=r"several adapters; name one: triage \(aaaaaaaaaaaa\), triage \(b"):
        lineage.of("triage", workspace)
    assert lineage.of("triage (bbbbbbbbbbbb)", workspace).tree.name == "olmo-7b"


def test_a_wording_that_nobody_compared_is_said_to_be_so(tmp_path: Path) -> None:
    card.write(tmp_path / "a", manifest("gemma-2b"), Use(), Behind(), Workspace(tmp_path))
    card.write(tmp_path / "b", manifest("gemma3-270m"), Use(), Behind(), Workspace(tmp_path))
    assert "wording was not compared with the text of the Gemma" in (tmp_path / "a" / "NOTICE").read_text()
    assert "was not compared" not in (tmp_path / "b" / "NOTICE").read_text()


def test_nothing_is_fetched_that_the_gate_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.pull, "pull", lambda *_: pytest.fail("fetched before the gate was passed"))
    rows = "".join(f"word{at} other{at} thing{at},{'ab'[at % 2]}\n" for at in range(60))
    (tmp_path / "m.csv").write_text("text,label\n" + rows)
    path = tmp_path / "t.yaml"
    path.write_text(
        "task: t\ndescription: d\ndata: {source: m.csv, input: text, answer: label}\n"
        "candidates: [qwen2.5-3b]\nuse: {commercial: true}\ndecide: {margin: 0.3}\n"
    )
    with pytest.raises(RefusedError, match="Qwen RESEARCH LICENSE AGREEMENT"):
        pipeline.run(spec.load(path), Workspace(tmp_path / "w"), SILENT)
