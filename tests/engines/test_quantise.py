"""Weights written again in another encoding."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize

from freehold.engines.quantise import reencode
from freehold.errors import ModelFileError


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_string("tokenizer.chat_template", "{{ messages }} — ٠")
    writer.add_array("tokenizer.ggml.tokens", ["a", "ب", "中"])
    writer.add_uint32("llama.block_count", 1)
    rows = np.linspace(-1, 1, 4 * 64, dtype=np.float32).reshape(4, 64)
    writer.add_tensor("matrix", rows)
    writer.add_tensor("norm", np.ones(64, dtype=np.float32))
    writer.add_tensor("odd", np.ones((2, 30), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("encoding", "error"), [("Q8_0", 0.005), ("BF16", 0.005), ("F16", 0.001), ("Q4_0", 0.1)])
def test_matrices_are_encoded_and_the_rest_carried(tiny: Path, encoding: str, error: float) -> None:
    target = tiny.with_name("out.gguf")
    reencode(tiny, target, encoding)  # type: ignore[arg-type]
    before, after = GGUFReader(tiny), GGUFReader(target)
    tensors = {tensor.name: tensor for tensor in after.tensors}
    assert tensors["matrix"].tensor_type == GGMLQuantizationType[encoding]
    assert tensors["norm"].tensor_type == GGMLQuantizationType.F32
    original = dequantize(before.tensors[0].data, before.tensors[0].tensor_type)
    again = dequantize(tensors["matrix"].data, tensors["matrix"].tensor_type)
    assert np.abs(original - again).max() <= error
    for key in ("tokenizer.chat_template", "tokenizer.ggml.tokens", "llama.block_count"):
        assert after.fields[key].contents() == before.fields[key].contents()


def test_rows_that_do_not_fit_a_block_stay_f16(tiny: Path) -> None:
    target = tiny.with_name("out.gguf")
    reencode(tiny, target, "Q8_0")
    odd = next(tensor for tensor in GGUFReader(target).tensors if tensor.name == "odd")
    assert odd.tensor_type == GGMLQuantizationType.F16


def test_a_file_that_is_no_model_is_refused_and_nothing_written(tmp_path: Path) -> None:
    source, target = tmp_path / "x.gguf", tmp_path / "y.gguf"
    source.write_bytes(b"not a model at all, but long enough to be read")
    with pytest.raises(ModelFileError, match=r"x\.gguf: is no whole GGUF file"):
        reencode(source, target, "Q8_0")
    assert list(tmp_path.iterdir()) == [source]
