"""The learning curve: it finds the law that made the points, and never looks at held-out examples."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_review import TASK, csv_of, example, topical

from freehold.data.enough import FEWEST, _fit, _stop, enough
from freehold.errors import DataError
from freehold.progress import SILENT
from freehold.records import Split


def test_the_fit_finds_the_law_that_made_the_points() -> None:
    sizes = np.array([100, 200, 400, 800])
    a, b, c = _fit(sizes, 0.9 - 3.0 * sizes**-0.6)
    assert (a, b, c) == pytest.approx((0.9, 3.0, 0.6), rel=0.02)


def test_collecting_stops_where_a_doubling_adds_less_than_a_point() -> None:
    law = np.array([0.9, 3.0, 0.6])
    n = _stop(law, 100)
    assert (0.9 - 3.0 * (2 * n) ** -0.6) - (0.9 - 3.0 * n**-0.6) == pytest.approx(0.01)
    assert _stop(np.array([0.9, 3.0, 0.05]), 10) == float("inf")
    assert _stop(np.array([0.9, 0.0, 1.0]), 10) == 0


def test_held_out_examples_are_not_touched() -> None:
    import msgspec

    examples = [example(at, text, label) for at, (text, label) in enumerate(topical(90))]
    poison = [msgspec.structs.replace(each, split=Split.HELD_OUT, reference="x") for each in examples]
    found = enough(examples, 0, SILENT)
    assert enough([*examples, *poison], 0, SILENT) == found
    assert found.examples == 90 and found.measured[-1].n == 72
    assert all(point.low <= point.value <= point.high for point in found.measured)
    assert found.measured[-1].value > 0.9


def test_too_few_examples_say_how_many_are_needed() -> None:
    with pytest.raises(DataError, match=f"{FEWEST} are the least"):
        enough([example(at, text, label) for at, (text, label) in enumerate(topical(10))], 0, SILENT)


def test_the_command(freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.csv").write_text(csv_of(topical(120)))
    (tmp_path / "t.yaml").write_text(TASK)
    assert freehold("data", "enough", "t.yaml", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert {"metric", "measured", "forecast", "collect", "collect_low", "collect_high"} <= set(document)
    assert freehold("data", "enough", "t.yaml") == 0
    assert "not of a tuned model" in capsys.readouterr().out
