"""Ratings against published ones, intervals by simulation, and votes that say less than they seem to."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_material import covers

from freehold.errors import DataError, UndeterminedError
from freehold.evaluation.arena import bradley_terry, checks, rank, style, votes
from freehold.evaluation.arena.rank import Method, Resampling, Scale

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "arena"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data/arena beside the checkout")
Call = Callable[..., int]


def counted(games: list[tuple[str, str, int, int]]) -> votes.Votes:
    """Votes from counts of wins, left and right."""
    rows = [(a, b, side) for a, b, left, right in games for side in ["left"] * left + ["right"] * right]
    return votes.of(rows)


def strengths(ballot: votes.Votes) -> dict[str, float]:
    return dict(zip(ballot.models, bradley_terry.fit(ballot.wins()).log_strength, strict=True))


def test_wikipedia_worked_example() -> None:
    """Published powers with geometric mean 1."""
    found = strengths(counted([("A", "B", 2, 3), ("A", "D", 1, 4), ("B", "C", 5, 3), ("C", "D", 1, 3)]))
    powers = {name: math.exp(each) for name, each in found.items()}
    assert powers == pytest.approx({"A": 0.640, "B": 1.043, "C": 0.660, "D": 2.270}, abs=1e-3)


@needs_shared
@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("baseball1987", ("home_team", "away_team", "home_wins", "away_wins")),
        ("citations", ("cited", "citing", "count")),
    ],
)
def test_classics(name: str, columns: tuple[str, ...]) -> None:
    """Agresti 2002, table 10.11, and Stigler 1994, as log strengths against the first of the published list."""
    expected = json.loads((SHARED / "classic" / "expected.json").read_text())[name]
    with (SHARED / "classic" / expected["file"]).open() as handle:
        rows = [tuple(row[column] for column in columns) for row in csv.DictReader(handle)]
    games = [(a, b, int(won[0]), int(won[1]) if won[1:] else 0) for a, b, *won in rows if a != b]
    found = strengths(counted(games))
    anchor = next(team for team, each in expected["recomputed"].items() if each == 0.0)
    given = {team: each - found[anchor] for team, each in found.items()}
    assert given == pytest.approx(expected["recomputed"], abs=1e-6)


@needs_shared
@pytest.mark.parametrize("name", ["food", "simple"])
def test_evalica_golden(name: str, freehold: Call, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SHARED / "evalica_small"
    with (folder / f"{name}-golden.csv").open() as handle:
        golden = list(csv.DictReader(handle))
    for algorithm, options in (("bradley_terry", ["--natural"]), ("elo", ["--method", "elo"])):
        assert freehold("arena", "rank", folder / f"{name}.csv", "--json", *options) == 0
        printed = json.loads(capsys.readouterr().out)
        expected = {row["item"]: float(row["score"]) for row in golden if row["algorithm"] == algorithm}
        assert {each["model"]: each["rating"] for each in printed} == pytest.approx(expected, abs=2e-6)
        assert [set(each) for each in printed] == [{"model", "rating", "low", "high", "rank", "games"}] * 5
        assert all(each["low"] <= each["rating"] <= each["high"] for each in printed)


def drawn(truth: np.ndarray, count: int, random: np.random.Generator, tied: float = 0.2) -> votes.Votes:
    left = random.integers(0, len(truth), count)
    right = (left + 1 + random.integers(0, len(truth) - 1, count)) % len(truth)
    chance = 1 / (1 + np.exp(truth[right] - truth[left]))
    winner = np.where(random.random(count) < chance, votes.LEFT, votes.RIGHT)
    winner[random.random(count) < tied] = votes.TIE
    return votes.Votes(tuple(f"m{at}" for at in range(len(truth))), left, right, winner)


@pytest.mark.parametrize("rounds", [0, 100])
def test_intervals_cover(rounds: int) -> None:
    """Sandwich and bootstrap intervals of five models, without ties, hold the truth about 95 times in 100."""
    truth, random, hits = np.array([-0.5, -0.2, 0.0, 0.2, 0.5]), np.random.default_rng(8), []
    scale = Scale(scale=1, base=math.e, init=0)
    for _ in range(240 if rounds else 600):
        for each in rank.rank(drawn(truth, 400, random, 0.0), Method.BT, scale, Resampling(rounds)):
            assert each.low is not None and each.high is not None
            hits.append(each.low <= truth[int(each.model[1:])] <= each.high)
    covers(f"{f'bootstrap of {rounds} rounds' if rounds else 'sandwich'}, five models, 400 votes", hits)


def test_scale_and_anchor() -> None:
    ballot = counted([("a", "b", 10, 1), ("b", "c", 6, 4), ("a", "c", 8, 2)])
    plain = {each.model: each.rating for each in rank.rank(ballot, Method.BT, Scale(), Resampling(0))}
    assert sum(plain.values()) == pytest.approx(3000)
    anchored = rank.rank(ballot, Method.BT, Scale(anchor="b", init=1200), Resampling(0))
    given = {each.model: each for each in anchored}
    assert given["b"].rating == given["b"].low == given["b"].high == 1200
    assert given["a"].rating - 1200 == pytest.approx(plain["a"] - plain["b"])


def test_noise_shares_a_rank() -> None:
    even = rank.rank(
        counted([("a", "b", 11, 9), ("b", "c", 9, 11), ("a", "c", 10, 10)]), Method.BT, Scale(), Resampling(0)
    )
    assert {each.rank for each in even} == {1}
    clear = rank.rank(counted([("a", "b", 90, 10), ("b", "c", 90, 10)]), Method.BT, Scale(), Resampling(0))
    assert [(each.model, each.rank) for each in clear] == [("a", 1), ("b", 2), ("c", 3)]


@pytest.mark.parametrize("rounds", [0, 20])
def test_a_model_that_never_lost_has_no_upper_bound(rounds: int) -> None:
    found = rank.rank(counted([("a", "b", 5, 0), ("b", "c", 3, 2)]), Method.BT, Scale(), Resampling(rounds))
    by_name = {each.model: each for each in found}
    assert by_name["a"].high is None and math.isfinite(by_name["a"].rating)
    assert by_name["b"].high is not None and by_name["c"].low is not None


def test_groups_that_never_met_are_not_compared(
    tmp_path: Path, freehold: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("left,right,winner\na,b,left\nc,d,tie\n")
    assert freehold("arena", "rank", path) == UndeterminedError.exit_code
    assert "2 groups that never met, {a, b} and {c, d}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("left,right,winner\n", "holds no votes"),
        ("left,right,won\na,b,left\n", "no column winner"),
        ("left,right,winner\na,b,left\na,b,nan\n", "votes.csv:3: winner is 'nan'"),
        ("left,right,winner\na,a,left\n", "votes.csv:2: a plays itself"),
        ("left,right,winner\na,,left\n", "name is empty"),
        ("left,right,winner\na,b\n", "votes.csv:2: has 2 fields"),
    ],
)
def test_bad_votes_are_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(text)
    with pytest.raises(DataError) as raised:
        votes.read(path)
    assert said in str(raised.value)


def test_style_is_told_apart_from_strength() -> None:
    """Voters here like length and nothing else; the wordy model is no better at equal length."""
    random = np.random.default_rng(4)
    left, right = random.integers(0, 3, 6000), random.integers(0, 3, 6000)
    keep = left != right
    left, right = left[keep], right[keep]
    lengths = [random.poisson(80 + 60 * (side == 2)) for side in (left, right)]
    share = (lengths[0] - lengths[1]) / (lengths[0] + lengths[1])
    winner = np.where(random.random(len(left)) < 1 / (1 + np.exp(-4 * share)), votes.LEFT, votes.RIGHT)
    columns = {"left_length": [*map(str, lengths[0])], "right_length": [*map(str, lengths[1])]}
    ballot = votes.Votes(("a", "b", "wordy"), left, right, winner, columns)
    assert rank.rank(ballot, Method.BT, Scale(), Resampling(0))[0].model == "wordy"
    found = style.control(ballot, ["length"], Scale())
    assert {each.rank for each in found.ratings} == {1}
    coefficient = found.coefficients["length"]
    assert coefficient.low <= 4 * share.std() <= coefficient.high


def test_the_style_coefficient_covers() -> None:
    """Three models of different strength, voters who like length: coefficient and ratings, 300 crowds of 800 votes."""
    random, worth, rated = np.random.default_rng(4), [], []
    truth = {"a": 0.0, "b": 0.3, "wordy": -0.3}
    strength = np.array([*truth.values()])
    for _ in range(300):
        left = random.integers(0, 3, 800)
        right = (left + 1 + random.integers(0, 2, 800)) % 3
        lengths = [random.poisson(80 + 60 * (side == 2)) for side in (left, right)]
        share = (lengths[0] - lengths[1]) / (lengths[0] + lengths[1])
        odds = 4 * share + strength[left] - strength[right]
        winner = np.where(random.random(800) < 1 / (1 + np.exp(-odds)), votes.LEFT, votes.RIGHT)
        columns = {"left_length": [*map(str, lengths[0])], "right_length": [*map(str, lengths[1])]}
        ballot = votes.Votes((*truth,), left, right, winner, columns)
        found = style.control(ballot, ["length"], Scale(scale=1, base=math.e, init=0))
        worth.append(found.coefficients["length"].low <= 4 * share.std() <= found.coefficients["length"].high)
        rated += [each.low <= truth[each.model] <= each.high for each in found.ratings if each.low and each.high]
    covers("the coefficient of length", worth)
    covers("ratings at equal length", rated)


def test_markers() -> None:
    assert style.markers("# Title\n- one\n2) two\nthis is **bold** text") == {
        "length": 8,
        "headings": 1,
        "lists": 2,
        "bold": 1,
    }


def test_a_rigger_is_found_and_an_honest_crowd_is_not() -> None:
    random = np.random.default_rng(11)
    named = 0
    for _ in range(40):
        ballot = drawn(np.array([0.0, 0.3, 0.6]), 300, random)
        named += bool(checks.suspicions(ballot, [f"v{at % 12}" for at in range(300)]))
    assert named <= 6
    honest = drawn(np.array([0.0, 0.3, 0.6]), 300, random)
    rigged = (votes.LEFT if honest.left[at] == 0 else votes.RIGHT for at in range(40))
    winner = honest.winner.copy()
    for at, side in enumerate(rigged):
        if 0 in (honest.left[at], honest.right[at]):
            winner[at] = side
    ballot = votes.Votes(honest.models, honest.left, honest.right, winner)
    voters = ["rigger" if at < 40 else f"v{at % 12}" for at in range(300)]
    found = checks.suspicions(ballot, voters)
    assert found[0].voter == "rigger" and "preferred m0" in found[0].what
