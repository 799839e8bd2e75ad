"""The rights gate: the clause decides, the strictest wins, unknown is never allowed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.catalogue import licence, model, rights
from freehold.catalogue.licence import Grant, Licence
from freehold.catalogue.rights import Answer, Behind, Verdict
from freehold.errors import NotFoundError, RefusedError, UndeterminedError, UserError
from freehold.spec import Use


def verdict(name: str, behind: Behind | None = None, **use: Any) -> Verdict:  # noqa: ANN401
    return rights.check(name, Use(**use), behind)


@pytest.mark.parametrize(
    ("name", "use", "answer", "clause"),
    [
        ("llama-2-7b", {"commercial": True, "monthly_active_users": 800_000_000}, "forbidden", "section 2"),
        ("llama-2-7b", {"commercial": True, "monthly_active_users": 600_000_000}, "conditional", "section 1.b.v"),
        ("llama-2-7b", {"train_on_outputs": True}, "forbidden", "section 1.b.v"),
        ("llama-3.1-8b", {"train_on_outputs": True, "monthly_active_users": 1}, "conditional", "section 1.b.i"),
        ("qwen2.5-3b", {"commercial": True}, "forbidden", "section 2"),
        ("qwen2.5-72b", {"commercial": True, "monthly_active_users": 200_000_000}, "forbidden", "section 4"),
        ("mpt-7b-chat", {"commercial": True}, "forbidden", "section 3"),
        ("falcon-180b", {"hosted_service": True}, "forbidden", "sections 9.1, 9.3"),
        ("llama-3.2-11b-vision", {"territory": "FR"}, "forbidden", "Acceptable Use Policy, closing paragraph"),
        ("chatglm2-6b", {"field": "military"}, "forbidden", "section 3"),
        ("bloom-176b", {"field": "law-enforcement"}, "forbidden", "Attachment A"),
        ("moss-moon-003-base", {"hosted_service": True}, "conditional", "section 13"),
        ("mistral-large-2", {"commercial": True, "hosted_service": True}, "forbidden", "section 3.2"),
        ("ernie-bot", {}, "unknown", "no licence text"),
        ("gpt-2", {"commercial": False}, "unknown", "no clause"),
    ],
)
def test_the_clause_that_decides(name: str, use: dict[str, Any], answer: str, clause: str) -> None:
    found = verdict(name, **use)
    assert found.verdict == answer
    assert clause in {reason.clause for reason in found.reasons if reason.answer == answer}


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "qwen2.5-7b", "olmo-7b", "phi-4", "yi-34b", "falcon-40b"])
def test_permissive_licences_allow(name: str) -> None:
    use: dict[str, Any] = {"commercial": True, "monthly_active_users": 10**9, "train_on_outputs": True}
    assert verdict(name, **use, territory="EU").verdict is Answer.ALLOWED


@pytest.mark.parametrize(
    ("name", "licence_title"),
    [
        ("yi-34b@2024-01-10", "Yi Series Models Community License Agreement 2.1"),
        ("yi-34b@2024-07", "Apache License 2.0"),
        ("falcon-40b@2023-05-30", "TII Falcon LLM License 1.0"),
        ("phi-2@2023-12-20", "Microsoft Research License"),
        ("phi-2", "MIT License"),
    ],
)
def test_the_licence_is_that_of_the_revision(name: str, licence_title: str) -> None:
    assert verdict(name).licences[0] == licence_title


def test_a_hub_id_stands_for_its_model() -> None:
    assert verdict("meta-llama/Llama-2-7b-hf", monthly_active_users=10**9).verdict is Answer.FORBIDDEN
    assert verdict("Qwen/Qwen2.5-72B", commercial=True, monthly_active_users=10**9).verdict is Answer.FORBIDDEN


def test_a_threshold_in_a_licence_binds_at_its_scope() -> None:
    sentences = [reason.sentence for reason in verdict("llama-2-7b", monthly_active_users=10**9).reasons]
    assert any("at the release date (2023-07-18)" in sentence for sentence in sentences)
    sentences = [r.sentence for r in verdict("qwen2.5-72b", commercial=True, monthly_active_users=10**9).reasons]
    assert any("at any time" in sentence for sentence in sentences)


def test_the_strictest_of_model_and_base_wins() -> None:
    found = verdict("linly-chinese-llama-2-7b", monthly_active_users=900_000_000)
    assert found.verdict is Answer.FORBIDDEN
    assert "its base llama-2-7b" in {reason.concerns for reason in found.reasons}


@pytest.mark.parametrize(
    ("behind", "answer"),
    [
        (Behind(teacher="llama-2-70b"), "forbidden"),
        (Behind(teacher="some-api-nobody-knows"), "unknown"),
        (Behind(teacher="gpt-4o-mini"), "conditional"),
        (Behind(teacher="claude-sonnet-4"), "conditional"),
        (Behind(teacher="mistral-large-latest"), "unknown"),
        (Behind(teacher="some-api-nobody-knows", contract="MSA 2026, section 4"), "allowed"),
        (Behind(data=("cc-by-nc-sa-4.0",)), "forbidden"),
        (Behind(adapter="mistral-research-0.1"), "forbidden"),
        (Behind(data=("apache-2.0",)), "allowed"),
    ],
)
def test_the_strictest_of_data_adapter_and_teacher_wins(behind: Behind, answer: str) -> None:
    assert verdict("smollm2-135m-instruct", behind, commercial=True).verdict == answer


def test_a_rented_answer_may_not_make_a_rival_service() -> None:
    found = verdict("smollm2-135m-instruct", Behind(teacher="gpt-4o"), hosted_service=True)
    assert found.verdict is Answer.UNKNOWN


def test_duties_name_what_must_be_shown() -> None:
    duties = verdict("llama-3.1-8b", redistribute=True).duties
    assert any('"Built with Llama"' in duty for duty in duties)
    assert any('starts with "Llama"' in duty for duty in duties)
    assert not any(duty.startswith("if you pass it on") for duty in duties)
    assert not verdict("olmo-7b", redistribute=False).duties


USES = st.builds(
    Use,
    commercial=st.none() | st.booleans(),
    monthly_active_users=st.none() | st.integers(0, 10**9),
    hosted_service=st.none(),
    redistribute=st.none() | st.booleans(),
    train_on_outputs=st.none() | st.booleans(),
    territory=st.sampled_from([None, "EU", "DE", "US"]),
    field=st.sampled_from([None, "general", "military", "health"]),
)
NAMES = st.sampled_from(sorted(model.built_in()))
ORDER = list(Answer)


@given(NAMES, USES)
def test_a_base_or_teacher_never_makes_it_milder(name: str, use: Use) -> None:
    alone = rights.check(name, use).verdict
    with_teacher = rights.check(name, use, Behind(teacher="llama-2-7b", data=("cc-by-nc-sa-4.0",))).verdict
    assert ORDER.index(with_teacher) >= ORDER.index(alone)


@given(NAMES, USES)
def test_every_verdict_but_allowed_has_a_reason_of_its_own_strength(name: str, use: Use) -> None:
    found = rights.check(name, use)
    answers = {reason.answer for reason in found.reasons}
    assert (found.verdict is Answer.ALLOWED) == (not answers)
    assert not answers or found.verdict in answers
    assert all(reason.source and reason.clause and reason.sentence for reason in found.reasons)


@given(NAMES, USES)
def test_more_users_never_make_it_milder(name: str, use: Use) -> None:
    many = use.model_copy(update={"monthly_active_users": 10**10})
    few = use.model_copy(update={"monthly_active_users": 0})
    assert ORDER.index(rights.check(name, many).verdict) >= ORDER.index(rights.check(name, few).verdict)


def test_enforce() -> None:
    rights.enforce(verdict("olmo-7b"))
    with pytest.raises(RefusedError, match=r"Llama 2 Community License, section 2\); not legal advice"):
        rights.enforce(verdict("llama-2-7b", monthly_active_users=10**9))
    with pytest.raises(UndeterminedError, match="terms were not established"):
        rights.enforce(verdict("ernie-bot"))


def test_bad_input() -> None:
    with pytest.raises(NotFoundError, match="did you mean llama-2-7b"):
        verdict("lama-2-7b")
    with pytest.raises(NotFoundError, match=r"differ by size: .*Qwen2\.5-3B: Qwen RESEARCH"):
        verdict("Qwen2.5")
    with pytest.raises(UserError, match="did you mean military"):
        verdict("olmo-7b", field="milatary")
    with pytest.raises(UserError, match="contradicts itself"):
        verdict("olmo-7b", commercial=True, field="research")
    with pytest.raises(UserError, match="contradicts itself"):
        verdict("olmo-7b", commercial=False, hosted_service=True, monthly_active_users=5)
    with pytest.raises(UserError, match="is not a country code"):
        verdict("olmo-7b", territory="Germany")
    with pytest.raises(UserError, match="is not a country code"):
        verdict("olmo-7b", territory="UK")
    with pytest.raises(UserError, match="the date on which the copy was obtained"):
        verdict("yi-34b@soon")
    with pytest.raises(NotFoundError, match="no such licence"):
        verdict("olmo-7b", Behind(data=("apach-2.0",)))


def test_sixty_grants_each_of_a_known_licence() -> None:
    grants = licence.grants()
    assert len(grants) >= 60
    assert {grant.licence for grant in grants} <= set(licence.licences())
    assert all(grant.source and grant.confidence for grant in grants)
    assert all(each.source and rule.clause for each in licence.licences().values() for rule in each.rules)


@pytest.mark.parametrize("kind", [Licence, Grant])
def test_licence_data_without_a_source_is_refused(tmp_path: Path, kind: type[Licence]) -> None:
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\ntitle = "X"\n')
    with pytest.raises(UserError, match=r"x\.toml: is not a (licence|grant): .*missing"):
        licence.read(path, kind)


def test_the_command(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("rights", "llama-2-7b", "--commercial", "--mau", "800M", "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "forbidden"
    assert document["reasons"][0]["clause"] == "section 2"
    assert document["reasons"][0]["source"].startswith("meta-llama/llama-models")
    assert document["duties"]
    assert freehold("rights", "smollm2-135m-instruct", "--commercial") == 0
    assert capsys.readouterr().out.startswith("allowed (Apache License 2.0)")
    assert freehold("rights", "ernie-bot") == 4
    assert "not legal advice" in capsys.readouterr().out
    assert freehold("rights", "llama-2-7b", "--mau", "lots") == 2
    assert "800M" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["commercial", "hosted-service", "redistribute", "train-on-outputs"])
def test_a_flag_given_both_ways_is_refused(
    freehold: Callable[..., int], capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert freehold("rights", "olmo-7b", f"--{flag}", f"--no-{flag}") == 2
    assert f"contradicts itself: --{flag} and its opposite" in capsys.readouterr().err
    assert freehold("rights", "olmo-7b", f"--no-{flag}", f"--no-{flag}") == 0


def test_a_contract_needs_its_teacher(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("rights", "olmo-7b", "--contract", "MSA, section 4") == 2
    assert "--teacher" in capsys.readouterr().err


def test_a_prescribed_line_says_where_its_wording_was_read() -> None:
    prescribed = {each.name: each.notice_source for each in licence.licences().values() if each.notice}
    assert {name for name, source in prescribed.items() if not source} == {"gemma-2024"}
    assert "commit 47401a8" in prescribed["llama-3.1"]
