"""A safetensors file's header, read within bounds: it may be a stranger's, so nothing in it is believed.

Format: github.com/huggingface/safetensors, README, *Format*: eight bytes of length, a JSON header, then the tensors.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import msgspec

from freehold.errors import ModelFileError

_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class SafetensorsFile:
    """What a safetensors header says. `formats` counts parameters by number format."""

    path: Path
    metadata: dict[str, str]
    formats: dict[str, int]

    @property
    def parameters(self) -> int:
        """Counted from the tensors themselves; position indices, which are integers, are no parameters."""
        return sum(count for kind, count in self.formats.items() if not kind.startswith(("I64", "BOOL")))


def read(path: Path) -> SafetensorsFile:
    """Read a header; raises `ModelFileError` that says what is wrong with the file."""
    header, data_size = _header(path)
    metadata = _metadata(path, header.pop("__metadata__", msgspec.Raw(b"{}")))
    entries = {name: _entry(path, name, raw, data_size) for name, raw in header.items()}
    end = max((entry.data_offsets[1] for entry in entries.values()), default=0)
    if end != data_size:
        raise _wrong(
            path, f"holds {data_size} bytes of tensors where its header names {end}: it is cut short or padded"
        )
    formats: dict[str, int] = {}
    for entry in entries.values():
        formats[entry.dtype] = formats.get(entry.dtype, 0) + math.prod(entry.shape)
    return SafetensorsFile(path, metadata, formats)


def _header(path: Path) -> tuple[dict[str, msgspec.Raw], int]:
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise _wrong(
                path, "is not a whole safetensors (or GGUF) file: its first bytes do not say how long its header is"
            )
        text = handle.read(length)
    try:
        return msgspec.json.decode(text, type=dict[str, msgspec.Raw]), size - 8 - length
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _wrong(path, f"has a header that is not JSON ({error})") from None


def _metadata(path: Path, raw: msgspec.Raw) -> dict[str, str]:
    try:
        return msgspec.json.decode(raw, type=dict[str, str])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _wrong(path, f"has metadata that is not a list of texts ({error})") from None


def _entry(path: Path, name: str, raw: msgspec.Raw, data_size: int) -> _Entry:
    try:
        entry = msgspec.json.decode(raw, type=_Entry)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _wrong(path, f"describes tensor {name[:80]!r} wrongly ({error})") from None
    begin, end = entry.data_offsets
    bits = _BITS.get(entry.dtype)
    if bits is None:
        raise _wrong(path, f"stores tensor {name[:80]!r} in the unknown format {entry.dtype[:20]!r}")
    if not 0 <= begin <= end <= data_size or any(side < 0 for side in entry.shape):
        raise _wrong(path, f"places tensor {name[:80]!r} outside itself: it is cut short")
    if math.prod(entry.shape) * bits != (end - begin) * 8:
        raise _wrong(path, f"gives tensor {name[:80]!r} a shape that its bytes do not fill")
    return entry


def _wrong(path: Path, what: str) -> ModelFileError:
    return ModelFileError(f"{path}: {what}; `freehold pull` fetches a whole one")
