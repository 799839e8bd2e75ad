"""A deployment is a row; the newest of a name holds, and the older ones stay."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from freehold.errors import NotFoundError
from freehold.records import AnswerType
from freehold.render import Prompt
from freehold.store.database import connect
from freehold.store.deployments import (
    AdapterTarget,
    ClassifierTarget,
    Deployment,
    RemoteTarget,
    Target,
    all_current,
    current,
    deploy,
    revision,
)
from freehold.store.schema import deployments


@pytest.fixture
def store(tmp_path: Path) -> Engine:
    return connect(f"sqlite:///{tmp_path / 'freehold.db'}")


@pytest.mark.parametrize(
    "target",
    [
        AdapterTarget(base="b", adapter="a" * 64, prompt=Prompt(system="Sort it.")),
        ClassifierTarget(digest="c" * 64, folder="models/c"),
        RemoteTarget(base_url="http://127.0.0.1:1/v1", model="m", api_key="${KEY}"),
    ],
)
def test_what_is_deployed_comes_back(store: Engine, target: Target) -> None:
    deployment = Deployment(
        name="triage",
        target=target,
        answer_type=AnswerType.LABEL,
        labels=("pay", "دفع"),
        evidence={"report": "f" * 64},
    )
    deploy(store, deployment, "first")
    assert current(store, "triage") == deployment


def test_the_newest_row_holds_and_the_older_stays(store: Engine) -> None:
    first = Deployment(name="triage", target=ClassifierTarget(digest="1", folder="x"))
    second = Deployment(name="triage", target=ClassifierTarget(digest="2", folder="y"))
    other = Deployment(name="other", target=ClassifierTarget(digest="3", folder="z"))
    before = revision(store)
    for each in (first, second, other):
        deploy(store, each, "because")
    assert all_current(store) == {"other": other, "triage": second}
    assert revision(store) > before
    with store.connect() as connection:
        assert connection.execute(select(func.count()).select_from(deployments)).scalar_one() == 3


def test_an_unknown_name_is_answered_with_a_near_one(store: Engine) -> None:
    deploy(store, Deployment(name="triage", target=ClassifierTarget(digest="1", folder="x")), "first")
    with pytest.raises(NotFoundError, match="did you mean triage"):
        current(store, "traige")
