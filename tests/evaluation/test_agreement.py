"""A judge against people: published examples, a planted bias that the correction takes off, and real votes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_material import covers

from freehold.errors import DataError
from freehold.evaluation.judge.agreement import agree, items
from freehold.evaluation.statistics import alpha, kappa, ppi_mean

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "judge_votes"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data/judge_votes beside the checkout")


def test_kappa_of_the_textbook() -> None:
    """20 and 15 agreements, 5 and 10 disagreements of 50: 0.4."""
    left = ["yes"] * 25 + ["no"] * 25
    right = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert kappa(left, right) == pytest.approx(0.4)
    assert kappa(["tie"] * 3, ["tie"] * 3) == 1


def test_alpha_of_krippendorff() -> None:
    """His three coders and fifteen units with missing values: 0.691 for nominal data."""
    units = ["1", "22", "11", "33", "334", "444", "13", "22", "11", "11", "33", "33", "34"]
    assert alpha(units) == pytest.approx(0.691, abs=5e-4)
    with pytest.raises(DataError):
        alpha(["1", "2"])


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_a_biased_judge_is_corrected(bias: float) -> None:
    """The judge calls `bias` of the losses wins. Its own share is far off; the corrected interval covers 95 in 100."""
    random, covered, narrower = np.random.default_rng(7), [], []
    for _ in range(2500):
        truth = random.random(900) < 0.55
        noisy = np.where(random.random(900) < 0.08, ~truth, truth)
        judge = (noisy | (random.random(900) < bias)).astype(float)
        people = truth[:100].astype(float).tolist()
        found = ppi_mean(people, judge[:100].tolist(), judge[100:].tolist())
        alone = ppi_mean(people, [0.0] * 100, [])
        covered.append(found.low <= 0.55 <= found.high)
        narrower.append((found.high - found.low) / (alone.high - alone.low))
    covers(f"prediction-powered inference, 100 of 900 labelled, a planted bias of {bias}", covered)
    assert np.mean(narrower) < 0.85


def test_a_judge_that_guesses_gets_no_weight() -> None:
    random = np.random.default_rng(3)
    truth, judge = random.random(900) < 0.55, (random.random(900) < 0.9).astype(float)
    people = truth[:100].astype(float).tolist()
    found = ppi_mean(people, judge[:100].tolist(), judge[100:].tolist())
    alone = ppi_mean(people, [0.0] * 100, [])
    assert found.high - found.low < 1.02 * (alone.high - alone.low)


def votes(path: Path, lines: list[str]) -> Path:
    path.write_text("id,left,right,winner\n" + "\n".join(lines) + "\n")
    return path


def test_sides_are_turned_and_contradictions_refused(tmp_path: Path) -> None:
    judge = votes(tmp_path / "judge.csv", ["1,a,b,left", "2,a,b,tie", "3,a,c,right"])
    people = votes(tmp_path / "people.csv", ["1,b,a,right", "1,a,b,left", "2,a,b,left", "2,a,b,right"])
    found = agree(items(people, judge, "id"))
    assert (found.items, found.votes, found.agreement.value) == (2, 4, 0.5)
    assert found.kappa.value == 1  # the people's majority on item 2 is a tie, as the judge says
    with pytest.raises(DataError, match="judged twice"):
        items(people, votes(tmp_path / "twice.csv", ["1,a,b,left", "1,a,b,left"]), "id")
    with pytest.raises(DataError, match="the judge saw"):
        items(votes(tmp_path / "other.csv", ["1,a,c,left"]), judge, "id")
    with pytest.raises(DataError, match="at least two"):
        agree(items(votes(tmp_path / "few.csv", ["1,a,b,left"]), judge, "id"))


@needs_shared
def test_real_votes(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """GPT-3 prefers the left side in 70 of 100; people in 52. From 120 items with votes the correction finds the 52."""
    command = ("judge", "agreement", SHARED / "human.csv", SHARED / "gpt3.csv", "--json")
    assert freehold(*command) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (whole["items"], whole["votes"]) == (672, 2826)
    truth = whole["left"]["people"]["value"]
    assert freehold(*command, "--labelled", 120) == 0
    left = json.loads(capsys.readouterr().out)["left"]
    assert left["corrected"]["low"] <= truth <= left["corrected"]["high"]
    assert not left["judge"]["low"] <= truth <= left["judge"]["high"]
