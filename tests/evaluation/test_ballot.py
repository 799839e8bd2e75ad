"""Blind votes: anonymous, in random order, on pairs that inform, cast once."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from random import Random

import numpy as np
import pytest
from evaluation_material import examples
from test_compare import GOOD, LATER, PLAIN, kept, rows

from freehold.errors import NotFoundError, UndeterminedError, UserError
from freehold.evaluation.arena.ballot import Ballot
from freehold.evaluation.arena.pairing import draw, gains
from freehold.evaluation.report import read_rows
from freehold.store.bouts import Bouts
from freehold.store.database import connect
from freehold.store.workspace import Workspace

EXAMPLES = {each.id: each for each in examples(40)}


def ballot(tmp_path: Path, seed: int = 1) -> tuple[Ballot, Bouts]:
    workspace = Workspace(tmp_path / ".freehold")
    report = kept(workspace, "triage", (GOOD, rows(GOOD, range(4))), (PLAIN, rows(PLAIN, range(2, 14))))
    bouts = Bouts(connect(workspace.database_url))
    return Ballot(report, read_rows(workspace, report), EXAMPLES, bouts, Random(seed)), bouts


def test_close_and_little_seen_pairs_inform_most() -> None:
    wins = np.array([[0.0, 50.0, 5.0], [50.0, 0.0, 5.0], [5.0, 5.0, 0.0]])
    worth = gains(wins)
    assert worth[0, 2] > worth[0, 1]
    uneven = np.array([[0.0, 19.0, 10.0], [1.0, 0.0, 1.0], [10.0, 19.0, 0.0]])
    assert gains(uneven)[0, 2] > gains(uneven)[0, 1]
    random = Random(3)
    drawn = Counter(draw(wins, random) for _ in range(2000))
    assert drawn[0, 1] + drawn[1, 0] < 0.25 * (drawn[0, 2] + drawn[2, 0])
    assert 0.4 < drawn[0, 2] / (drawn[0, 2] + drawn[2, 0]) < 0.6


def test_nothing_shown_names_a_model(tmp_path: Path) -> None:
    box, bouts = ballot(tmp_path)
    sides = Counter()
    for _ in range(60):
        shown = box.deal()
        assert shown.left != shown.right
        assert not any(name in str(shown) for name in ("tuned", "classifier", GOOD.digest, PLAIN.digest))
        box.cast(shown.id, "left", "ann")
    sides = Counter(vote.left_model for vote in bouts.votes("triage"))
    assert set(sides) == {"tuned", "classifier"} and min(sides.values()) > 15


def test_a_vote_is_cast_once(tmp_path: Path) -> None:
    box, bouts = ballot(tmp_path)
    shown = box.deal()
    for winner, voter in (("purple", "ann"), ("left", ""), ("left", "x" * 65)):
        with pytest.raises(UserError):
            box.cast(shown.id, winner, voter)
    box.cast(shown.id, "tie", "ann")
    with pytest.raises(UserError, match="voted on already"):
        box.cast(shown.id, "left", "bob")
    with pytest.raises(NotFoundError, match="no such comparison"):
        box.cast("0" * 32, "left", "bob")
    assert [(vote.winner, vote.voter) for vote in bouts.votes("triage")] == [("tie", "ann")]


def test_nothing_to_vote_on(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / ".freehold")
    report = kept(workspace, "triage", (GOOD, rows(GOOD, [])), (LATER, rows(LATER, [])))
    with pytest.raises(UndeterminedError, match="nothing to vote on"):
        Ballot(report, read_rows(workspace, report), EXAMPLES, Bouts(connect(workspace.database_url))).deal()


def test_the_terminal_and_back_into_the_ranking(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ballot(tmp_path)
    monkeypatch.setattr("freehold.cli.arena.examples_of", lambda _workspace, _report: EXAMPLES)
    assert freehold("arena", "votes") == 2
    monkeypatch.setattr("sys.stdin", StringIO("what\nl\nr\ns\nt\nq\n"))
    assert freehold("arena", "vote", "--voter", "ann") == 0
    capsys.readouterr()
    assert freehold("arena", "votes") == 0
    path = tmp_path / "votes.csv"
    path.write_text(capsys.readouterr().out)
    assert path.read_text().count("\n") == 4 and path.read_text().startswith(
        "left,right,winner,voter,example,left_length"
    )
    assert freehold("arena", "rank", path, "--json") == 0
    assert sum(each["games"] for each in json.loads(capsys.readouterr().out)) == 6


def test_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a real gateway on loopback: deal, vote, vote again."""
    import aiohttp

    from freehold.data import freeze
    from freehold.gateway.backends import Backends
    from freehold.gateway.serve import Settings, serving

    ballot(tmp_path)
    workspace = Workspace(tmp_path / ".freehold")
    monkeypatch.setattr(freeze, "examples", lambda _workspace, _digest, _split=None: list(EXAMPLES.values()))

    def none(*_: object) -> None:
        raise AssertionError("no engine is needed to vote")

    async def talk() -> None:
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            settings = Settings(port=probe.getsockname()[1])
        backends = Backends(engine_for=none, load_classifier=none)  # type: ignore[arg-type]
        async with serving(workspace, settings, backends), aiohttp.ClientSession(settings.url) as http:
            dealt = await http.post("/freehold/v1/arena/triage/bouts")
            shown = await dealt.json()
            assert dealt.status == 200 and set(shown) == {"id", "question", "left", "right"}
            vote = {"id": shown["id"], "winner": "left", "voter": "ann"}
            assert (await http.post("/freehold/v1/arena/votes", json=vote)).status == 200
            assert (await http.post("/freehold/v1/arena/votes", json=vote)).status == 400
            assert (await http.post("/freehold/v1/arena/votes", json={"id": "x"})).status == 400
            assert (await http.post("/freehold/v1/arena/orders/bouts")).status == 404

    asyncio.run(talk())
    assert len(Bouts(connect(workspace.database_url)).votes("triage")) == 1
