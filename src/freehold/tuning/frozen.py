"""What the frozen lower layers make of every example: computed once, kept in memory over all epochs.

Where adapters sit on the upper layers only, the lower ones give the same states in every epoch. They are computed once,
in an order that the job fixes, and the lower layers are then taken off. A job that is interrupted later finds them on
disk; one that does not find them computes the same bits again.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.errors import ResourceError
from freehold.store.workspace import atomic_file
from freehold.tuning.batches import Tokens, ordered_batches
from freehold.tuning.forward import Packed, reading

if TYPE_CHECKING:
    from torch import Tensor


class FrozenStates:
    """The states that enter the first trained layer, of the shared prefix and of every example."""

    def __init__(self, prefix: "Tensor") -> None:
        self._prefix = prefix
        self._states: dict[Tokens, Tensor] = {}

    def save(self, path: Path, job: str) -> None:
        """Write them down under the job's name; atomic."""
        import torch
        from safetensors.torch import save

        together = {"prefix": self._prefix, "rests": torch.cat(list(self._states.values()))}
        with atomic_file(path) as handle:
            handle.write(save({name: each.cpu() for name, each in together.items()}, metadata={"job": job}))

    @classmethod
    def load(cls, path: Path, job: str, examples: Iterable[Tokens], device: Any) -> "FrozenStates | None":  # noqa: ANN401
        """Those of this very job, of examples in the order in which they were kept; None where there are none."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                if file.metadata()["job"] != job:
                    return None
                found, rests = cls(file.get_tensor("prefix")), file.get_tensor("rests")
        except (OSError, SafetensorError, KeyError, TypeError):
            return None
        kept = list(examples)
        lengths = [each.length for each in kept]
        if len(rests) != sum(lengths):
            return None  # another version of ours cut examples otherwise
        found._states = dict(zip(kept, rests.split(lengths), strict=True))
        return found

    def keep(self, batch: Sequence[Tokens], hidden: "Tensor") -> None:
        """The rests of a packed batch, (1, tokens, width)."""
        lengths, shared = [each.length for each in batch], len(self._prefix)
        parts = hidden[0, shared : shared + sum(lengths)].split(lengths)
        self._states |= {each: part.clone() for each, part in zip(batch, parts, strict=True)}

    def packed(self, batch: Sequence[Tokens], packed: Packed) -> "Tensor":
        """The states of a packed batch, (1, tokens, width); nobody's are 0."""
        import torch

        together = torch.cat([self._prefix, *(self._states[each] for each in batch)])
        nobodys = together.new_zeros(packed.ids.shape[1] - len(together), together.shape[1])
        return torch.cat([together, nobodys])[None]


def compute(
    model: Any,  # noqa: ANN401 (a transformers model)
    count: int,
    packs: Iterable[tuple[Sequence[Tokens], Packed]],
) -> FrozenStates:
    """What the `count` lowest layers make of every packed batch."""
    import torch
    from torch import nn

    decoder = model.base_model
    layers, norm = decoder.layers, decoder.norm
    decoder.layers, decoder.norm = layers[:count], nn.Identity()
    states = None
    with torch.no_grad():
        for batch, packed in packs:
            hidden = decoder(packed.ids, **reading(packed)).last_hidden_state
            shared = packed.mask.shape[-1] - packed.mask.shape[-2]
            states = states or FrozenStates(hidden[0, :shared].clone())
            states.keep(batch, hidden)
    decoder.layers, decoder.norm = layers, norm
    assert states is not None, "a job has examples"
    return states


def take_off(model: Any, count: int) -> None:  # noqa: ANN401 (a transformers model)
    """The model without its `count` lowest layers."""
    decoder = model.base_model
    decoder.layers = decoder.layers[count:]
    kinds = getattr(decoder.config, "layer_types", None)
    if kinds:
        decoder.config.layer_types = kinds[count:]


def require_room(tokens: int, width: int, room: int) -> None:
    """Raise `ResourceError` where the states of so many tokens would take more than half of `room` (bytes)."""
    need = 2 * tokens * width
    if need > room / 2:
        raise ResourceError(
            f"tune.method: upper-lora keeps {need / 1e9:,.1f} GB of states and {room / 1e9:,.1f} GB are free; "
            f"write tune.method: lora, which keeps none"
        )


def batches(examples: Sequence[Tokens], batch_tokens: int) -> list[list[Tokens]]:
    """Every different example once, in an order that does not depend on chance."""
    return ordered_batches(sorted(set(examples)), batch_tokens)
