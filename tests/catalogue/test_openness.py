"""Openness: the first index's scores and order exactly, judgments with evidence, one's own beside them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.catalogue import ai_act, assessment, model, openness, openness_page
from freehold.catalogue.openness import Degree, Judgment, Project
from freehold.errors import NotFoundError, UserError
from freehold.store.workspace import Workspace

# The first index as its authors publish it (commit 801f687), best first.
PUBLISHED = [
    ("OLMo 7B Instruct", 12.5), ("BLOOMZ", 12.0), ("AmberChat", 10.0), ("Open Assistant", 9.5),
    ("OpenChat 3.5 7B", 9.5),
    ("Pythia-Chat-Base-7B-v0.16", 9.5), ("Cerebras GPT 111M Instruction", 8.5), ("RedPajama-INCITE-Instruct-7B", 8.5),
    ("dolly", 8.5), ("Tulu V2 DPO 70B", 8.0), ("MPT-30B Instruct", 7.5), ("MPT-7B Instruct", 7.5), ("trlx", 7.5),
    ("NeuralChat 7B", 7.0), ("Vicuna 13B v 1.3", 7.0), ("minChatGPT", 7.0), ("ChatRWKV", 6.5), ("BELLE", 6.0),
    ("Geitje Ultra 7B", 6.0), ("Phi 3 Instruct", 6.0), ("WizardLM 13B v1.2", 6.0), ("Airoboros L2 70B GPT4", 5.5),
    ("ChatGLM-6B", 5.5), ("Mistral 7B-Instruct", 5.5), ("WizardLM-7B", 5.5), ("Mistral NeMo Instruct", 5.0),
    ("Qwen 1.5", 5.0), ("StableVicuna-13B", 5.0), ("Falcon-40B-instruct", 4.5), ("UltraLM", 4.5), ("Yi 34B Chat", 4.5),
    ("Koala 13B", 4.0), ("Llama 3.1", 4.0), ("Mixtral 8x7B Instruct", 4.0), ("Stable Beluga 2", 4.0),
    ("Stanford Alpaca", 4.0), ("Falcon-180B-chat", 3.5), ("Gemma 7B Instruct", 3.5), ("Orca 2", 3.5),
    ("Command R+", 3.0),
    ("LLaMA2 Chat", 3.0), ("Nanbeige2-Chat", 3.0), ("Llama 3 Instruct", 2.5), ("Solar 70B", 2.0), ("Xwin-LM", 1.0),
    ("ChatGPT", 0.5),
]  # fmt: skip


def test_the_first_index_is_reproduced_exactly() -> None:
    rows = openness.ranked()
    assert [(row.project.project, row.score) for row in rows] == PUBLISHED
    assert [row.rank for row in rows] == list(range(1, 47))


def test_the_second_index_takes_a_mean_over_twelve_dimensions() -> None:
    rows = openness.ranked("osai")
    assert len(rows) == 193
    best = openness.find("OLMo", "osai")
    assert best.score == 0.9583
    assert all(0 <= row.score <= 1 for row in rows)


@pytest.mark.parametrize("name", ["opening-up-chatgpt", "osai"])
def test_every_judgment_has_its_dimension_date_and_source(name: str) -> None:
    dimensions = {each.name for each in openness.index(name).dimensions}
    for project in openness.projects(name):
        assert set(project.judgments) == dimensions
        assert project.date and project.source
        assert set(project.models) <= set(model.built_in())
    assert openness.index(name).version and openness.index(name).citation


def test_own_weights_can_turn_the_order_round() -> None:
    only_paper = {each.name: 0.0 for each in openness.index(openness.FIRST).dimensions} | {"paper": 1.0}
    rows = openness.ranked(weights=only_paper)
    assert rows[0].score == 1.0
    assert rows[0].project.judgments["paper"].answer is Degree.OPEN
    assert openness.find("OLMo 7B Instruct").project.judgments["paper"].answer is Degree.CLOSED


@given(st.dictionaries(st.sampled_from([d.name for d in openness.index(openness.FIRST).dimensions]), st.floats(0.1, 9)))
def test_weighted_scores_are_shares(weights: dict[str, float]) -> None:
    rows = openness.ranked(weights=weights)
    assert all(0 <= row.share <= 1.0000001 for row in rows)
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)


@pytest.mark.parametrize("text", ["llmdata", "llmdata=x", "llmdata=-1", "llmdata=nan"])
def test_a_weight_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="weight"):
        openness.weights([text])


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="did you mean llmdata"):
        openness.ranked(weights={"lmdata": 1})
    with pytest.raises(UserError, match="weighs nothing"):
        openness.ranked(weights={each.name: 0 for each in openness.index(openness.FIRST).dimensions})
    with pytest.raises(NotFoundError, match="did you mean bloomz"):
        openness.find("BLOMZ")
    with pytest.raises(NotFoundError, match="no such index"):
        openness.index("osia")


def test_a_judgment_without_evidence_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('name="x"\nproject="X"\norganisation=""\nurl=""\ndeclared_licence=""\ndate=""\nsource="s"\n'
                    '[judgments]\nllmdata = {answer = "open"}\n')  # fmt: skip
    with pytest.raises(UserError, match="evidence"):
        openness.read(path, Project)


def test_the_page_is_self_contained_and_escapes() -> None:
    of = openness.index(openness.FIRST)
    text = openness_page.page(of, openness.ranked()[:3], {})
    assert "OLMo 7B Instruct" in text and "<script" not in text and "src=" not in text
    injected = Judgment(answer=Degree.OPEN, evidence="javascript:alert(1)")
    hostile = Project(
        name="x", project="<script>alert(1)</script>", organisation="", url="", declared_licence="", date="",
        source="s", judgments={d.name: injected for d in of.dimensions},
    )  # fmt: skip
    row = openness.Ranked(rank=1, project=hostile, score=1, share=1, index=of.name)
    text = openness_page.page(of, [row], {})
    assert "<script>alert" not in text and "javascript:" not in text


def test_an_own_assessment_is_kept_answer_by_answer(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    judged = Judgment(answer=Degree.OPEN, evidence="https://example.org/data", by="Ada")
    assessment.answer(workspace, "smollm2-135m", "llmdata", judged)
    kept = assessment.answer(workspace, "smollm2-135m", "paper", Judgment(answer=Degree.UNKNOWN, evidence="", by="Ada"))
    assert kept == assessment.load(workspace, "smollm2-135m")
    assert kept.score == 1.0
    assert len(kept.open_questions) == 12


@pytest.mark.parametrize(
    ("dimension", "judgment", "said"),
    [
        ("lmdata", Judgment(answer=Degree.OPEN, evidence="https://x", by="Ada"), "did you mean llmdata"),
        ("llmdata", Judgment(answer=Degree.OPEN, evidence="I saw it", by="Ada"), "link to its evidence"),
        ("llmdata", Judgment(answer=Degree.OPEN, evidence="https://x", by=" "), "needs the name"),
    ],
)
def test_an_assessment_that_proves_nothing_is_refused(
    tmp_path: Path, dimension: str, judgment: Judgment, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        assessment.answer(Workspace(tmp_path), "smollm2-135m", dimension, judgment)
    assert not list(tmp_path.rglob("*.json"))


def test_the_ai_act_names_what_is_missing() -> None:
    by_name = {each.criterion: each for each in ai_act.findings("llama-2-7b")}
    assert by_name["licence"].met is False
    assert "700M" in by_name["licence"].because
    assert {each.criterion: each.met for each in ai_act.findings("olmo-7b")}["licence"] is True
    small = {each.criterion: each for each in ai_act.findings("smollm2-135m-instruct")}
    assert small["weights"].met is True
    assert small["architecture"].met is None and "assess" in small["architecture"].because
    huge = {each.criterion: each.met for each in ai_act.findings("llama-3.1-405b")}
    assert huge["systemic risk"] is False
    assert all(each.clause.startswith("Article") for each in by_name.values())


def test_the_command(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("openness", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert (rows[0]["rank"], rows[0]["project"], rows[0]["score"]) == (1, "OLMo 7B Instruct", 12.5)
    assert rows[-1]["project"] == "ChatGPT" and rows[-1]["preprint"] == "partial"
    assert freehold("openness", "--top", "2") == 0
    out = capsys.readouterr().out
    assert "✔" in out and "12.5" in out and "801f687" in out
    assert freehold("openness", "--explain", "OLMo-7B-Instruct") == 0
    assert "https://github.com/allenai/OLMo" in capsys.readouterr().out
    assert freehold("openness", "--html", "o.html") == 0 and Path("o.html").exists()
    capsys.readouterr()
    answer = "llmdata=open,https://huggingface.co/datasets/HuggingFaceTB/smollm-corpus"
    assert freehold("openness", "assess", "smollm2-135m", "--by", "Ada", "--answer", answer, "--json") == 0
    assert json.loads(capsys.readouterr().out)["judgments"]["llmdata"]["by"] == "Ada"
    assert freehold("show", "smollm2-135m") == 0
    assert "✔ llmdata · Ada · https://huggingface.co" in capsys.readouterr().out
    assert freehold("openness", "act", "olmo-7b") == 0
    assert "Article 53(2)" in capsys.readouterr().out


def test_an_index_without_a_recorded_commit_is_named_by_the_digest_of_its_judgments() -> None:
    assert openness.index("opening-up-chatgpt").version == "commit 801f687"
    assert openness.index("osai").version == "commit not recorded, judgments up to 2026-06-12, digest 32971b80427d"
