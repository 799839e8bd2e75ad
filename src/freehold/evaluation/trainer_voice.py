"""What the trainer itself would answer: the adapter as PyTorch holds it, decoded greedily, before any export.

In float32, so that nothing but the weights speaks. (The trainer may compute in bfloat16, whose own rounding moved the
demo's log-probabilities further than an F16 engine does.)
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freehold.evaluation.parity import Spoken
from freehold.records import AdapterManifest, Message
from freehold.render import Renderer
from freehold.tuning.base import load_base
from freehold.tuning.lora import add_adapters, load_adapter
from freehold.tuning.recipe import LoraRecipe

RIVALS = 16


class TrainerVoice:
    """A base with an adapter beside it. With `labels`, only their token sequences can be decoded.

    `exact` computes in float32, and otherwise as the trainer did.
    """

    name = "trainer"

    def __init__(
        self,
        base_folder: Path,
        adapter_folder: Path,
        manifest: AdapterManifest,
        labels: Sequence[str],
        max_tokens: int,
        exact: bool = True,
    ) -> None:
        import msgspec

        self._renderer = Renderer(base_folder)
        self._model = load_base(base_folder, exact)
        _carry(self._model, adapter_folder, msgspec.convert(manifest.recipe, LoraRecipe))
        self._labels = {self._answer_ids(label): label for label in labels}
        self._max_tokens = max_tokens
        self._held: tuple[tuple[int, ...], Any] = (), None  # the prompt before, and its keys and values

    def tokenize(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return self._renderer.ids(messages)

    def speak(self, ids: Sequence[int], among: Sequence[str] | None = None) -> Spoken:
        """The likeliest first tokens, and the greedy answer, held to the labels where there are any.

        An answer that can be none of `among` any more ends there.
        """
        begun = time.perf_counter()
        scores, past = self._prompt(tuple(ids))
        likeliest = scores.topk(RIVALS)
        first = dict(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True))
        answer = self._label(scores, past) if self._labels else self._decoded(scores, past, among)
        return Spoken(first, answer, (time.perf_counter() - begun) * 1000)

    def _prompt(self, ids: tuple[int, ...]) -> tuple[Any, Any]:
        """What follows a prompt; what it begins alike with the one before is not computed again."""
        before, past = self._held
        alike = next((at for at, (a, b) in enumerate(zip(before, ids[:-1], strict=False)) if a != b), 0)
        if alike:
            past.crop(alike - past.get_seq_length())  # so many are taken away
        scores, past = self._next(ids[alike:], past if alike else None)
        self._held = ids, past
        return scores, past

    def _decoded(self, scores: Any, past: Any, among: Sequence[str] | None) -> str:  # noqa: ANN401 (tensors)
        decoded: list[int] = []
        while len(decoded) < self._max_tokens:
            if among is not None and not _begins_one(self._renderer.decode(decoded), among):
                break
            token = int(scores.argmax())
            if token == self._renderer.end_id:
                break
            decoded.append(token)
            scores, past = self._next([token], past)
        return self._renderer.decode(decoded)

    def _label(self, scores: Any, past: Any) -> str:  # noqa: ANN401 (tensors)
        """Along the labels' tokens: the model chooses where they part, and what is forced is computed only for that."""
        left, at, ahead = list(self._labels), 0, list[int]()
        while len(left) > 1:
            permitted = sorted({each[at] for each in left})
            if len(permitted) > 1 and ahead:
                scores, past = self._next(ahead, past)
                ahead.clear()
            token = max(permitted, key=lambda each: float(scores[each]))
            left = [each for each in left if each[at] == token]
            ahead.append(token)
            at += 1
        return self._labels[left[0]]

    def _next(self, ids: Sequence[int], past: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """Log-probabilities of the next token, and the keys and values so far."""
        import torch

        with torch.no_grad():
            out = self._model(
                torch.tensor([list(ids)], device=self._model.device),
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
        return out.logits[0, -1].float().log_softmax(-1), out.past_key_values

    def _answer_ids(self, label: str) -> tuple[int, ...]:
        """The label as it was trained, its end included."""
        return self._renderer.example([Message(role="user", content="?")], label).answer


def _begins_one(text: str, among: Sequence[str]) -> bool:
    """Whether one of these begins so; half a character's bytes come as U+FFFD."""
    begun = text.rstrip("\ufffd")
    return any(each.startswith(begun) for each in among)


def _carry(model: Any, folder: Path, recipe: LoraRecipe) -> None:  # noqa: ANN401
    import torch

    tensors, _ = load_adapter(folder)
    with torch.no_grad():
        for name, parameter in add_adapters(model, recipe, seed=0).items():
            parameter.copy_(tensors[name])
