"""Tuning here against TRL's `SFTTrainer`, and against what the machine could do: `python bench/tuning.py BASE_FOLDER`.

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
import gc
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import psutil
import torch

from freehold.evaluation.statistics import wilson
from freehold.records import Message
from freehold.render import Prompt, Rendered, Renderer
from freehold.tuning.base import device, load_base, precision
from freehold.tuning.batches import Tokens, shuffled_batches, split_prefix
from freehold.tuning.forward import pack, prepare, reading
from freehold.tuning.lora import TARGETS, add_adapters, load_adapter
from freehold.tuning.recipe import LoraRecipe
from freehold.tuning.train import TrainingJob, train

INTENTS = (
    *("activate_my_card", "age_limit", "card_arrival", "change_pin"),
    *("country_support", "lost_or_stolen_card", "request_refund", "terminate_account"),
)
SIZES = (512, 1024, 2048)  # of square matrices; the machine's rate is taken with the quickest of them
PROMPT = Prompt(system="Name the intent of a message from a customer of a bank.")


@dataclass(frozen=True)
class Data:
    """Rendered training examples, held-out prompts with the number of their label, and the labels' tokens."""

    train: list[Rendered]
    held_out: list[tuple[tuple[int, ...], int]]
    labels: list[tuple[int, ...]]


@dataclass
class Clock:
    """When each step ended, in seconds since the training was called, and how many examples it had; and the machine's
    rate of matrix products before and after it, operations a second. The time of those and of the other side's turn is
    left out."""

    turn: Connection
    size: int = field(default_factory=lambda: max(SIZES, key=matmul_rate))
    before: float = 0.0
    began: float = 0.0
    ends: list[float] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.before = matmul_rate(self.size)
        self.began = time.perf_counter()

    def tick(self, examples: int) -> None:
        ended = time.perf_counter()
        self.ends.append(ended - self.began)
        self.examples.append(examples)
        self.rates.append((self.before + matmul_rate(self.size)) / 2)
        self.turn.send(None)
        self.turn.recv()
        self.before = matmul_rate(self.size)
        self.began += time.perf_counter() - ended

    def steady(self) -> float:
        """Examples a second after the third step."""
        return sum(self.examples[3:]) / (self.ends[-1] - self.ends[2])

    def rate(self) -> float:
        """The machine's rate meanwhile: at each step, weighed by how long the step took."""
        return statistics.fmean(self.rates[3:], [end - began for began, end in pairwise(self.ends[2:])])


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


@dataclass(frozen=True)
class Work:
    """What both sides are given."""

    base: Path
    data: Data
    recipe: LoraRecipe
    seed: int
    batch: int  # examples


def ours(work: Work, clock: Clock) -> dict[str, torch.Tensor]:
    """Freehold's loop, timed from the call to the last step (loading the base included on both sides)."""

    class Listening:
        """A `Progress` that only notes when each step ended."""

        @contextmanager
        def step(self, name: str, total: int | None = None) -> Iterator[Any]:
            yield type("Step", (), {"advance": lambda _, count, *__: clock.tick(count), "total": lambda *_: None})()

        def say(self, name: str, message: str) -> None:
            pass

    clock.start()
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(f"bench {work.seed}", work.base, work.data.train, [], work.recipe, work.seed)
        return train(job, Path(folder) / "checkpoint", Listening()).tensors


def theirs(work: Work, clock: Clock) -> dict[str, torch.Tensor]:
    """TRL's trainer as its documentation sets it up for LoRA; activation checkpointing, which costs time, is off."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock.start()
    recipe, batch = work.recipe, work.batch

    class Listening(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: object, **__: object) -> None:
            clock.tick(next(sizes))

    rows = [
        {"input_ids": [*each.prompt, *each.answer], "labels": [-100] * len(each.prompt) + list(each.answer)}
        for each in work.data.train
    ]
    sizes = cycle(min(batch, len(rows) - at) for at in range(0, len(rows), batch))
    torch.manual_seed(work.seed)
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            seed=work.seed,
            per_device_train_batch_size=batch,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=round(recipe.warmup * recipe.epochs * len(rows) / batch),
            max_grad_norm=recipe.gradient_clip,
            weight_decay=recipe.weight_decay,
            bf16=precision(device()) is torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(work.base / "tokenizer.json"), eos_token="<|im_end|>", pad_token="<|im_end|>"
        )
        model = load_base(work.base)
        model.set_attn_implementation("sdpa")
        trainer = SFTTrainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(TARGETS), lora_dropout=0.0
            ),
            callbacks=[Listening()],
        )
        trainer.train()
        trainer.model.save_pretrained(folder)
        return load_adapter(Path(folder))[0]


SIDES = {"freehold": ours, "trl": theirs}


def by_turns(names: Sequence[str], work: Work) -> list["Run"]:
    """The sides' runs, each in a process of its own that works when it is its turn: to the end of its next step."""
    spawn = get_context("spawn")
    turns, found = {}, {}
    for name in names:
        turns[name], own = spawn.Pipe()
        spawn.Process(target=_side, args=(name, work, own), daemon=True).start()
        own.close()
    while turns:
        for name, turn in list(turns.items()):
            turn.send(None)
            if (done := turn.recv()) is not None:
                found[name] = done
                del turns[name]
    return [found[name] for name in names]


def _side(name: str, work: Work, turn: Connection) -> None:
    """One side, in its process: sends None after each step, and its run at the end."""
    turn.recv()
    clock = Clock(turn)
    tensors = SIDES[name](work, clock)
    gc.collect()
    whole = sum(clock.examples) / clock.ends[-1]
    turn.send(Run(name, clock.steady(), whole, accuracy(work, tensors), clock.rate(), psutil.getloadavg()[0]))


def accuracy(work: Work, tensors: dict[str, torch.Tensor]) -> int:
    """How many held-out messages have their own label as the likeliest of all labels; the same code for both sides."""
    model, data = load_base(work.base), work.data
    prepare(model)
    parameters = add_adapters(model, work.recipe, seed=0)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
        return sum(_likeliest(model, prompt, data.labels) == right for prompt, right in data.held_out)


def _likeliest(model: Any, prompt: Sequence[int], labels: Sequence[tuple[int, ...]]) -> int:  # noqa: ANN401
    packed = pack(prompt[:-1], [Tokens((prompt[-1],), label) for label in labels], model.device)
    hidden = model.base_model(packed.ids, **reading(packed))
    logits = model.get_output_embeddings()(hidden.last_hidden_state[0, packed.at]).float()
    chosen = logits.log_softmax(-1)[torch.arange(len(packed.targets)), packed.targets].tolist()
    scores, at = [], 0
    for label in labels:
        scores.append(sum(chosen[at : at + len(label)]))
        at += len(label)
    return scores.index(max(scores))


def flops(folder: Path, batches: Sequence[Sequence[Tokens]], prefix: int, rank: int) -> float:
    """Floating-point operations that the recipe itself asks for: no padding, the shared prefix once a step.

    Forward and back to the inputs, 4 for each frozen weight and token that is read; 6 for each weight of an adapter;
    the output head at the answers' tokens, 4; attention, 12 for each pair of tokens and width (two products, and four
    on the way back). What follows the last layer's attention is asked for at the answers' tokens only.
    """
    config = load_base(folder).config
    width, heads = config.hidden_size, config.num_attention_heads
    head = getattr(config, "head_dim", None) or width // heads
    shapes = _shapes(config, head)
    products = [4 * outputs * inputs + 6 * rank * (outputs + inputs) for outputs, inputs in shapes]  # a token
    total = 0.0
    for batch in batches:
        tokens = prefix + sum(each.length for each in batch)
        pairs = prefix**2 / 2 + sum(each.length * (prefix + each.length / 2) for each in batch)
        answers = sum(len(each.answer) for each in batch)
        layer = tokens * sum(products) + 12 * pairs * heads * head
        spared = (tokens - answers) * sum(products[3:])
        total += config.num_hidden_layers * layer - spared + 4 * answers * config.vocab_size * width
    return total


def _shapes(config: Any, head: int) -> list[tuple[int, int]]:  # noqa: ANN401 (a transformers configuration)
    """Outputs and inputs of a layer's seven projections, those before its attention first."""
    width, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    return [
        (queries, width),
        (keys, width),
        (keys, width),
        (width, queries),
        (inner, width),
        (inner, width),
        (width, inner),
    ]


def matmul_rate(size: int, seconds: float = 0.3) -> float:
    """Matrix products of size × size in the precision of both sides, operations a second."""
    left, right = (torch.randn(size, size, dtype=precision(device())) for _ in range(2))
    left @ right
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        left @ right
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a pulled base: .freehold/models/smollm2-135m-instruct")
    parser.add_argument("--data", type=Path, required=True, help="the folder of Banking77's train.csv and test.csv")
    parser.add_argument("--each", type=int, default=20, help="training messages of each of the 8 intents")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--keep", type=Path, help="a file of what was measured, seed by seed: a run that was cut goes on"
    )
    parser.add_argument("--only-ours", action="store_true", help="only the share of the limit; TRL is left out")
    options = parser.parse_args()
    data = read(options.data, Renderer(options.base), options.each)
    recipe = LoraRecipe(rank=16, alpha=32.0, learning_rate=1e-3, epochs=options.epochs, batch_tokens=768)
    prefix, tokens = split_prefix(data.train)
    batches = [shuffled_batches(tokens, recipe.batch_tokens, seed) for seed in range(options.epochs)]
    batch = math.ceil(len(tokens) / statistics.mean(map(len, batches)))
    mean = statistics.mean(len(each.prompt) + len(each.answer) for each in data.train)
    work = flops(options.base, batches[0], len(prefix), recipe.rank) / len(tokens)
    print(
        f"{len(data.train)} examples of {mean:.1f} tokens ({len(prefix)} of them shared), {batch} a batch, "
        f"{options.epochs} epochs, rank {recipe.rank}; {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    kept = Kept(options.keep, [options.each, options.epochs, options.only_ours, torch.get_num_threads()])
    for seed in range(options.seeds):
        pair = kept.of(seed)
        if pair is None:
            names = ("freehold",) if options.only_ours else ("freehold", "trl")
            pair = by_turns(names, Work(options.base, data, recipe, seed, batch))
            kept.add(seed, pair)
        for run in pair:
            print(
                f"seed {seed}  {run.name:<9}{run.steady * mean:7.0f} tokens/s steady ({run.steady:.1f} examples/s)  "
                f"{run.whole * mean:7.0f} with loading  held-out {run.right}/{len(data.held_out)}  load {run.load:.1f}",
                flush=True,
            )
    _summary(kept.runs, mean, work, len(data.held_out))


class Run(msgspec.Struct, frozen=True):
    """One training of one side: examples a second, steady and with loading, what it got right, and the machine then:
    its rate of matrix products (operations a second) and its load."""

    name: str
    steady: float
    whole: float
    right: int
    rate: float
    load: float


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
        return {name: [run for run in every if run.name == name] for name in ("freehold", "trl")}

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
