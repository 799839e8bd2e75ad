"""Weights written again in another encoding, because speed differs more than quality does.

Measured with xllamacpp's wheel on 2 cores, SmolLM2-135M, requests/s: Q4_1 as shipped 5.6, BF16 7.5, Q8_0 9.8,
Q4_0 12.2.
Q8_0 and BF16 keep what the source holds to within rounding; Q4_0 loses some of it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from freehold.errors import ModelFileError
from freehold.store.workspace import atomic_file

if TYPE_CHECKING:
    from gguf import GGUFReader, GGUFWriter

Encoding = Literal["F16", "BF16", "Q8_0", "Q4_0"]
_SET_ANEW = {"general.architecture", "general.file_type", "general.quantization_version"}
_QUANTIZATION_VERSION = 2


def reencode(source: Path, target: Path, encoding: Encoding) -> None:
    """Write `source` (GGUF) at `target` with its matrices in `encoding`, whole or not at all.

    Vectors (norms, biases) stay F32, as llama.cpp's own quantiser leaves them. Metadata is carried over. A matrix whose
    rows are no multiple of the encoding's block is kept in F16. Raises `ModelFileError` where `source` is no GGUF file.
    """
    from gguf import GGUFWriter, LlamaFileType

    reader = _reader(source)
    writer = GGUFWriter(None, _text(reader, "general.architecture"))
    _carry_metadata(reader, writer)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{encoding}"])
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    for tensor in reader.tensors:
        data, kind = _encoded(tensor, encoding)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    with atomic_file(target) as handle:
        _write(writer, Path(handle.name))


def _write(writer: "GGUFWriter", path: Path) -> None:
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _reader(source: Path) -> "GGUFReader":
    from gguf import GGUFReader

    try:
        return GGUFReader(source)
    except (ValueError, OSError, IndexError) as error:
        raise ModelFileError(f"{source}: is no whole GGUF file ({error}); `freehold pull` fetches it again") from None


def _text(reader: "GGUFReader", key: str) -> str:
    field = reader.get_field(key)
    if field is None:
        raise ModelFileError(f"{reader.data.filename}: has no {key}; it is no model that llama.cpp can load")
    return str(field.contents())


def _carry_metadata(reader: "GGUFReader", writer: "GGUFWriter") -> None:
    from gguf import GGUFValueType

    for field in reader.fields.values():
        if field.name in _SET_ANEW or field.name.startswith("GGUF."):
            continue
        listed = field.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1] if listed else None)


def _encoded(tensor: Any, encoding: Encoding) -> tuple[Any, Any]:  # noqa: ANN401 (a ReaderTensor, numpy data and its type)
    from gguf import GGMLQuantizationType, dequantize, quantize
    from gguf.quants import QuantError

    values = dequantize(tensor.data, tensor.tensor_type)
    if len(tensor.shape) < 2:
        return values, GGMLQuantizationType.F32
    kind = GGMLQuantizationType[encoding]
    try:
        return quantize(values, kind), kind
    except QuantError:
        return quantize(values, GGMLQuantizationType.F16), GGMLQuantizationType.F16
