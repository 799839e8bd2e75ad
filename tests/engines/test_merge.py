"""A merged copy is the base with its adapter: same answers, one file, any encoding."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, dequantize

from freehold.engines import k_quants
from freehold.engines.engine import Completion, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.merge import merge, merge_apart
from freehold.engines.quantise import ENCODINGS, Encoding, reencode
from freehold.engines.random_adapter import write_random_adapter
from freehold.errors import ModelFileError

RIVALS = 8


@pytest.fixture(scope="module")
def base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base in F16, so that nothing but the merge is rounded."""
    target = tmp_path_factory.mktemp("merge") / "base.gguf"
    reencode(tiny_base / "weights.gguf", target, "F16")
    return target


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    path = base.with_name("adapter.gguf")
    write_random_adapter(base, path, seed=3, rank=4, strength=0.2)
    return path


def _tops(weights: Path, adapters: dict[str, Path]) -> dict[str, float]:
    """Log-probabilities of the likeliest next tokens, through the adapter where there is one."""
    engine = LlamaCpp(weights, adapters, Settings(slots=1, context=64, threads=1))
    engine.start()
    try:
        prompt = tuple(engine.tokenize("The freezer alarm is going"))
        sampling = Sampling(max_tokens=1, logprobs=RIVALS)
        return (
            engine.complete(Completion(prompt=prompt, sampling=sampling, adapter=next(iter(adapters), None)))
            .logprobs[0]
            .top
        )
    finally:
        engine.stop()


def _apart(one: dict[str, float], other: dict[str, float]) -> float:
    shared = one.keys() & other.keys()
    assert len(shared) >= RIVALS // 2
    return max(abs(one[each] - other[each]) for each in shared)


def test_the_merged_copy_answers_as_base_and_adapter_do(base: Path, adapter: Path, tmp_path: Path) -> None:
    merge(base, adapter, tmp_path / "merged.gguf", "F16")
    beside, merged, plain = _tops(base, {"a": adapter}), _tops(tmp_path / "merged.gguf", {}), _tops(base, {})
    assert _apart(beside, merged) < 0.02
    assert _apart(plain, merged) > 0.2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_holds_the_merged_weights(base: Path, adapter: Path, tmp_path: Path, encoding: Encoding) -> None:
    exact, target = tmp_path / "exact.gguf", tmp_path / "merged.gguf"
    merge(base, adapter, exact, "F16")
    merge(base, adapter, target, encoding)
    wanted = {each.name: dequantize(each.data, each.tensor_type) for each in GGUFReader(exact).tensors}
    for tensor in GGUFReader(target).tensors:
        found = dequantize(tensor.data, tensor.tensor_type)
        scale = float(np.abs(wanted[tensor.name]).mean())
        apart = float(np.abs(found - wanted[tensor.name]).mean()) / scale
        assert apart < (0.01 if encoding in ("F16", "BF16", "Q8_0") else 0.12), tensor.name


def test_k_quants_fall_back_where_rows_are_no_multiple_of_256(base: Path, tmp_path: Path) -> None:
    reencode(base, tmp_path / "k.gguf", "Q4_K_M")
    kinds = {each.name: each.tensor_type.name for each in GGUFReader(tmp_path / "k.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q5_0"  # rows of 576
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_down.weight"] in ("Q4_K", "Q6_K")  # rows of 1536
    assert kinds["blk.0.attn_norm.weight"] == "F32"


@pytest.mark.parametrize(("kind", "error"), [("Q4_K", 0.1), ("Q5_K", 0.05), ("Q6_K", 0.025)])
def test_ggml_encodes_what_gguf_decodes(kind: str, error: float) -> None:
    values = np.random.default_rng(0).standard_normal((3, 512), dtype=np.float32)
    encoded = k_quants.quantise(values, GGMLQuantizationType[kind])
    again = dequantize(encoded, GGMLQuantizationType[kind])
    assert again.shape == values.shape
    assert np.abs(again - values).mean() < error


def test_an_adapter_of_another_shape_is_refused_and_nothing_written(
    base: Path, adapter: Path, smollm2: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    write_random_adapter(smollm2, other, seed=1)
    with pytest.raises(ModelFileError, match="which this base does not have"):
        merge(base, other, tmp_path / "merged.gguf", "F16")
    short = tmp_path / "short.gguf"
    short.write_bytes(adapter.read_bytes()[:2000])
    with pytest.raises(ModelFileError, match="no whole GGUF file"):
        merge(base, short, tmp_path / "merged.gguf", "F16")
    assert not (tmp_path / "merged.gguf").exists()


def test_a_copy_is_merged_in_a_process_of_its_own_and_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is no whole GGUF file"):
        merge_apart(tmp_path / "base.gguf", tmp_path / "adapter.gguf", tmp_path / "copy.gguf", "BF16")
