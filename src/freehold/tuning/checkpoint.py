"""The trainer's whole state in one safetensors file, written atomically: after `kill -9` tuning goes on from it.

Nothing random needs keeping: every shuffle follows from the seed and the epoch.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from freehold.records import LossPoint, Record
from freehold.store.workspace import atomic_file

if TYPE_CHECKING:
    from torch import Tensor


class TrainerState(Record, frozen=True, kw_only=True):
    """Where tuning stands: `batch` batches of `epoch` are done, `step` steps in all, of about `steps` planned."""

    job: str
    steps: int
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_loss: float | None = None
    best_step: int = 0
    epochs_without_gain: int = 0
    losses: tuple[LossPoint, ...] = ()
    seconds: float = 0.0
    tokens: int = 0


def save_checkpoint(path: Path, state: TrainerState, tensors: "dict[str, Tensor]") -> None:
    from safetensors.torch import save

    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as handle:
        handle.write(save(plain, metadata={"state": msgspec.json.encode(state).decode()}))


def read_state(path: Path) -> TrainerState | None:
    """Where a job stands, without its tensors; None where there is no whole checkpoint."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return msgspec.json.decode(file.metadata()["state"], type=TrainerState)
    except (OSError, SafetensorError, msgspec.MsgspecError, KeyError, TypeError):
        return None


def load_checkpoint(path: Path, job: str) -> "tuple[TrainerState, dict[str, Tensor]] | None":
    """The state and tensors, or None where there is no whole checkpoint of this very job."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = msgspec.json.decode(file.metadata()["state"], type=TrainerState)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, msgspec.MsgspecError, KeyError, TypeError):
        return None
    return (state, tensors) if state.job == job else None
