"""A GGUF file's header, read within bounds: it may come from a stranger, so nothing in it is believed or executed.

Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. Every count and length is
checked against what the file could hold before anything of that size is read.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from freehold.errors import ModelFileError

MAGIC = b"GGUF"
_LARGEST_HEADER = 512 * 1024 * 1024  # bytes; vocabularies of a million tokens take a tenth of this
_MOST_TENSORS = 200_000
_MOST_KEYS = 10_000
_DEEPEST_ARRAY = 2
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """One tensor's name, shape (GGUF order: innermost first), ggml type number and offset in the data part."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufFile:
    """What a GGUF header says."""

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def parameters(self) -> int:
        """Counted from the tensors themselves."""
        return sum(tensor.elements for tensor in self.tensors)

    def number(self, key: str) -> int | None:
        """An integer of this architecture's own metadata, such as `context_length`."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) else None


def read(path: Path) -> GgufFile:
    """Read a header; raises `ModelFileError` that says what is wrong with the file."""
    with path.open("rb") as handle:
        return _Reader(path, handle).file()


class _Reader:
    """Walks a header once, front to back, never past its bound."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self._path = path
        self._handle = handle
        self._size = path.stat().st_size
        self._left = min(self._size, _LARGEST_HEADER)

    def file(self) -> GgufFile:
        if self._take(4) != MAGIC:
            raise self._wrong("does not begin as GGUF files do")
        version = self._scalar("<I")
        if version not in (2, 3):
            raise self._wrong(f"is GGUF version {version}; versions 2 and 3 are read")
        tensors = self._count(_MOST_TENSORS, "tensors")
        keys = self._count(_MOST_KEYS, "keys")
        metadata = dict(self._pair() for _ in range(keys))
        return self._checked(GgufFile(self._path, metadata, tuple(self._tensor() for _ in range(tensors))))

    def _checked(self, found: GgufFile) -> GgufFile:
        furthest = max((tensor.offset for tensor in found.tensors), default=0)
        if furthest >= self._size and found.tensors:
            raise self._wrong(f"holds {self._size} bytes, but places a tensor at {furthest}: it is cut short")
        return found

    def _pair(self) -> tuple[str, Any]:
        key = self._text()
        return key, self._value(self._scalar("<I"), 0)

    def _tensor(self) -> Tensor:
        name = self._text()
        dimensions = self._scalar("<I")
        if not 1 <= dimensions <= 8:
            raise self._wrong(f"gives tensor {name[:80]!r} {dimensions} dimensions")
        shape = tuple(self._scalar("<Q") for _ in range(dimensions))
        if math.prod(shape) > self._size * 64:  # no format packs a parameter into less than an eighth of a bit
            raise self._wrong(f"claims more parameters in {name[:80]!r} than its bytes could hold")
        return Tensor(name, shape, self._scalar("<I"), self._scalar("<Q"))

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401 (whatever the key holds)
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY and depth < _DEEPEST_ARRAY:
            return self._array(depth)
        raise self._wrong(f"has a value of unknown type {kind}")

    def _array(self, depth: int) -> list[Any]:
        kind, count = self._scalar("<I"), self._scalar("<Q")
        if kind not in _SCALARS:
            if count > self._left // 8:
                raise self._wrong(f"claims an array of {count} values, more than it could hold")
            return [self._value(kind, depth + 1) for _ in range(count)]
        code = _SCALARS[kind][1]
        data = self._take(count * struct.calcsize(_SCALARS[kind]))
        return list(struct.unpack(f"<{count}{code}", data))

    def _text(self) -> str:
        return self._take(self._scalar("<Q")).decode("utf-8", errors="replace")

    def _scalar(self, code: str) -> Any:  # noqa: ANN401
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _count(self, most: int, what: str) -> int:
        count = int(self._scalar("<Q"))
        if count > most:
            raise self._wrong(f"claims {count} {what}; no model has more than {most}")
        return count

    def _take(self, length: int) -> bytes:
        if length > self._left:
            raise self._wrong("ends inside its header, or claims a header larger than any model's")
        self._left -= length
        data = self._handle.read(length)
        if len(data) != length:
            raise self._wrong("ends inside its header")
        return data

    def _wrong(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: {what}; `freehold pull` fetches a whole one")
