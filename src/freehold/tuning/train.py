"""The training loop: one job in, an adapter's weights and loss curve out; interruptible at any moment.

State is kept every half minute; a job that was killed goes on from there, and the result is the same as if it had never
stopped.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from freehold.catalogue.fit import available_bytes
from freehold.progress import Progress, Step
from freehold.records import LossPoint, digest
from freehold.render import Rendered
from freehold.tuning import frozen
from freehold.tuning.allocator import give_back, memory_kept
from freehold.tuning.base import load_base
from freehold.tuning.batches import Tokens, ordered_batches, shuffled_batches, split_prefix
from freehold.tuning.checkpoint import TrainerState, load_checkpoint, save_checkpoint
from freehold.tuning.fit import must_checkpoint, saved_bytes
from freehold.tuning.flat import Flat
from freehold.tuning.forward import Packed, answer_loss, pack, prepare
from freehold.tuning.frozen import FrozenStates, compute, require_room, take_off
from freehold.tuning.lora import add_adapters
from freehold.tuning.recipe import LoraRecipe, frozen_layers

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_SECONDS = 30.0
STATES_FILE = "states.safetensors"
STEPS_KEPT = 128  # steps after which the memory that is free is given back


@dataclass(frozen=True)
class TrainingJob:
    """What is trained: rendered examples of one base, by one recipe. `name` identifies all of it."""

    name: str
    base_folder: Path
    train: Sequence[Rendered]
    validation: Sequence[Rendered]
    recipe: LoraRecipe
    seed: int


@dataclass(frozen=True)
class Trained:
    """The best weights that were reached, by PEFT's names, and how."""

    tensors: "dict[str, Tensor]"
    state: TrainerState


def train(job: TrainingJob, checkpoint: Path, progress: Progress) -> Trained:
    """Train to the end, from the checkpoint where there is one of this job."""
    total = job.recipe.epochs * len(job.train)
    with memory_kept():
        trainer = _Trainer(job, checkpoint, progress)
        with progress.step("tune", total) as step:
            trainer.resume(step)
            trainer.run(step)
        return trainer.result()


class _Trainer:
    """Holds model, adapter, optimiser and state while a job runs."""

    def __init__(self, job: TrainingJob, checkpoint: Path, progress: Progress) -> None:
        import torch

        from freehold.tuning.layer import fuse

        self._job, self._path = job, checkpoint
        self._model = load_base(job.base_folder)
        prepare(self._model)
        self._weights = Flat(add_adapters(self._model, job.recipe, job.seed))
        fuse(self._model)
        self._optimizer = torch.optim.AdamW(
            [self._weights.parameter],
            lr=job.recipe.learning_rate,
            weight_decay=job.recipe.weight_decay,
            fused=True,
        )
        self._prefix, tokens = split_prefix([*job.train, *job.validation])
        self._train, self._validation = tokens[: len(job.train)], tokens[len(job.train) :]
        self._state = TrainerState(job=job.name, steps=job.recipe.epochs * len(self._batches(0)))
        self._frozen = self._take_off(progress)
        self._checkpoint_where_needed()
        self._best: dict[str, Tensor] = {}
        self._since = self._saved = 0.0

    def resume(self, step: Step) -> None:
        """Take up the checkpoint, if it is this job's."""
        found = load_checkpoint(self._path, self._job.name)
        if found is None:
            return
        self._state, tensors = found
        self._restore(tensors)
        done = self._batches(self._state.epoch)[: self._state.batch]
        step.advance(self._state.epoch * len(self._train) + sum(map(len, done)), "resumed")

    def run(self, step: Step) -> None:
        """Epoch after epoch until the last, or until validation loss has stopped falling."""
        recipe = self._job.recipe
        self._since = self._saved = time.monotonic()
        while self._state.epoch < recipe.epochs and self._state.epochs_without_gain < recipe.patience:
            self._epoch(step)
            self._finish_epoch()
            self._save_where_due()

    def result(self) -> Trained:
        return Trained(self._best or self._copy(), self._state)

    def _batches(self, epoch: int) -> list[list[Tokens]]:
        seed = int(digest([self._job.seed, epoch])[:12], 16)
        return shuffled_batches(self._train, self._job.recipe.batch_tokens, seed)

    def _epoch(self, step: Step) -> None:
        batches = self._batches(self._state.epoch)
        for batch in batches[self._state.batch :]:
            loss = self._update(batch, len(batches))
            self._advance(batch, loss)
            step.advance(len(batch), self._note(loss))
            if self._state.step % STEPS_KEPT == 0:
                give_back()
            self._save_where_due()

    def _update(self, batch: list[Tokens], batches: int) -> float:
        """One step of AdamW; returns the mean loss a token."""
        from torch.nn.utils import clip_grad_norm_

        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(
                (self._state.epoch + self._state.batch / batches) / self._job.recipe.epochs
            )
        loss, count = self._loss(batch)
        (loss / count).backward()
        clip_grad_norm_([self._weights.parameter], self._job.recipe.gradient_clip)
        self._optimizer.step()
        self._weights.clear()
        return float(loss.detach()) / count

    def _loss(self, batch: list[Tokens]) -> "tuple[Tensor, int]":
        packed = self._pack(batch)
        return answer_loss(self._model, packed, self._frozen.packed(batch, packed) if self._frozen else None)

    def _pack(self, batch: list[Tokens], step: Step | None = None) -> Packed:
        if step is not None:
            step.advance()
        return pack(self._prefix, batch, self._model.device)

    def _take_off(self, progress: Progress) -> FrozenStates | None:
        """The lower layers' states, where the recipe leaves those layers as they are."""
        config, examples = self._model.config, [*self._train, *self._validation]
        count = frozen_layers(self._job.recipe, config.num_hidden_layers)
        if not count:
            return None
        require_room(sum(each.length for each in examples), config.hidden_size, available_bytes())
        batches = frozen.batches(examples, self._job.recipe.batch_tokens)
        path, order = self._path.with_name(STATES_FILE), [each for batch in batches for each in batch]
        states = FrozenStates.load(path, self._job.name, order, self._model.device)
        if states is None:
            with progress.step("lower layers", len(batches)) as step:
                states = compute(self._model, count, ((batch, self._pack(batch, step)) for batch in batches))
            states.save(path, self._job.name)
        take_off(self._model, count)
        return states

    def _checkpoint_where_needed(self) -> None:
        """Measure what the longest example keeps for the way back, and count up to a whole step."""
        longest = max(self._train, key=lambda each: each.length)
        kept = saved_bytes(lambda: self._loss([longest])[0], self._model)
        tokens = len(self._prefix) + longest.length
        needed = kept * (len(self._prefix) + max(self._job.recipe.batch_tokens, longest.length)) // tokens
        if must_checkpoint(needed, self._model.device):
            self._model.gradient_checkpointing_enable()
            self._model.train()

    def _learning_rate(self, done: float) -> float:
        """Linear warm-up, then linear decay to a tenth, by the share of the work that is done."""
        recipe = self._job.recipe
        if done < recipe.warmup:
            return recipe.learning_rate * max(done / recipe.warmup, 0.02)
        return recipe.learning_rate * (1.0 - 0.9 * (done - recipe.warmup) / (1.0 - recipe.warmup))

    def _advance(self, batch: list[Tokens], loss: float) -> None:
        now = time.monotonic()
        tokens = sum(len(self._prefix) + len(each.prompt) + len(each.answer) for each in batch)
        self._state = replace(
            self._state,
            batch=self._state.batch + 1,
            step=self._state.step + 1,
            seconds=self._state.seconds + now - self._since,
            tokens=self._state.tokens + tokens,
            losses=(*self._state.losses, LossPoint(step=self._state.step + 1, train=round(loss, 5), validation=None)),
        )
        self._since = now

    def _note(self, loss: float) -> str:
        validation = next((p.validation for p in reversed(self._state.losses) if p.validation is not None), None)
        against = f" (val {validation:.2f})" if validation is not None else ""
        speed = self._state.tokens / max(self._state.seconds, 1e-9)
        return f"epoch {self._state.epoch + 1}/{self._job.recipe.epochs}  loss {loss:.2f}{against}  {speed:.0f} tok/s"

    def _finish_epoch(self) -> None:
        """Measure validation loss, and keep the adapter where it is the best so far."""
        loss = self._validation_loss()
        last = replace(self._state.losses[-1], validation=loss)
        better = loss is None or self._state.best_loss is None or loss < self._state.best_loss
        if better:
            self._best = self._copy()
        self._state = replace(
            self._state,
            epoch=self._state.epoch + 1,
            batch=0,
            losses=(*self._state.losses[:-1], last),
            best_loss=loss if better else self._state.best_loss,
            best_step=self._state.step if better else self._state.best_step,
            epochs_without_gain=0 if better else self._state.epochs_without_gain + 1,
        )

    def _validation_loss(self) -> float | None:
        """Mean loss a token over the validation examples, or None where there are none."""
        import torch

        if not self._validation:
            return None
        total, count = 0.0, 0
        with torch.no_grad():
            for batch in ordered_batches(self._validation, 2 * self._job.recipe.batch_tokens):
                loss, tokens = self._loss(batch)
                total, count = total + float(loss), count + tokens
        return round(total / count, 5)

    def _copy(self) -> "dict[str, Tensor]":
        return self._weights.named(self._weights.parameter.detach().to("cpu", copy=True))

    def _save_where_due(self) -> None:
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self._save()

    def _save(self) -> None:
        self._saved = time.monotonic()
        parts = {"now": self._weights.parameter.detach(), **self._optimizer.state[self._weights.parameter]}
        tensors = {"step": parts.pop("step")} if "step" in parts else {}
        for key, tensor in parts.items():
            tensors |= {f"{key}.{name}": each for name, each in self._weights.named(tensor).items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        save_checkpoint(self._path, self._state, tensors)

    def _restore(self, tensors: "dict[str, Tensor]") -> None:
        import torch

        kept: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            key, _, of = name.partition(".")
            kept.setdefault(key, {})[of] = tensor
        with torch.no_grad():
            self._weights.parameter.copy_(self._weights.joined(kept["now"]))
        self._optimizer.state[self._weights.parameter] = {
            "step": tensors["step"],  # stays on the CPU
            **{key: self._weights.joined(kept[key]) for key in ("exp_avg", "exp_avg_sq")},
        }
        self._best = kept.get("best", {})
