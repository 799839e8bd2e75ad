"""lm-eval itself, on local files, scoring through a base of ours."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.errors import DataError, NotFoundError
from freehold.evaluation.benchmarks import harness
from freehold.evaluation.benchmarks.continuations import Continuations

pytest.importorskip("lm_eval", reason="needs the extra `benchmarks`")
pytestmark = pytest.mark.slow  # lm-eval takes seconds to import
_TASK = """\
task: opposites
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tasks"
    place.mkdir()
    pairs = [("hot", "cold"), ("up", "down"), ("big", "small"), ("old", "young")]
    lines = [{"text": f"The opposite of {a} is", "choices": [b, "seven"], "gold": 0} for a, b in pairs]
    (place / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (place / "opposites.yaml").write_text(_TASK.format(data=place / "data.jsonl"))
    return place


def test_a_task_from_local_files(folder: Path, tiny_base: Path) -> None:
    """Each document's score is what the base's own likelihoods say, and what was asked for is not fetched."""
    scores = Continuations(tiny_base)
    (found,) = harness.measure("opposites", folder, tiny_base, scores, limit=3)
    assert (found.task, found.metric, found.figure.n) == ("opposites", "acc", 3)
    assert set(found.scores) <= {0.0, 1.0} and found.figure.low <= found.figure.value <= found.figure.high
    same = harness.change(found, found)
    assert same.value == 0 and same.low < 0 < same.high
    with pytest.raises(NotFoundError, match="holds opposites; did you mean opposites"):
        harness.measure("oposites", folder, tiny_base, scores)
    (folder / "data.jsonl").unlink()
    with pytest.raises((DataError, NotFoundError), match="opposites"):
        harness.measure("opposites", folder, tiny_base, scores)


@pytest.mark.usefixtures("tiny_workspace")
def test_the_command(folder: Path, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("benchmark", "harness", "opposites", folder, "smollm2-135m-instruct", "--limit", 2, "--json") == 0
    (figure,) = json.loads(capsys.readouterr().out)["figures"]["smollm2-135m-instruct"]
    assert (figure["metric"], figure["n"]) == ("acc", 2)
