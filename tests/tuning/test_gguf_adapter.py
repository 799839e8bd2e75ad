"""The adapter that llama.cpp serves is the one that was trained: same base, same ids, same answers."""

from pathlib import Path

import torch

from freehold.engines.engine import Completion, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.progress import SILENT
from freehold.render import Rendered, Renderer
from freehold.tuning.base import load_base
from freehold.tuning.gguf_adapter import write_gguf_adapter
from freehold.tuning.lora import add_adapters, save_adapter
from freehold.tuning.recipe import LoraRecipe
from freehold.tuning.train import TrainingJob, train

RECIPE = LoraRecipe(rank=4, alpha=8.0, learning_rate=1e-2, epochs=6, batch_tokens=64, patience=9)


def test_llama_cpp_answers_as_the_trainer_does(tiny_base: Path, colours: list[Rendered], tmp_path: Path) -> None:
    trained = train(TrainingJob("j", tiny_base, colours, colours[:6], RECIPE, seed=0), tmp_path / "c", SILENT)
    save_adapter(tmp_path, trained.tensors, RECIPE, "tiny")
    write_gguf_adapter(tmp_path, tiny_base / "weights.gguf", tmp_path / "adapter.gguf")
    asked = [each.prompt for each in colours[:6]]
    mine = _first_tokens(tiny_base, trained.tensors, asked)
    engine = LlamaCpp(tiny_base / "weights.gguf", {"a": tmp_path / "adapter.gguf"}, Settings(slots=1))
    engine.start()
    try:
        tuned = [_answer(engine, prompt, "a") for prompt in asked]
        plain = [_answer(engine, prompt, None) for prompt in asked]
    finally:
        engine.stop()
    renderer = Renderer(tiny_base)
    assert tuned == [renderer.decode([token]) for token in mine]
    assert plain != tuned


def _first_tokens(base: Path, tensors: dict[str, torch.Tensor], prompts: list[tuple[int, ...]]) -> list[int]:
    model = load_base(base)
    parameters = add_adapters(model, RECIPE, seed=0)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
        return [int(model(torch.tensor([prompt])).logits[0, -1].argmax()) for prompt in prompts]


def _answer(engine: LlamaCpp, prompt: tuple[int, ...], adapter: str | None) -> str:
    return engine.complete(Completion(prompt=prompt, sampling=Sampling(max_tokens=1), adapter=adapter)).text
