"""The careful prompt: every label is listed, worked examples come from training only, and it fits."""

import pytest
from evaluation_material import LABELS, examples, make_task

from freehold.errors import DataError
from freehold.evaluation.prompted import answer_tokens, careful_prompt, instruction
from freehold.records import Split
from freehold.render import Renderer
from freehold.spec import Task

TRAIN = examples(30, Split.TRAIN)


def test_labels_and_one_example_each(task: Task, renderer: Renderer) -> None:
    prompt = careful_prompt(task, TRAIN, renderer, 4000)
    assert all(f"- {label}" in prompt.system for label in LABELS)
    assert {shot.answer for shot in prompt.shots} == set(LABELS)
    assert {shot.input for shot in prompt.shots} <= {each.text for each in TRAIN}
    assert prompt == careful_prompt(task, list(reversed(TRAIN)), renderer, 4000)


def test_it_fits_or_says_so(task: Task, renderer: Renderer) -> None:
    lengths = []
    for room in (4000, 420, 330):
        prompt = careful_prompt(task, TRAIN, renderer, room)
        lengths.append(len(prompt.shots))
        longest = max(TRAIN, key=lambda each: len(each.text))
        assert len(renderer.ids(prompt.messages(longest.messages))) + answer_tokens(task, renderer) <= room
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > lengths[-1]
    with pytest.raises(DataError, match="does not fit into 40 tokens"):
        careful_prompt(task, TRAIN, renderer, 40)


def test_held_out_examples_are_refused(task: Task, renderer: Renderer) -> None:
    with pytest.raises(DataError, match="training examples only"):
        careful_prompt(task, [*TRAIN, *examples(1)], renderer, 4000)


def test_json_and_text() -> None:
    fields = make_task(answer={"type": "json", "schema": {"type": "object", "required": ["sku"]}})
    assert '"required":["sku"]' in instruction(fields)
    assert instruction(make_task(answer={"type": "text"})) == "Route messages."
