"""Tuning here against TRL's `SFTTrainer`, and against what the machine could do: `python bench/tuning.py`.

Both sides get the same base, token ids, rank, targets, learning rate, epochs and examples a batch, in the same
precision: bf16, or float32 where the machine does not multiply in bf16; the limit is taken in that precision too. For
each seed both train at once, each in a process of its own, **by turns**: a step of one, then a step of the other, so
that what a shared machine does meanwhile meets both alike. Both adapters are scored by the same code. Needs the `bench`
extra (TRL) and, for data, `--data` with Banking77's train.csv and test.csv.

What counts as a token: every token of every example, system message included, padding excluded, on both sides alike.
The system message is the same in all examples, and Freehold computes it once a step where TRL computes it in every
example; that is one reason why Freehold is faster, so examples a second stand beside: their ratio is the same by
construction. The limit counts what has to be computed: the shared prefix once, no padding, and nothing that no loss
looks at. The machine's rate of matrix products is taken before and after every step, because on a shared machine it
changes from second to second: the share of the limit is what the steps had to compute, of what products could have
computed in the steps' time.
"""

import argparse
import csv
import json
import math
import random
import statistics
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import torch
from base import base_folder
from tuning_limit import flops
from tuning_sides import SIDES, Data, Run, Work, by_turns

from freehold.evaluation.statistics import wilson
from freehold.records import Message
from freehold.render import Prompt, Renderer
from freehold.tuning.base import device, precision
from freehold.tuning.batches import shuffled_batches, split_prefix
from freehold.tuning.recipe import LoraRecipe

INTENTS = (
    *("activate_my_card", "age_limit", "card_arrival", "change_pin"),
    *("country_support", "lost_or_stolen_card", "request_refund", "terminate_account"),
)
BANKING77 = Path(__file__).parents[2] / "shared" / "data" / "banking77"
PROMPT = Prompt(system="Name the intent of a message from a customer of a bank.")


def read(folder: Path, renderer: Renderer, each: int) -> Data:
    """`each` training messages of every intent, and 30 held-out ones, drawn once."""
    labels = list(INTENTS)
    drawn = {name: _drawn(folder / f"{name}.csv", count) for name, count in (("train", each), ("test", 30))}
    train = [renderer.example(PROMPT.messages([message]), label) for message, label in drawn["train"]]
    held_out = [(renderer.ids(PROMPT.messages([message])), labels.index(label)) for message, label in drawn["test"]]
    answers = {label: rendered.answer for (_, label), rendered in zip(drawn["train"], train, strict=True)}
    return Data(train, held_out, [answers[label] for label in labels])


def _drawn(path: Path, each: int) -> list[tuple[Message, str]]:
    with path.open(encoding="utf-8") as file:
        rows = [(row["text"], row["category"]) for row in csv.DictReader(file) if row["category"] in INTENTS]
    random.Random(0).shuffle(rows)
    kept = [row for label in INTENTS for row in [row for row in rows if row[1] == label][:each]]
    return [(Message(role="user", content=text), label) for text, label in kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "base", type=Path, nargs="?", help="the folder of a pulled base; left out: SmolLM2-135M, pulled"
    )
    parser.add_argument("--data", type=Path, default=BANKING77, help="the folder of Banking77's train.csv and test.csv")
    parser.add_argument("--each", type=int, default=20, help="training messages of each of the 8 intents")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--keep", type=Path, help="a file of what was measured, seed by seed: a run that was cut goes on"
    )
    parser.add_argument("--only-ours", action="store_true", help="only the share of the limit; TRL is left out")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"skipped: {options.data} is not there; --data is for the folder of Banking77's files")
        return
    names = ["freehold"] if options.only_ours else [*SIDES]
    if "trl" in names and find_spec("trl") is None:
        print("TRL is not installed (pip install '.[bench]'): only the share of the limit is measured")
        names.remove("trl")
    base = base_folder(options.base)
    data = read(options.data, Renderer(base), options.each)
    recipe = LoraRecipe(rank=16, alpha=32.0, learning_rate=1e-3, epochs=options.epochs, batch_tokens=768)
    prefix, tokens = split_prefix(data.train)
    batches = [shuffled_batches(tokens, recipe.batch_tokens, seed) for seed in range(options.epochs)]
    batch = math.ceil(len(tokens) / statistics.mean(map(len, batches)))
    mean = statistics.mean(len(each.prompt) + len(each.answer) for each in data.train)
    work = flops(base, batches[0], len(prefix), recipe.rank) / len(tokens)
    print(
        f"{len(data.train)} examples of {mean:.1f} tokens ({len(prefix)} of them shared), {batch} a batch, "
        f"{options.epochs} epochs, rank {recipe.rank}; {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    kept = Kept(options.keep, [options.each, options.epochs, len(names), torch.get_num_threads()])
    for seed in range(options.seeds):
        pair = kept.of(seed)
        if pair is None:
            pair = by_turns(names, Work(base, data, recipe, seed, batch))
            kept.add(seed, pair)
        for run in pair:
            print(
                f"seed {seed}  {run.name:<9}{run.steady * mean:7.0f} tokens/s steady ({run.steady:.1f} examples/s)  "
                f"{run.whole * mean:7.0f} with loading  held-out {run.right}/{len(data.held_out)}  load {run.load:.1f}",
                flush=True,
            )
    _summary(kept.runs, mean, work, len(data.held_out))


class Kept:
    """What was measured, by seed: a seed is measured by both sides in one go, and a run that was cut goes on there."""

    def __init__(self, path: Path | None, settings: list[int]) -> None:
        self._path, self._settings = path, settings
        self._found: dict[int, list[Run]] = {}
        for line in path.read_text().splitlines() if path is not None and path.exists() else ():
            of, seed, pair = msgspec.json.decode(line, type=tuple[list[int], int, list[Run]])
            if of == [int(each) for each in settings]:
                self._found[seed] = pair

    @property
    def runs(self) -> dict[str, list[Run]]:
        every = [run for seed in sorted(self._found) for run in self._found[seed]]
        return {name: [run for run in every if run.name == name] for name in SIDES}

    def of(self, seed: int) -> list[Run] | None:
        return self._found.get(seed)

    def add(self, seed: int, pair: list[Run]) -> None:
        self._found[seed] = pair
        if self._path is not None:
            line = msgspec.json.encode([[int(each) for each in self._settings], seed, pair]).decode()
            with self._path.open("a") as file:
                file.write(line + "\n")


def _summary(results: dict[str, list[Run]], mean: float, work: float, held_out: int) -> None:
    """Medians over the seeds, the ratio, and the share of the limit."""
    rate = statistics.median(run.rate for run in results["freehold"])
    summary: dict[str, Any] = {
        "precision": str(precision(device())).removeprefix("torch."),
        "matmul_gflops": round(rate / 1e9),
        "limit_tokens_per_second": round(rate / work * mean),
    }
    for name, runs in results.items():
        if runs:
            interval = wilson(sum(run.right for run in runs), held_out * len(runs), 0.95)
            summary[name] = {
                "tokens_per_second": round(statistics.median(run.steady for run in runs) * mean, 1),
                "with_loading": round(statistics.median(run.whole for run in runs) * mean, 1),
                "held_out": f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]",
                "n": interval.n,
            }
    if results["trl"]:
        pairs = list(zip(results["freehold"], results["trl"], strict=True))
        summary["times_faster"] = [round(ours.steady / theirs.steady, 2) for ours, theirs in pairs]
        summary["times_faster_with_loading"] = [round(ours.whole / theirs.whole, 2) for ours, theirs in pairs]
    shares = [run.steady * work / run.rate for run in results["freehold"]]
    summary["share_of_limit"] = {"median": round(statistics.median(shares), 3), "best": round(max(shares), 3)}
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
