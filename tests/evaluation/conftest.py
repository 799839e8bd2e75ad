"""Fixtures of the evaluation room; what they are made from is in `evaluation_material.py`."""

from pathlib import Path

import pytest
from evaluation_material import make_renderer, make_task
from hypothesis import settings

from freehold.render import Renderer
from freehold.spec import Task
from freehold.store.answers import Answers
from freehold.store.database import connect

# A busy machine is no fault of what is tested: no deadline.
settings.register_profile("freehold", deadline=None)
settings.load_profile("freehold")


@pytest.fixture
def task() -> Task:
    return make_task()


@pytest.fixture
def renderer(tmp_path: Path) -> Renderer:
    return make_renderer(tmp_path / "base")


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(connect(f"sqlite:///{tmp_path / 'freehold.db'}"))
