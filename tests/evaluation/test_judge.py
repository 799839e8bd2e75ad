"""A judge by rule: planted biases are measured, nonsense is counted, and a win needs both orders."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.engines.chat import Chat, ChatEndpoint
from freehold.engines.engine import Answer
from freehold.engines.fake import Fake
from freehold.errors import DataError, EngineError
from freehold.evaluation.arena.votes import LEFT, RIGHT, TIE
from freehold.evaluation.asking import Asked, LocalChat
from freehold.evaluation.judge import grades, pairwise, questions
from freehold.evaluation.judge.conversations import Conversation, converse
from freehold.evaluation.judge.judge import Judge
from freehold.evaluation.judge.questions import Question
from freehold.evaluation.judge.wording import choice, grade
from freehold.records import Candidate, CandidateKind
from freehold.render import Renderer
from freehold.store.answers import Answers

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "mt_bench.jsonl"
NAMES = ("left", "right")


class Ruled:
    """An endpoint that judges by a rule on the prompt's text, and counts."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        self.rule, self.asked = rule, 0

    def chat(self, request: Chat) -> Answer:
        self.asked += 1
        return Answer(
            text=self.rule(request.messages[-1].content),
            input_tokens=1,
            output_tokens=1,
            cached_tokens=0,
            finish_reason="stop",
            latency_ms=1.0,
        )


def sides(prompt: str) -> tuple[str, str]:
    between = [part.split("answer]\n", 1)[1].split("\n[The end", 1)[0] for part in prompt.split("[The start of ")[1:]]
    return between[0], between[1]


def quality(text: str) -> int:
    return text.count("good")


def fair(prompt: str) -> str:
    a, b = map(quality, sides(prompt))
    return "I weigh both. [[A]]" if a > b else "[[B]]" if b > a else "[[C]]"


def pair(at: int, left: str, right: str, scores: tuple[float, float] | None = None) -> pairwise.Pair:
    return pairwise.Pair(example=str(at), question=f"question {at}", left=left, right=right, scores=scores)


PAIRS = [
    pair(at, "good good" if at % 3 else "good", "good and rather longer" if at % 2 else "good") for at in range(24)
]


def test_verdicts_are_read_or_counted() -> None:
    assert [choice(text) for text in ("[[A]]", "so [[ B ]].", "[[C]]", "[[A]] or [[B]]", "A", "")] == [
        LEFT,
        RIGHT,
        TIE,
        None,
        None,
        None,
    ]
    assert [grade(text) for text in ("[[7]]", "[[7.5]]", "[[7/10]]", "[[11]]", "[[0]]", "7", "[[3]] [[4]]")] == [
        7.0,
        7.5,
        7.0,
        None,
        None,
        None,
        None,
    ]


def test_a_fair_judge(answers: Answers) -> None:
    found = pairwise.duel(Judge("fair", Ruled(fair), answers), NAMES, PAIRS)
    assert (found.wins, found.ties, found.losses, found.nonsense) == (16, 8, 0, 0)
    assert found.won is not None and found.won.value == pytest.approx(20 / 24)
    assert found.bias.consistent is not None and found.bias.consistent.value == 1
    assert found.bias.first is None


def test_a_judge_that_likes_the_first_answer_finds_no_winner(answers: Answers) -> None:
    found = pairwise.duel(Judge("first", Ruled(lambda _prompt: "[[A]]"), answers), NAMES, PAIRS)
    assert (found.wins, found.ties, found.losses) == (0, 24, 0)
    assert found.bias.first is not None and found.bias.first.value == 1
    assert found.bias.first_p is not None and found.bias.first_p < 1e-6


def test_length_and_self_preference_are_shown(answers: Answers) -> None:
    """The metric calls every pair a draw; this judge goes by length, and the longer answers are its own."""

    def long(prompt: str) -> str:
        a, b = map(len, sides(prompt))
        return "[[A]]" if a > b else "[[B]]"

    pairs = [pair(at, "short", "a longer answer by far", (1.0, 1.0)) for at in range(20)]
    found = pairwise.duel(Judge("right", Ruled(long), answers), NAMES, pairs, own=RIGHT)
    assert found.bias.longer is not None and found.bias.longer.value == 1
    assert found.bias.own is not None and found.bias.own.value == 0.5
    base = Candidate(name="tuned x", kind=CandidateKind.TUNED, digest="a", base="x")
    other = Candidate(name="rented", kind=CandidateKind.REMOTE, digest="b")
    assert pairwise.which_is("x", base, other) == LEFT
    assert pairwise.which_is("rented", base, other) == RIGHT
    assert pairwise.which_is("y", base, other) is None


def test_nonsense_is_counted_not_guessed(answers: Answers) -> None:
    found = pairwise.duel(
        Judge("mad", Ruled(lambda prompt: "purple" if "question 1" in prompt else fair(prompt)), answers), NAMES, PAIRS
    )
    silent = sum("question 1" in f"question {at}" for at in range(24))
    assert found.nonsense == silent and found.wins + found.ties + found.losses == 24 - silent
    nobody = pairwise.duel(Judge("mute", Ruled(lambda _prompt: ""), answers), NAMES, PAIRS)
    assert nobody.won is None and nobody.nonsense == 24


def test_a_verdict_is_asked_once(answers: Answers) -> None:
    endpoint = Ruled(fair)
    first = pairwise.duel(Judge("fair", endpoint, answers), NAMES, PAIRS)
    asked = endpoint.asked
    assert pairwise.duel(Judge("fair", endpoint, answers), NAMES, PAIRS) == first
    assert endpoint.asked == asked


def test_a_judge_that_is_down_is_said(answers: Answers) -> None:
    def down(_prompt: str) -> str:
        raise EngineError("no route")

    with pytest.raises(EngineError, match="failed on all 48 questions"):
        pairwise.duel(Judge("down", Ruled(down), answers), NAMES, PAIRS)


def two_turns(count: int, reference: bool, first: int = 0) -> list[Question]:
    given = ("one", None) if reference else None
    return [
        Question(first + at, (f"q{at}", "and then?"), "writing" if at % 2 else "maths", given) for at in range(count)
    ]


def talking(answers: Answers, endpoint: ChatEndpoint, name: str = "m") -> Asked:
    return Asked(name, name, endpoint, answers, concurrency=2)


def test_two_turn_protocol(answers: Answers) -> None:
    """The second grade sees the whole conversation, and the reference where there is one."""
    seen: list[str] = []

    def judging(prompt: str) -> str:
        seen.append(prompt)
        return "[[4]]" if "and then?" in prompt else "[[8]]"

    model = Ruled(lambda text: f"reply to {text}")
    asked = [*two_turns(5, False), *two_turns(3, True, 5)]
    talks = converse(talking(answers, model), asked, 64)
    assert [turn.content for turn in talks[1].messages(2)] == ["q1", "reply to q1", "and then?", "reply to and then?"]
    found = grades.graded(Judge("j", Ruled(judging), answers, rubric="be kind"), "m", talks)
    assert [each.value for each in found.turns if each] == pytest.approx([8, 4])
    assert found.mean is not None and found.mean.value == pytest.approx(6)
    assert (set(found.categories), found.nonsense, found.without_reference) == ({"maths", "writing"}, 0, 13)
    assert any("reply to q1" in prompt and "and then?" in prompt for prompt in seen)
    assert sum("[A reference answer]\none" in prompt for prompt in seen) == 3


def test_a_conversation_goes_on_where_it_was_stopped(answers: Answers) -> None:
    def stopped(text: str) -> str:
        if text == "q3":
            raise KeyboardInterrupt
        return f"reply to {text}"

    asked = two_turns(4, False)
    with pytest.raises(KeyboardInterrupt):
        converse(Asked("m", "m", Ruled(stopped), answers), asked, 64)
    again = Ruled(lambda text: f"reply to {text}")
    talks = converse(talking(answers, again), asked, 64)
    assert again.asked == 5, "the first turn of the fourth question, and all second turns"
    assert all(len(talk.answers) == 2 for talk in talks)


def test_a_turn_that_failed_is_counted_and_ends_its_conversation(answers: Answers) -> None:
    def fussy(text: str) -> str:
        if text == "q1":
            raise EngineError("too long")
        return "fine"

    talks = converse(talking(answers, Ruled(fussy)), two_turns(3, False), 64)
    assert [len(talk.answers) for talk in talks] == [2, 0, 2] and talks[1].error == "too long"
    found = grades.graded(Judge("j", Ruled(lambda _prompt: "[[5]]"), answers), "m", talks)
    assert (found.unanswered, found.nonsense, found.failed) == (2, 0, 0)
    assert found.mean is not None and found.mean.n == 4
    assert [row.answer for row in found.rows if row.item == "1"] == [None, None]


def test_a_judge_that_fails_now_and_then_is_not_called_nonsense(answers: Answers) -> None:
    def shaky(prompt: str) -> str:
        if "q0" in prompt or "question 0" in prompt:
            raise EngineError("gone")
        return "[[7]] hm" if "q1" in prompt else "[[A]]"

    talks = converse(talking(answers, Ruled(lambda _text: "x")), two_turns(2, False), 64)
    found = grades.graded(Judge("j", Ruled(shaky), answers), "m", talks)
    assert (found.failed, found.nonsense) == (2, 0)
    duel = pairwise.duel(Judge("j", Ruled(shaky), answers), NAMES, PAIRS[:3])
    assert (duel.failed, duel.nonsense, duel.ties) == (1, 0, 2)


def test_two_models_conversations_are_compared_turn_by_turn(answers: Answers) -> None:
    """The judge sees both conversations up to that turn; turns of one question are one cluster."""
    asked = two_turns(6, False)
    one = converse(talking(answers, Ruled(lambda _text: "good"), "one"), asked, 64)
    other = converse(talking(answers, Ruled(lambda _text: "meh"), "other"), asked, 64)
    pairs = pairwise.of_conversations(one, other)
    assert len(pairs) == 12 and pairs[1].example == "0, turn 2"
    assert pairs[1].question == "[Turn 1]\nq0\n\n[Turn 2]\nand then?"
    assert pairs[1].left == "[Turn 1]\ngood\n\n[Turn 2]\ngood" and pairs[0].left == "good"
    found = pairwise.duel(Judge("fair", Ruled(fair), answers), ("one", "other"), pairs)
    assert (found.wins, found.losses) == (12, 0) and found.won is not None and found.won.n == 12


def test_a_local_engine_judges(answers: Answers, renderer: Renderer) -> None:
    engine = Fake(lambda _text: "fine: [[9]]", decode=renderer.decode)
    engine.start()
    talks = [Conversation(Question(1, ("q",)), ("a",))]
    found = grades.graded(Judge("local", LocalChat(engine, renderer), answers), "m", talks)
    assert found.rows[0].grade == 9


def test_questions(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    with pytest.raises(DataError, match="no such file"):
        questions.read(path)
    for text, said in (
        ("", "no questions"),
        ('{"question_id": 1}', "q.jsonl:1: .*turns"),
        ('{"question_id": 1, "turns": []}', "at least one turn"),
        ('{"question_id": 1, "turns": ["a", "b"], "reference": ["x"]}', "one reference a turn"),
        ('{"question_id": 1, "turns": ["a"]}\n{"question_id": 1, "turns": ["b"]}', "1 stands twice"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            questions.read(path)
    path.write_text('{"question_id": 1, "turns": ["a", "b"], "reference": ["x", null]}')
    assert [questions.read(path)[0].reference_of(turn) for turn in (0, 1)] == ["x", None]
    if SHARED.exists():
        asked = questions.read(SHARED)
        assert len(asked) == 80 and all(len(each.turns) == 2 for each in asked)


def test_the_command_plays_two_models(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`freehold judge mt-bench QUESTIONS MODEL --against OTHER`, both models and the judge being rules."""
    from contextlib import nullcontext

    from freehold.evaluation.judge import judge as judges

    (tmp_path / "freehold.yaml").write_text("task: t\ndescription: d\ndata: {source: x.csv}\njudge: {model: j}\n")
    (tmp_path / "q.jsonl").write_text('{"question_id": 1, "turns": ["a", "b"]}\n')
    assert freehold("judge", "mt-bench", "q.jsonl", "one") == 2
    assert "j: no such base in this workspace; `freehold pull j` fetches it" in capsys.readouterr().err
    rules: dict[str, Callable[[str], str]] = {
        "one": lambda _text: "good",
        "other": lambda _text: "meh",
        "j": lambda prompt: fair(prompt) if "[The start of" in prompt else "[[6]]",
    }
    monkeypatch.setattr(judges, "endpoint", lambda spec, _workspace: nullcontext(Ruled(rules[spec.model])))
    monkeypatch.setattr(judges, "identity", lambda spec, _workspace: spec.model)
    assert freehold("judge", "mt-bench", "q.jsonl", "one", "--against", "other") == 0
    shown = capsys.readouterr().out
    assert "6.00" in shown and "one wins 2, loses 0, ties 0 against other" in shown
    assert "2 of 2 answers had no reference" in shown
    assert freehold("judge", "mt-bench", "q.jsonl", "one", "--json") == 0
    assert json.loads(capsys.readouterr().out)["mean"]["value"] == 6


def test_the_task_file_names_the_judge(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "task: t\ndescription: d\ndata: {source: x.csv}\n"
    (tmp_path / "freehold.yaml").write_text(text)
    assert freehold("judge", "grade", "tuned") == 2
    assert "has no judge" in capsys.readouterr().err
    (tmp_path / "freehold.yaml").write_text(
        text + "judge: {model: m, base_url: http://127.0.0.1:9/v1, api_key: sk-1}\n"
    )
    assert freehold("judge", "grade", "tuned") == 2
    assert "literal key" in capsys.readouterr().err


def test_compare_from_kept_rows(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`freehold judge compare` over a kept report and its dataset, the judge being a rule."""
    from contextlib import nullcontext

    from evaluation_material import examples
    from test_compare import GOOD, PLAIN, kept, rows

    from freehold.evaluation.judge import judge as judges
    from freehold.store.workspace import Workspace

    kept(Workspace(tmp_path / ".freehold"), "triage", (GOOD, rows(GOOD, range(4))), (PLAIN, rows(PLAIN, range(2, 14))))
    held_out = {each.id: each for each in examples(40)}
    monkeypatch.setattr("freehold.cli.judge.examples_of", lambda _workspace, _report: held_out)
    right = Ruled(lambda prompt: "[[A]]" if "[The start of" in prompt else "hm")
    monkeypatch.setattr(judges, "endpoint", lambda _spec, _workspace: nullcontext(right))
    monkeypatch.setattr(judges, "identity", lambda spec, _workspace: spec.model)
    (tmp_path / "freehold.yaml").write_text("task: t\ndescription: d\ndata: {source: x.csv}\njudge: {model: m}\n")
    assert freehold("judge", "compare", "tuned", "classifier", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (len(found["rulings"]), found["nonsense"]) == (40, 0)
    assert freehold("judge", "grade", "tuned") == 0
    assert "40 of 40 verdicts could not be read" in capsys.readouterr().out
