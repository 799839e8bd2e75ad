"""A model's shape, as far as memory and speed depend on it: read from the file at hand, else drawn from its size."""

from pathlib import Path

from freehold.catalogue import gguf_file
from freehold.catalogue.gguf_file import GgufFile
from freehold.catalogue.model import Model
from freehold.errors import UndeterminedError
from freehold.records import Record
from freehold.store.layout import WEIGHTS_FILE
from freehold.store.workspace import Workspace

_HALF = 2  # bytes of a cached key or value
_7B = (6.74e9, 32, 4096, 11008, 32000)  # Llama 2 7B: what unknown shapes are drawn from, by the cube root of size


class Shape(Record, frozen=True, kw_only=True):
    """`kv_bytes`: the cache's bytes a token. `window`: the sliding window in tokens, 0 for none. `file_bytes`: of the
    weights as they lie here, None where they do not. `measured`: whether this was read from the model's own file."""

    parameters: int
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_bytes: int
    vocabulary: int
    window: int
    file_bytes: int | None
    measured: bool


def of(entry: Model, workspace: Workspace) -> Shape:
    """A model's shape; raises `UndeterminedError` where not even its size is known."""
    path = workspace.models / entry.name / WEIGHTS_FILE
    if path.is_file():
        return read(path)
    if entry.parameters is None:
        raise UndeterminedError(
            f"{entry.name}: its number of parameters is not known, so nothing can be said of its size"
        )
    return _drawn(entry.parameters.value)


def read(path: Path) -> Shape:
    """The shape that a GGUF's header gives; raises `ModelFileError`."""
    header = gguf_file.read(path)
    layers, width = header.number("block_count") or 0, header.number("embedding_length") or 0
    heads = header.number("attention.head_count") or 1
    return Shape(
        parameters=header.parameters,
        layers=layers,
        width=width,
        feed_forward=header.number("feed_forward_length") or 4 * width,
        heads=heads,
        kv_bytes=layers * _kv_width(header, width, heads) * _HALF,
        vocabulary=len(header.metadata.get("tokenizer.ggml.tokens", ())),
        window=header.number("attention.sliding_window") or 0,
        file_bytes=path.stat().st_size,
        measured=True,
    )


def _kv_width(header: GgufFile, width: int, heads: int) -> int:
    """Numbers cached a token and layer: keys and values of every head that has its own."""
    own = header.number("attention.head_count_kv") or heads
    key = header.number("attention.key_length") or width // heads
    value = header.number("attention.value_length") or width // heads
    return own * (key + value)


def _drawn(parameters: int) -> Shape:
    size, layers, width, feed_forward, vocabulary = _7B
    scale = (parameters / size) ** (1 / 3)
    depth, wide = max(1, round(layers * scale)), max(64, round(width * scale))
    return Shape(
        parameters=parameters,
        layers=depth,
        width=wide,
        feed_forward=round(feed_forward * scale),
        heads=max(1, wide // 128),
        kv_bytes=depth * 2 * wide * _HALF,
        vocabulary=vocabulary,
        window=0,
        file_bytes=None,
        measured=False,
    )
