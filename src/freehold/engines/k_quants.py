"""K-quants, made by the ggml inside xllamacpp's wheel: the `gguf` library reads them but writes only older encodings.

Mixtures and fallbacks are those of llama.cpp's quantiser (src/llama-quant.cpp): in `Q4_K_M` and `Q5_K_M` the matrices
that hurt most (a tied embedding, half of the values and of the down projections) get six bits, and a matrix whose rows
are no multiple of 256 gets the next larger encoding of blocks of 32.
"""

import ctypes
import importlib.util
from typing import TYPE_CHECKING, Any

from freehold.errors import MissingPackageError

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType
    from numpy.typing import NDArray

MIXTURES = {"Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K", "Q6_K": "Q6_K"}
_SUPER_BLOCK = 256
_IN_BLOCKS_OF_32 = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_EMBEDDINGS = ("token_embd.weight", "output.weight")
_SENSITIVE = ("attn_v.weight", "ffn_down.weight")


def kind_of(name: str, row: int, mixture: str, layers: int) -> str:
    """The encoding of one matrix with rows of `row` numbers, in a model of so many layers."""
    kind = MIXTURES[mixture]
    if name in _EMBEDDINGS or (name.endswith(_SENSITIVE) and _more_bits(int(name.split(".")[1]), layers)):
        kind = "Q6_K"
    return kind if row % _SUPER_BLOCK == 0 else _IN_BLOCKS_OF_32[kind]


def quantise(values: "NDArray[Any]", kind: "GGMLQuantizationType") -> "NDArray[Any]":
    """Encode a float32 matrix (rows, numbers) as bytes (rows, bytes a row)."""
    import numpy
    from gguf import GGML_QUANT_SIZES

    values = numpy.ascontiguousarray(values, dtype=numpy.float32)
    block, size = GGML_QUANT_SIZES[kind]
    rows, row = values.shape
    encoded = numpy.empty((rows, row // block * size), dtype=numpy.uint8)
    source, target = values.ctypes.data_as(ctypes.c_void_p), encoded.ctypes.data_as(ctypes.c_void_p)
    _chunk()(int(kind), source, target, 0, rows, row, None)
    return encoded


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _chunk() -> Any:  # noqa: ANN401 (a ctypes function)
    found = importlib.util.find_spec("xllamacpp.xllamacpp")
    if found is None or found.origin is None:
        raise MissingPackageError("K-quants need xllamacpp; install it with: pip install xllamacpp")
    function = getattr(ctypes.CDLL(found.origin), "ggml_quantize_chunk", None)
    if function is None:
        raise MissingPackageError("this build of xllamacpp does not show ggml's quantiser; pip install -U xllamacpp")
    function.restype = ctypes.c_size_t
    long = ctypes.c_int64
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, long, long, long, ctypes.c_void_p]
    return function
