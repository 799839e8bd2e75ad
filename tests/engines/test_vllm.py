"""vLLM through the real part: adapters loaded while it runs, each answer from the one that was asked."""

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.engines import environments
from freehold.engines.engine import Completion, Labels, Sampling
from freehold.engines.vllm import ADAPTER_WEIGHTS, Vllm, VllmSettings
from freehold.errors import ModelFileError, NotFoundError

pytestmark = pytest.mark.slow

_RANK = 4


def write_random_peft(base: Path, folder: Path, seed: int, strength: float = 1.0) -> str:
    """A PEFT adapter of random weights on the attention's projections; returns its SHA-256."""
    import torch
    from safetensors.torch import save_file

    shape = json.loads((base / "config.json").read_text())
    width, kept = shape["hidden_size"], shape["hidden_size"] // shape["num_attention_heads"]
    high = {"q_proj": width, "v_proj": kept * shape["num_key_value_heads"]}
    dice = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(shape["num_hidden_layers"]):
        for name, rows in high.items():
            at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{at}.lora_A.weight"] = torch.randn(_RANK, width, generator=dice) / width**0.5
            tensors[f"{at}.lora_B.weight"] = torch.randn(rows, _RANK, generator=dice) * strength
    folder.mkdir()
    save_file(tensors, folder / ADAPTER_WEIGHTS)
    config = {"peft_type": "LORA", "r": _RANK, "lora_alpha": _RANK, "target_modules": list(high), "bias": "none",
              "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "lora_dropout": 0.0}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return hashlib.sha256((folder / ADAPTER_WEIGHTS).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def served(
    smollm2_safetensors: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Vllm, dict[str, str], Path]]:
    """vLLM with six adapters, of which two fit a batch; their digests; the folder that they lie in."""
    if environments.vllm_python() is None:
        pytest.skip(f"vLLM is not installed; {environments.VLLM_INSTALL}")
    folder = tmp_path_factory.mktemp("peft")
    digests = {name: write_random_peft(smollm2_safetensors, folder / name, seed) for seed, name in enumerate("abcdef")}
    paths = {name: folder / name for name in [*digests, "gone", "changed"]}
    write_random_peft(smollm2_safetensors, folder / "changed", 99)
    settings = VllmSettings(slots=4, context=256, adapters=2, rank=8)
    engine = Vllm(smollm2_safetensors, paths, settings, digests | {"changed": digests["a"]})
    engine.start()
    yield engine, digests, folder
    engine.stop()


def ask(engine: Vllm, adapter: str | None, sampling: Sampling | None = None) -> Completion:
    prompt = tuple(engine.tokenize("<|im_start|>user\nThe freezer alarm<|im_end|>\n<|im_start|>assistant\n"))
    return Completion(prompt=prompt, sampling=sampling or Sampling(max_tokens=8), adapter=adapter)


def test_adapters_are_loaded_when_asked_for_and_each_answers_for_itself(
    served: tuple[Vllm, dict[str, str], Path],
) -> None:
    engine, digests, _ = served
    alone = {name: engine.complete(ask(engine, name)) for name in (None, *digests)}
    assert len({answer.text for answer in alone.values()}) > len(digests) // 2
    assert {name: answer.adapter for name, answer in alone.items()} == {None: None, **digests}
    mixed: dict[str | None, str] = {}

    def work(name: str | None) -> None:
        mixed[name] = engine.complete(ask(engine, name)).adapter or ""

    threads = [threading.Thread(target=work, args=(name,)) for name in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == {None: "", **digests}  # more than fit a batch: the others wait, and none is answered by another


def test_a_label_costs_its_own_tokens(served: tuple[Vllm, dict[str, str], Path]) -> None:
    engine, digests, _ = served
    labels = ("payroll", "safety", "scheduling", "pay slips")
    answer = engine.complete(ask(engine, "a", Sampling(max_tokens=12, constraint=Labels(labels=labels))))
    assert answer.text in labels
    assert answer.output_tokens == len(engine.tokenize(answer.text)) + 1
    assert answer.adapter == digests["a"]


def test_log_probabilities_and_a_seed(served: tuple[Vllm, dict[str, str], Path]) -> None:
    engine, _, _ = served
    answer = engine.complete(ask(engine, "b", Sampling(max_tokens=3, logprobs=4)))
    assert len(answer.logprobs) == answer.output_tokens
    for token in answer.logprobs:
        assert token.logprob <= 0
        assert len(token.top) >= 4
    warm = Sampling(max_tokens=12, temperature=1.5, seed=7)
    assert engine.complete(ask(engine, "b", warm)).text == engine.complete(ask(engine, "b", warm)).text
    others = {
        engine.complete(ask(engine, "b", Sampling(max_tokens=12, temperature=1.5, seed=at))).text for at in (1, 2)
    }
    assert len(others) == 2


def test_what_cannot_be_loaded_is_refused_and_the_rest_goes_on(served: tuple[Vllm, dict[str, str], Path]) -> None:
    engine, digests, _ = served
    with pytest.raises(ModelFileError, match="is not the adapter changed that was recorded"):
        engine.complete(ask(engine, "changed"))
    with pytest.raises(ModelFileError, match="cannot be read"):
        engine.complete(ask(engine, "gone"))
    with pytest.raises(NotFoundError, match="nobody"):
        engine.complete(ask(engine, "nobody"))
    assert engine.complete(ask(engine, "a")).adapter == digests["a"]


def test_a_file_removed_while_in_use_goes_on_answering(served: tuple[Vllm, dict[str, str], Path]) -> None:
    engine, digests, folder = served
    before = engine.complete(ask(engine, "f")).text
    (folder / "f" / ADAPTER_WEIGHTS).rename(folder / "away")
    try:
        answer = engine.complete(ask(engine, "f"))
    finally:
        (folder / "away").rename(folder / "f" / ADAPTER_WEIGHTS)
    assert (answer.text, answer.adapter) == (before, digests["f"])
