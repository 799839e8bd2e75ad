"""The pool through the real part: three adapters on the real small base."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from freehold.engines.adapters import AdapterFiles
from freehold.engines.engine import Completion, Sampling
from freehold.engines.fits import check_adapters
from freehold.engines.llamacpp import LlamaCpp
from freehold.engines.plan import Serving, check_memory, needed_bytes, plan
from freehold.engines.pool import Policy, Pool
from freehold.engines.random_adapter import write_random_adapter
from freehold.errors import ModelFileError, ResourceError


@pytest.fixture(scope="module")
def adapters(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    files = {name: folder / f"{name}.gguf" for name in "ab"}
    for seed, path in enumerate(files.values()):
        write_random_adapter(smollm2, path, seed, rank=4, strength=0.05)
    return files


@pytest.fixture
def real_pool(smollm2: Path, adapters: dict[str, Path]) -> Iterator[Pool]:
    made = Serving(smollm2, 128).pool(Policy(loaded=2, drain_s=10, probe_every_s=0, settle_s=0))
    for name, path in adapters.items():
        made.register(name, path, hashlib.sha256(path.read_bytes()).hexdigest())
    made.start()
    yield made
    made.stop()


def ask(name: str | None) -> Completion:
    return Completion(prompt=(1, 9690, 198, 2683), sampling=Sampling(max_tokens=8), adapter=name)


@pytest.mark.slow
def test_each_answer_carries_its_adapter_and_a_swap_in_memory_is_caught(
    real_pool: Pool, adapters: dict[str, Path]
) -> None:
    answers = {name: real_pool.complete(ask(name)) for name in (None, "a", "b")}
    assert len({answer.text for answer in answers.values()}) == 3
    for name, path in adapters.items():
        assert answers[name].adapter == hashlib.sha256(path.read_bytes()).hexdigest()
    [engine] = real_pool.engines
    assert isinstance(engine, LlamaCpp)
    engine._order.reverse()
    assert real_pool.complete(ask("a")).text == answers["b"].text  # what no digest shows
    real_pool.probe()
    for name, answer in answers.items():
        assert real_pool.complete(ask(name)).text == answer.text


def test_an_adapter_of_another_base_is_refused(smollm2: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    check_adapters(smollm2, AdapterFiles(adapters))
    other = tmp_path / "other.gguf"
    _write(other, "llama", {"blk.0.attn_q.weight.lora_a": (4, 64), "blk.0.attn_q.weight.lora_b": (64, 4)})
    with pytest.raises(ModelFileError, match=r"made for another base: its blk.0.attn_q.weight.lora_a is 64 wide"):
        check_adapters(smollm2, AdapterFiles({"other": other}))


@pytest.mark.parametrize(
    ("architecture", "tensors", "says"),
    [
        ("gemma3", {"blk.0.attn_q.weight.lora_a": (4, 576)}, "is for gemma3 models"),
        ("llama", {"blk.99.attn_q.weight.lora_a": (4, 576)}, "changes blk.99.attn_q.weight, which"),
        (
            "llama",
            {"blk.0.attn_q.weight.lora_a": (4, 576), "blk.0.attn_q.weight.lora_b": (576, 8)},
            "mixes ranks",
        ),
    ],
)
def test_what_does_not_fit_is_said(
    smollm2: Path, tmp_path: Path, architecture: str, tensors: dict[str, tuple[int, int]], says: str
) -> None:
    path = tmp_path / "x.gguf"
    _write(path, architecture, tensors)
    with pytest.raises(ModelFileError, match=says):
        check_adapters(smollm2, AdapterFiles({"x": path}))


def test_a_truncated_adapter_is_refused(smollm2: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(adapters["a"].read_bytes()[:5000])
    with pytest.raises(ModelFileError, match="no whole GGUF file"):
        check_adapters(smollm2, AdapterFiles({"short": path}))


def test_memory_is_counted_and_too_little_is_refused(smollm2: Path, adapters: dict[str, Path]) -> None:
    settings = plan(2, 1024, cores=2).settings
    files = AdapterFiles(adapters)
    keys_and_values = settings.children * settings.slots * 1024 * 23040
    assert needed_bytes(smollm2, settings, files) > keys_and_values + smollm2.stat().st_size
    with pytest.raises(ResourceError, match=r"needs [\d,]+ MB and [\d,]+ MB are free"):
        check_memory(smollm2, plan(2, 1_000_000_000, cores=2).settings, files)


def test_many_adapters_are_given_a_child_a_core_and_so_is_one_on_few_cores() -> None:
    alone = [plan(1, 512, cores=cores).settings for cores in (1, 2, 4)]
    assert [(each.children, each.threads) for each in alone] == [(1, 1), (2, 1), (1, 4)]
    many = plan(50, 512, cores=4)
    assert (many.settings.children, many.settings.threads) == (4, 1)
    assert "4 children" in many.reason


def _write(path: Path, architecture: str, tensors: dict[str, tuple[int, int]]) -> None:
    writer = GGUFWriter(path, architecture)
    for name, shape in tensors.items():
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
