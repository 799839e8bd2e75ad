"""Does an adapter fit a base? The same architecture, matrices of the same shape, one rank."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from freehold.engines.adapters import AdapterFiles
from freehold.errors import ModelFileError
from freehold.records import Record

_KV_BYTES = 2  # f16
OVERFLOWS_F16 = ("gemma",)  # architectures whose activations pass 65,504: they are to be computed in bfloat16


class Shape(Record, frozen=True, kw_only=True):
    """What an adapter must fit: the base's architecture and its matrices as (inputs, outputs).

    `bytes_a_token` is the memory of its keys and values, `context` the tokens that it can read, `pools` whether it
    makes one vector of a text.
    """

    architecture: str
    matrices: dict[str, tuple[int, int]]
    bytes_a_token: int
    context: int
    pools: bool = False


def check_adapters(weights: Path, files: AdapterFiles) -> None:
    """Raise `ModelFileError` for an adapter of another base: another architecture, or matrices of another shape."""
    for name, path in files.paths.items():
        _check_adapter(name, path, shape_of(weights))


@lru_cache(maxsize=16)
def shape_of(weights: Path) -> Shape:
    """The shape of a base's GGUF; raises `ModelFileError` where it is none."""
    reader = _gguf(weights, f"{weights}: is no whole GGUF file; `freehold pull` fetches it again")
    architecture = str(reader.get_field("general.architecture").contents())

    def number(key: str, default: int = 0) -> int:
        field = reader.get_field(f"{architecture}.{key}")
        return int(field.contents()) if field is not None else default

    heads = number("attention.head_count", 1)
    width = number("attention.key_length", number("embedding_length") // heads)
    cells = number("block_count") * number("attention.head_count_kv", heads) * width * 2
    matrices = {each.name: (int(each.shape[0]), int(each.shape[1])) for each in reader.tensors if len(each.shape) == 2}
    return Shape(
        architecture=architecture,
        matrices=matrices,
        bytes_a_token=cells * _KV_BYTES,
        context=number("context_length"),
        pools=reader.get_field(f"{architecture}.pooling_type") is not None,
    )


def _check_adapter(name: str, path: Path, base: Shape) -> None:
    reader = _gguf(path, f"{path}: adapter {name} is no whole GGUF file; export it again")
    architecture = reader.get_field("general.architecture")
    found = str(architecture.contents()) if architecture else "none"
    if found != base.architecture:
        raise ModelFileError(f"{path}: adapter {name} is for {found} models, and this base is {base.architecture}")
    ranks = set()
    for tensor in reader.tensors:
        matrix, _, side = tensor.name.rpartition(".")
        expected = base.matrices.get(matrix)
        if expected is None:
            raise ModelFileError(f"{path}: adapter {name} changes {matrix}, which this base does not have")
        size, rank = (tensor.shape[0], tensor.shape[1]) if side == "lora_a" else (tensor.shape[1], tensor.shape[0])
        ranks.add(int(rank))
        if int(size) != expected[side != "lora_a"]:
            raise ModelFileError(
                f"{path}: adapter {name} was made for another base: its {tensor.name} is {int(size)} wide, "
                f"this base's is {expected[side != 'lora_a']}"
            )
    if len(ranks) != 1:
        raise ModelFileError(f"{path}: adapter {name} mixes ranks {sorted(ranks)}; llama.cpp needs one")


def _gguf(path: Path, refusal: str) -> Any:  # noqa: ANN401 (a GGUFReader)
    from freehold.engines.gguf_reader import Reader

    try:
        return Reader(path)
    except (ValueError, OSError, IndexError):
        raise ModelFileError(refusal) from None
