"""The two sides of `tuning.py`: the same work done by Freehold and by TRL, by turns, each in a process of its own."""

import gc
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
from tuning_limit import SIZES, matmul_rate

from freehold.render import Rendered
from freehold.tuning.base import device, load_base, precision
from freehold.tuning.batches import Tokens
from freehold.tuning.forward import pack, prepare, reading
from freehold.tuning.lora import TARGETS, add_adapters, load_adapter
from freehold.tuning.recipe import LoraRecipe
from freehold.tuning.train import TrainingJob, train


@dataclass(frozen=True)
class Data:
    """Rendered training examples, held-out prompts with the number of their label, and the labels' tokens."""

    train: list[Rendered]
    held_out: list[tuple[tuple[int, ...], int]]
    labels: list[tuple[int, ...]]


@dataclass(frozen=True)
class Work:
    """What both sides are given."""

    base: Path
    data: Data
    recipe: LoraRecipe
    seed: int
    batch: int  # examples


class Run(msgspec.Struct, frozen=True):
    """One training of one side: examples a second, steady and with loading, what it got right, and the machine then:
    its rate of matrix products (operations a second) and its load."""

    name: str
    steady: float
    whole: float
    right: int
    rate: float
    load: float


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


def by_turns(names: Sequence[str], work: Work) -> list[Run]:
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
