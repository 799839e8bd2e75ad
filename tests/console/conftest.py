"""Fixtures of the console's tests; what they are made of is in `console_house.py`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "gateway"))  # the fake upstream and the gateway in a thread

from console_house import ConsoleHouse, Visitor


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleHouse]:
    """A console beside a gateway, over a workspace that holds one of everything, hostile texts among it."""
    folder = tmp_path_factory.mktemp("console")
    with ConsoleHouse(folder).open() as opened:
        yield opened


@pytest.fixture
def admin(house: ConsoleHouse) -> Visitor:
    return house.visitor("admin")


@pytest.fixture
def editor(house: ConsoleHouse) -> Visitor:
    return house.visitor("editor")


@pytest.fixture
def voter(house: ConsoleHouse) -> Visitor:
    return house.visitor("voter")


@pytest.fixture
def viewer(house: ConsoleHouse) -> Visitor:
    return house.visitor("viewer")
