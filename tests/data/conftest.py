"""Fixtures of the data room's tests."""

from pathlib import Path

import pytest
from data_room import Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)
