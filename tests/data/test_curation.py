"""What a dataset keeps of traffic: one short way to ask, one answer to a repeated question, in the right language."""

import asyncio
import hashlib
from typing import Any, Literal

import pytest
from data_room import Room
from hypothesis import given
from hypothesis import strategies as st

from freehold.cli import data as cli
from freehold.data import card, freeze, verdicts
from freehold.data.consensus import settle
from freehold.data.constant import constant
from freehold.data.language import is_in_another
from freehold.data.row import Row
from freehold.errors import DataError, TaskFileError
from freehold.gateway.chat import ChatRequest, Turn
from freehold.gateway.classify import ClassifierModel
from freehold.records import Affixes, Message, Provenance, Pruning, Split
from freehold.render import Prompt, pruned
from freehold.store.deployments import ClassifierTarget

SYSTEM = "You sort messages of frontline workers. Answer with one word.\n"
HEAD, TAIL = "Here is the message that came in:\n", "\nAnswer with the name of the team and nothing else."


def said(at: int) -> str:
    noise = hashlib.sha256(str(at).encode()).hexdigest()
    return f"{noise[:20]} {noise[20:45]}"


def recorded(at: int, **fields: object) -> dict[str, Any]:
    turns = [
        {"role": "system", "content": f"{SYSTEM}Shift {at % 7}."},
        {"role": "user", "content": f"{HEAD}{said(at)}{TAIL}"},
        {"role": "assistant", "content": ("pay", "rota")[at % 2]},
    ]
    return {"messages": turns, **fields}


def row(index: int, text: str, answer: str, provenance: Provenance = Provenance.INCUMBENT) -> Row:
    return Row(index, f"f:{index}", (Message(role="user", content=text),), answer, provenance)


def test_what_every_request_says_is_cut_here_and_in_serving(room: Room) -> None:
    room.jsonl("x.jsonl", [recorded(at) for at in range(60)])
    dataset = room.build({"source": "x.jsonl", "provenance": "incumbent"})
    assert sum(dataset.counts.values()) == 60  # with the template they would all be near-duplicates
    first = next(each for each in room.examples() if each.origin == "x.jsonl:1")
    assert [(m.role, m.content) for m in first.messages] == [("system", "0."), ("user", said(0))]
    prompt = Prompt(system="Sort.", pruning=dataset.pruning)
    asked = tuple(Message(**turn) for turn in recorded(0)["messages"][:2])
    assert prompt.messages(asked) == prompt.messages(first.messages)  # whoever asks the long way is answered alike
    sections = {
        s.title: s.rows
        for s in card.card(dataset, room.examples(), room.task({"source": "x.jsonl"}).task.data).sections
    }
    assert sections["Cut from every request"][1][:2] == ("system message, beginning", f"{len(SYSTEM) + 6}")
    assert room.build({"source": "x.jsonl", "provenance": "incumbent", "prune": False}).pruning is None


def test_a_constant_system_message_gives_way_to_the_tasks_own() -> None:
    pruning = Pruning(system=Affixes(prefix=SYSTEM))
    asked = [Message(role="system", content=SYSTEM), Message(role="user", content="hello")]
    assert [m.content for m in Prompt(system="Sort.", pruning=pruning).messages(asked)] == ["Sort.", "hello"]
    other = [Message(role="system", content="Write a poem."), asked[1]]
    assert Prompt(system="Sort.", pruning=pruning).messages(other) == tuple(other)


def test_a_classifier_is_asked_the_short_way_too() -> None:
    class Echo:
        def answer(self, text: str) -> tuple[str, float]:
            return text, 1.0

    target = ClassifierTarget(digest="c" * 64, folder="f", pruning=Pruning(user=Affixes(prefix=HEAD, suffix=TAIL)))
    chat = ChatRequest(model="t", messages=[Turn(role="user", content=f"{HEAD}hello{TAIL}")])
    assert asyncio.run(ClassifierModel(target, Echo()).answer(chat)).text == "hello"


def test_a_few_requests_worded_otherwise_hide_nothing_and_keep_theirs(room: Room) -> None:
    older = {"messages": [{"role": "user", "content": f"old wording {said(3000)}"}, recorded(0)["messages"][2]]}
    room.jsonl("x.jsonl", [*(recorded(at) for at in range(40)), older])
    room.build({"source": "x.jsonl", "provenance": "incumbent"})
    texts = {each.origin: each.text for each in room.examples()}
    assert texts["x.jsonl:41"] == f"old wording {said(3000)}" and texts["x.jsonl:1"] == said(0)


def test_pairs_are_kept_to_the_letter(room: Room) -> None:
    rows = [{"text": f"{HEAD}{said(at) * 9}", "answer": ("pay", "rota")[at % 2]} for at in range(60)]
    room.jsonl("p.jsonl", rows)
    assert room.build({"source": "p.jsonl"}).pruning is None
    assert all(each.text.startswith(HEAD) for each in room.examples())


def test_a_verdict_holds_when_more_is_cut(room: Room) -> None:
    room.jsonl("x.jsonl", [recorded(at) for at in range(60)])
    data = {"source": "x.jsonl", "provenance": "incumbent"}
    dataset = room.build(data)
    verdicts.keep(room.workspace, dataset, next(e for e in room.examples() if e.origin == "x.jsonl:1"), "rota")
    for prune in (True, False):
        room.build({**data, "prune": prune})
        mended = next(each for each in room.examples() if each.origin == "x.jsonl:1")
        assert (mended.reference, mended.provenance) == ("rota", Provenance.HUMAN)


@given(st.lists(st.text(max_size=30), min_size=20, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_cutting_loses_nothing_but_what_is_constant(texts: list[str], head: str, tail: str) -> None:
    rows = [row(at, f"{head}{text}{tail}", "pay") for at, text in enumerate(texts)]
    found = constant(rows)
    if found is None:
        return
    for each in rows:
        (kept,) = pruned(each.messages, found)
        assert kept.content.strip() in each.text and kept.content
        begins, ends = each.text.startswith(found.user.prefix), each.text.endswith(found.user.suffix)
        if begins and ends and kept.content != each.text:
            whole = f"{found.user.prefix}{kept.content}{found.user.suffix}"
            assert "".join(whole.split()) == "".join(each.text.split())


def test_nineteen_requests_are_too_few_to_tell() -> None:
    assert constant([row(at, f"{HEAD}{said(at)}", "pay") for at in range(19)]) is None


@pytest.mark.parametrize(
    ("answers", "rule", "kept", "reasons"),
    [
        ("ppr", "keep", "ppr", {}),
        ("ppr", "consensus", "pp", {"outvoted": 1}),
        ("pr", "consensus", "", {"disagreement": 2}),
        ("ppr", "drop", "", {"disagreement": 3}),
        ("ppp", "drop", "ppp", {}),
        ("ppR", "consensus", "R", {"outvoted": 2}),  # a person's answer outweighs the incumbent's two
        ("RPr", "consensus", "", {"disagreement": 3}),
    ],
)
def test_repeated_inputs_come_to_one_answer_or_none(
    answers: str, rule: Literal["keep", "consensus", "drop"], kept: str, reasons: dict[str, int]
) -> None:
    rows = [
        row(at, "The SAME", letter.lower(), Provenance.HUMAN if letter.isupper() else Provenance.INCUMBENT)
        for at, letter in enumerate(answers)
    ]
    found = settle([*rows, row(99, "another", "p")], rule)
    assert [each.index for each in found.kept] == [
        at for at in range(len(answers)) if at in _indices(answers, kept)
    ] + [99]
    assert {r: sum(d.reason == r for d in found.dropped) for r in {d.reason for d in found.dropped}} == reasons
    assert (found.repeated, found.disputed) == (1, int(len(set(answers.lower())) > 1))


def _indices(answers: str, kept: str) -> set[int]:
    return {at for at, letter in enumerate(answers) if letter in kept}


def test_the_dataset_counts_disputes_and_why_tells_who_was_outvoted(room: Room) -> None:
    rows = [{"text": said(at), "answer": ("pay", "rota")[at % 2]} for at in range(40)]
    room.jsonl("x.jsonl", [*rows, {"text": said(0), "answer": "rota"}, {"text": said(0), "answer": "rota"}])
    dataset = room.build({"source": "x.jsonl", "repeats": "consensus"})
    assert (dataset.repeated, dataset.disputed) == (1, 1)
    assert dataset.dropped == {"duplicate": 1, "outvoted": 1}
    lost = next(each for each in freeze.dropped(room.workspace, dataset.digest) if each.reason == "outvoted")
    assert (lost.origin, lost.because) == ("x.jsonl:1", "x.jsonl:41")


@pytest.mark.parametrize(
    ("answer", "text", "name", "wrong"),
    [
        ("Ihr Lohn ist da und wir haben ihn geprüft.", "where is my wage?", "German", False),
        ("Your wage is on its way to you.", "Wo ist mein Lohn?", "German", True),
        ("Your wage is on its way to you.", "please say where it is and when", "input", False),
        ("您的工资将在星期五之前全部发放完毕", "Wo ist mein Lohn?", "German", True),
        ("您的工资将在星期五之前全部发放完毕", "我的工资还没到账", "input", False),
        ("OK 42", "Wo ist mein Lohn?", "German", False),
        ("Заработная плата будет выплачена в пятницу", "?", "Russian", False),
        ("12345", "", "input", False),
    ],
)
def test_an_answer_in_another_language(answer: str, text: str, name: str, wrong: bool) -> None:
    assert is_in_another(answer, text, name) is wrong


def test_wrong_language_answers_are_dropped_with_their_reason(room: Room) -> None:
    rows = [{"text": said(at), "answer": f"Das ist nicht die Antwort auf {said(at)}"} for at in range(30)]
    room.jsonl("x.jsonl", [*rows, {"text": said(77), "answer": "This is the answer that you have asked for"}])
    data = {"source": "x.jsonl", "language": "German"}
    assert room.build(data, answer={"type": "text"}).dropped == {"wrong_language": 1}
    with pytest.raises(DataError, match="did you mean German"):
        room.build({**data, "language": "Germna"}, answer={"type": "text"})
    with pytest.raises(TaskFileError, match=r"data\.language does not go with answer\.type label"):
        room.build(data)


def test_a_refusal_in_a_list_of_messages_is_no_example(room: Room) -> None:
    refusal = recorded(50)
    refusal["messages"][2]["content"] = "I'm sorry, but I can't help with that."
    empty = recorded(51)
    empty["messages"][2]["content"] = "  "
    corrected = {**recorded(52), "feedback": "corrected", "correction": "pay"}
    corrected["messages"][2]["content"] = "I cannot help."
    room.jsonl("x.jsonl", [*(recorded(at) for at in range(40)), refusal, empty, corrected])
    dataset = room.build({"source": "x.jsonl", "provenance": "incumbent"})
    assert dataset.dropped == {"no_answer": 1, "refusal": 1}
    assert dataset.provenance[Provenance.CORRECTED] == 1 and dataset.counts[Split.TRAIN] > 20
    assert cli._fate(freeze.dropped(room.workspace, dataset.digest)[0])["reason"] in ("refusal", "no_answer")
