"""How likely a model finds a continuation: scored in torch, since an engine that only returns what it generates cannot.

A prefix that many prompts share is computed once and its key-value cache reused.
"""

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from freehold.engines.registry import ENGINES
from freehold.errors import NotFoundError, UserError, did_you_mean
from freehold.tuning.base import device, load_base

_TORCH = "torch"


class Continuations:
    """A base, with an adapter or without; opened when the first score is asked for."""

    def __init__(self, base: Path, adapter: Path | None = None) -> None:
        self._base, self._adapter = base, adapter
        self._prefix: tuple[tuple[int, ...], Any] = ((), None)

    @cached_property
    def model(self) -> Any:  # noqa: ANN401 (a transformers model)
        model = load_base(self._base)
        if self._adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(self._adapter))
        return model.eval()

    def likeliest(self, prefix: Sequence[int], rest: Sequence[int], choices: Sequence[int]) -> int:
        """Which of these tokens (by place) is likeliest after `prefix` and `rest`, of which `rest` is not empty."""
        import torch

        with torch.inference_mode():
            logits = self.model(self._tensor(rest), past_key_values=self._cache(prefix), logits_to_keep=1).logits[0, -1]
        return int(logits[torch.tensor(list(choices), device=logits.device)].argmax())

    def surprise(self, ids: Sequence[int]) -> float:
        """The mean negative log-likelihood, in nats a token, of every token but the first."""
        import torch

        with torch.inference_mode():
            row = self._tensor(ids)
            logits = self.model(row).logits[0, :-1].float()
            return float(torch.nn.functional.cross_entropy(logits, row[0, 1:]))

    def _cache(self, prefix: Sequence[int]) -> Any:  # noqa: ANN401 (a transformers cache)
        import torch

        if not prefix:
            return None
        if self._prefix[0] != tuple(prefix):
            with torch.inference_mode():
                states = self.model(self._tensor(prefix), use_cache=True, logits_to_keep=1).past_key_values
            self._prefix = (tuple(prefix), states)
        return copy.deepcopy(self._prefix[1])

    def _tensor(self, ids: Sequence[int]) -> Any:  # noqa: ANN401 (a torch tensor)
        import torch

        return torch.tensor([list(ids)], device=device())


def require_scoring(engine: str) -> None:
    """Raise `UserError` (HTTP 400) for an engine that cannot score: it could only guess how likely a text is."""
    if engine == _TORCH:
        return
    if engine not in ENGINES:
        raise NotFoundError(
            f"{engine}: no such engine{did_you_mean(engine, [_TORCH, *ENGINES])}; scores come from torch"
        )
    raise UserError(
        f"{engine} cannot score a continuation: asked to echo a text with logprobs it returns those of the token that "
        "it generated, not of the text; leave --engine out to score in torch"
    )


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many token ids all prompts begin with, at least one being left of each."""
    shortest = min(map(len, prompts)) - 1
    first = prompts[0]
    for at in range(shortest):
        if any(prompt[at] != first[at] for prompt in prompts):
            return at
    return shortest
