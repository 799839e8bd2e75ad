"""A small task of two labels, and a task file for it: a two-layer base goes through whole on it."""

import csv
from collections.abc import Sequence
from pathlib import Path

_TASK = """\
task: {name}
description: Say what kind of thing this is.
data: {{source: rows.csv}}
tune: {{method: lora, rank: 4, learning_rate: 0.01, epochs: 1, batch_tokens: 256}}
decide: {{margin: 0.5}}
"""

_ADJECTIVES = ("big", "small", "old", "new", "odd", "plain", "cheap", "lost", "third", "spare", "other", "broken")


def things() -> list[tuple[str, str]]:
    """Ninety-six short messages of two labels, no two alike."""
    kinds = {
        "animal": ("horse", "sparrow", "crocodile", "mosquito"),
        "tool": ("hammer", "screwdriver", "pliers", "saw"),
    }
    return [
        (f"{adjective} {noun} seen near gate {at}{len(noun)}", kind)
        for kind, nouns in kinds.items()
        for noun in nouns
        for at, adjective in enumerate(_ADJECTIVES)
    ]


def write_task(folder: Path, pairs: Sequence[tuple[str, str]], name: str = "things") -> Path:
    """A task file beside a CSV of the pairs."""
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "answer"])
        writer.writerows(pairs)
    path = folder / "task.yaml"
    path.write_text(_TASK.format(name=name), encoding="utf-8")
    return path
