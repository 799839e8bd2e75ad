"""Small tasks that a two-layer base goes through whole: real data, real tuning, real llama.cpp."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Pairs = Sequence[tuple[str, str]]

_TASK = """\
task: {name}
description: Say what kind of thing this is.
data: {{source: rows.csv}}
tune: {{method: lora, rank: 4, learning_rate: 0.01, epochs: 2, batch_tokens: 256}}
decide: {{margin: 0.3}}
"""


@pytest.fixture
def task_of(tmp_path: Path) -> Callable[..., Path]:
    """`task_of(pairs)`: a task file beside a CSV of the pairs."""
    import csv

    def write(pairs: Pairs, name: str = "things", extra: str = "") -> Path:
        with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(["text", "answer"])
            writer.writerows(pairs)
        path = tmp_path / "task.yaml"
        path.write_text(_TASK.format(name=name) + extra, encoding="utf-8")
        return path

    return write
