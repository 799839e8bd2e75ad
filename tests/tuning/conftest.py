"""A few rendered examples for the tiny base."""

from pathlib import Path

import pytest

from freehold.records import Message
from freehold.render import Prompt, Rendered, Renderer

COLOURS = {"red": "warm", "orange": "warm", "yellow": "warm", "blue": "cold", "cyan": "cold", "indigo": "cold"}
PROMPT = Prompt(system="Say whether the colour is warm or cold.")


@pytest.fixture(scope="session")
def colours(tiny_base: Path) -> list[Rendered]:
    """Six rendered examples of two labels, four times over."""
    renderer = Renderer(tiny_base)
    pairs = [*COLOURS.items()] * 4
    return [renderer.example(PROMPT.messages([Message(role="user", content=word)]), label) for word, label in pairs]
