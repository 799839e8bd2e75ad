"""MMLU's format to the letter, micro averages, perplexity, and scoring through the real base."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from freehold.errors import DataError, NotFoundError, UserError
from freehold.evaluation.benchmarks import mmlu, perplexity
from freehold.evaluation.benchmarks.continuations import Continuations, require_scoring, shared_prefix
from freehold.evaluation.benchmarks.sitting import Sitting
from freehold.render import Renderer
from freehold.store.answers import Answers

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "mmlu"
HEAD = "question,choice0,choice1,choice2,choice3,answer\n"


class Letters:
    """Text as its characters' codes, and a model that answers by looking at the text."""

    def __init__(self, right: Callable[[str], int]) -> None:
        self.right, self.seen = right, []

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def likeliest(self, prefix: Sequence[int], rest: Sequence[int], choices: Sequence[int]) -> int:
        assert [chr(each) for each in choices] == list("ABCD")
        text = "".join(map(chr, (*prefix, *rest)))
        self.seen.append(text)
        return self.right(text)


def folder(tmp_path: Path) -> Path:
    for part in ("dev", "test"):
        (tmp_path / part).mkdir()
    worked = "".join(f"What is {at}+0?,{at},8,9,10,0\n" for at in range(6))
    for subject, count in (("high_school_sums", 4), ("anatomy", 2)):
        (tmp_path / "dev" / f"{subject}_dev.csv").write_text(HEAD + worked)
        asked = "".join(f"What is {at}+1?,0,{at + 1},x,y,1\n" for at in range(count))
        (tmp_path / "test" / f"{subject}_test.csv").write_text(HEAD + asked)
    return tmp_path


def sitting(model: Letters, answers: Answers, name: str = "m") -> Sitting[mmlu.Scores]:
    return Sitting(name, model, model, answers, name)


def test_the_published_format(tmp_path: Path, answers: Answers) -> None:
    dev, test = mmlu.read(folder(tmp_path))
    model = Letters(lambda text: 1 if "high school" in text else 0)
    rows = mmlu.measure(sitting(model, answers), mmlu.sample(test, None, 0), dev)
    found = mmlu.summed("m", rows, 6)
    expected = (
        "The following are multiple choice questions (with answers) about high school sums.\n\n"
        "What is 0+0?\nA. 0\nB. 8\nC. 9\nD. 10\nAnswer: A\n\n"
    )
    text = next(each for each in model.seen if "sums" in each)
    assert text.startswith(expected) and text.count("Answer: A\n\n") == 5
    assert text.endswith("What is 0+1?\nA. 0\nB. 1\nC. x\nD. y\nAnswer:")
    assert (found.micro.value, found.micro.n) == (pytest.approx(4 / 6), 6)
    assert {name: each.value for name, each in found.subjects.items()} == {"anatomy": 0, "high_school_sums": 1}


def test_what_tuning_changed(tmp_path: Path, answers: Answers) -> None:
    dev, test = mmlu.read(folder(tmp_path))
    asked = mmlu.sample(test, None, 0)
    before, after = (
        mmlu.summed(name, mmlu.measure(sitting(model, answers, name), asked, dev), 6)
        for name, model in (("base", Letters(lambda _text: 1)), ("tuned", Letters(lambda text: int("sums" in text))))
    )
    change = mmlu.change(before, after)
    assert change.value == pytest.approx(-2 / 6) and change.low < change.value < change.high


def test_a_sample_is_repeatable(tmp_path: Path) -> None:
    _, test = mmlu.read(folder(tmp_path))
    assert mmlu.sample(test, 3, 1) == mmlu.sample(test, 3, 1)
    assert len(mmlu.sample(test, 3, 1)) == 3 and len(mmlu.sample(test, 99, 1)) == 6
    assert mmlu.sample(test, 4, 1)[:3] == mmlu.sample(test, 3, 1)


def test_what_was_answered_is_not_asked_again(tmp_path: Path, answers: Answers) -> None:
    """Killed after three questions, and then again with all of them."""
    dev, test = mmlu.read(folder(tmp_path))
    asked = mmlu.sample(test, None, 0)

    def stopped(_text: str) -> int:
        if len(first.seen) > 3:
            raise KeyboardInterrupt
        return 1

    first = Letters(stopped)
    with pytest.raises(KeyboardInterrupt):
        mmlu.measure(sitting(first, answers), asked, dev)
    second = Letters(lambda _text: 1)
    rows = mmlu.measure(sitting(second, answers), asked, dev)
    assert len(second.seen) == 3 and len(rows) == 6 and all(row.right for row in rows)
    third = Letters(lambda _text: 0)
    assert mmlu.measure(sitting(third, answers), asked, dev) == rows and not third.seen


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data/mmlu beside the checkout")
def test_the_whole_of_mmlu_is_read() -> None:
    dev, test = mmlu.read(SHARED)
    assert len(test) == 57 and sum(map(len, test.values())) == 14_042
    assert {len(each) for each in dev.values()} == {5}


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test/SUBJECT_test"):
        mmlu.read(tmp_path)
    place = folder(tmp_path)
    (place / "test" / "anatomy_test.csv").write_text(HEAD + "What?,a,b,c,d,E\n")
    with pytest.raises(DataError, match="question 1 needs four choices"):
        mmlu.read(place)
    (place / "test" / "law_test.csv").write_text(HEAD)
    (place / "test" / "anatomy_test.csv").write_text(HEAD)
    with pytest.raises(DataError, match="law has no worked examples"):
        mmlu.read(place)


def test_perplexity(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a document\n" * 3)
    with pytest.raises(DataError, match="3 documents"):
        perplexity.read(path)
    before = [2.0 + at / 100 for at in range(40)]
    figure = perplexity.perplexity(before)
    assert figure.low < figure.value < figure.high
    assert figure.value == pytest.approx(math.exp(sum(before) / 40))
    worse = perplexity.change(before, [each + 0.1 + at % 3 / 100 for at, each in enumerate(before)])
    assert 1 < worse.low <= worse.value and worse.value == pytest.approx(math.exp(0.11), rel=0.01)


def test_shared_prefix_leaves_something_of_each() -> None:
    assert shared_prefix([(1, 2, 3), (1, 2, 4)]) == 2
    assert shared_prefix([(1, 2), (1, 2, 4)]) == 1
    assert shared_prefix([(1, 2, 3), (1, 2, 3)]) == 2


@pytest.mark.slow
def test_the_real_base_scores(smollm2_folder: Path) -> None:
    """A cached prefix changes nothing; plain English surprises less than the same words shuffled."""
    scores, renderer = Continuations(smollm2_folder), Renderer(smollm2_folder)
    ids = renderer.encode("Question: what is the capital of France?\nA. Paris\nB. Oslo\nC. Rome\nD. Bern\nAnswer:")
    choices = [renderer.encode(f" {letter}")[-1] for letter in "ABCD"]
    whole = scores.likeliest((), ids, choices)
    assert whole == scores.likeliest(ids[:12], ids[12:], choices) == scores.likeliest(ids[:12], ids[12:], choices)
    plain = scores.surprise(renderer.encode("The cat sat on the mat and looked at the dog."))
    assert plain < scores.surprise(renderer.encode("mat the dog looked The on and sat at the cat."))


def test_the_commands_say_what_is_missing(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder(tmp_path)
    assert freehold("benchmark", "mmlu", place, "smollm2") == 2
    assert "`freehold pull smollm2` fetches it" in capsys.readouterr().err


def test_the_command(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Letters(lambda _text: 1)
    monkeypatch.setattr("freehold.cli.benchmarks._base", lambda _name: tmp_path)
    monkeypatch.setattr("freehold.cli.benchmarks.Renderer", lambda _folder: model)
    monkeypatch.setattr("freehold.cli.benchmarks._models", lambda _base, _adapter: iter([("base", model, ["digest"])]))
    assert freehold("benchmark", "mmlu", folder(tmp_path), "smollm2-135m-instruct", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["results"][0]["micro"]["value"] == 1 and "29.3 %" in found["published"]


def test_an_engine_that_cannot_score_says_so(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="llamacpp cannot score a continuation") as caught:
        require_scoring("llamacpp")
    assert caught.value.http_status == 400
    assert freehold("benchmark", "perplexity", "text.txt", "smollm2", "--engine", "remote") == 2
    assert "remote cannot score a continuation" in capsys.readouterr().err
    with pytest.raises(NotFoundError, match="did you mean torch"):
        require_scoring("troch")
