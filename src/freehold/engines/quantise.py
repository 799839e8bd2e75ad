"""Weights written again in another encoding, because speed differs more than quality does.

Measured with xllamacpp's wheel on 2 cores, SmolLM2-135M, requests/s: Q4_1 as shipped 5.6, BF16 7.5, Q8_0 9.8,
Q4_0 12.2.
Q8_0 and BF16 keep what the source holds to within rounding; Q4_0 loses some of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from freehold.engines import k_quants
from freehold.errors import ModelFileError
from freehold.store.workspace import atomic_file

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter
    from numpy.typing import NDArray

    from freehold.engines.gguf_reader import Reader

Encoding = Literal["F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
Change = Callable[[str, "NDArray[Any]"], "NDArray[Any]"]
"""A tensor's name and values (float32) → the values to write."""

_SET_ANEW = {"general.architecture", "general.file_type", "general.quantization_version"}
_QUANTIZATION_VERSION = 2


def as_it_is(name: str, values: "NDArray[Any]") -> "NDArray[Any]":
    """No change."""
    return values


def reencode(source: Path, target: Path, encoding: Encoding, change: Change = as_it_is) -> None:
    """Write `source` (GGUF) at `target` with its matrices in `encoding`, whole or not at all.

    Vectors (norms, biases) stay F32, as llama.cpp's own quantiser leaves them. Metadata is carried over. A matrix whose
    rows are no multiple of the encoding's block is kept in F16. Raises `ModelFileError` where `source` is no GGUF file.
    """
    from gguf import GGUFWriter, LlamaFileType, dequantize

    reader = _reader(source)
    architecture = _text(reader, "general.architecture")
    writer = GGUFWriter(None, architecture)
    _carry_metadata(reader, writer)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{encoding}"])
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    layers = int(_text(reader, f"{architecture}.block_count")) if encoding in k_quants.MIXTURES else 0
    for tensor in reader.tensors:
        values = change(tensor.name, dequantize(tensor.data, tensor.tensor_type))
        data, kind = _encoded(values, _kind(tensor.name, values.shape, encoding, layers))
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    with atomic_file(target) as handle:
        _write(writer, Path(handle.name))


def _write(writer: "GGUFWriter", path: Path) -> None:
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _reader(source: Path) -> "Reader":
    from freehold.engines.gguf_reader import Reader

    try:
        return Reader(source)
    except (ValueError, OSError, IndexError) as error:
        raise ModelFileError(f"{source}: is no whole GGUF file ({error}); `freehold pull` fetches it again") from None


def _text(reader: "Reader", key: str) -> str:
    field = reader.get_field(key)
    if field is None:
        raise ModelFileError(f"{reader.path}: has no {key}; it is no model that llama.cpp can load")
    return str(field.contents())


def _carry_metadata(reader: "Reader", writer: "GGUFWriter") -> None:
    from gguf import GGUFValueType

    for field in reader.fields.values():
        if field.name in _SET_ANEW or field.name.startswith("GGUF."):
            continue
        listed = field.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1] if listed else None)


def _kind(name: str, shape: tuple[int, ...], encoding: Encoding, layers: int) -> "GGMLQuantizationType":
    from gguf import GGMLQuantizationType

    if len(shape) < 2:
        return GGMLQuantizationType.F32
    return GGMLQuantizationType[
        k_quants.kind_of(name, shape[-1], encoding, layers) if encoding in k_quants.MIXTURES else encoding
    ]


def _encoded(values: "NDArray[Any]", kind: "GGMLQuantizationType") -> "tuple[NDArray[Any], GGMLQuantizationType]":
    from gguf import GGMLQuantizationType, quantize
    from gguf.quants import QuantError

    if kind.name in k_quants.MIXTURES.values():
        return k_quants.quantise(values, kind), kind
    try:
        return quantize(values, kind), kind
    except QuantError:
        return quantize(values, GGMLQuantizationType.F16), GGMLQuantizationType.F16
