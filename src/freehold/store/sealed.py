"""Files that lie on disk sealed: what a client uploads for a batch, and its answers (invariant 5).

They must hold the client's own words to be of use, so no redaction can go over them. AES-256-GCM (NIST SP 800-38D), one
key a file, derived (HKDF, RFC 5869) from the workspace's own in `keys/files.key`: a search of the disk finds no word of
them, and without that key nobody reads them. Whoever has the whole workspace can, as its gateway does. A file is a row
of frames: length, number, nonce, content. A frame that a crash tore off is cut away.
"""

import os
import secrets
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from freehold.errors import DataError
from freehold.store.workspace import Workspace

_HEAD = struct.Struct("<II12s")
_TAG_BYTES = 16
_KEY_BYTES = 32


class Vault:
    """Every sealed file of a workspace, by id."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._key: bytes | None = None

    def path(self, id: str) -> Path:
        return self._workspace.files / f"{id}.sealed"

    def writer(self, id: str) -> "Writer":
        """Open for appending, behind the last whole frame."""
        return Writer(self.path(id), _Seal(self._secret(), id))

    def frames(self, id: str) -> Iterator[tuple[int, bytes]]:
        """The number and content of each whole frame; raises `DataError` where a byte of one is not what was written.

        A file that is gone has none.
        """
        seal = _Seal(self._secret(), id)
        return (found for found, _ in _frames(self.path(id), seal))

    def lines(self, id: str, longest: int) -> Iterator[bytes]:
        """The content as lines, each with its end; of one that is longer than this only the start (bytes)."""
        parts, size = [], 0
        for _, content in self.frames(id):
            for piece in _pieces(content):
                room = longest - size
                if room > 0:
                    parts.append(piece[:room])
                size += len(piece)
                if piece.endswith(b"\n"):
                    yield b"".join(parts)
                    parts, size = [], 0
        if parts:
            yield b"".join(parts)

    def erase(self, id: str) -> None:
        """Delete a file; one that is gone already is no fault."""
        self.path(id).unlink(missing_ok=True)

    def ids(self) -> Iterator[tuple[str, float]]:
        """Every file on disk, with the time of its last change (seconds)."""
        for path in self._workspace.files.glob("*.sealed"):
            yield path.stem, path.stat().st_mtime

    def seal(self, content: bytes) -> str:
        """A few bytes for a column of the store, sealed (hex)."""
        return _Seal(self._secret(), "column").shut(0, content).hex()

    def unseal(self, text: str) -> bytes:
        return _Seal(self._secret(), "column").opened(0, bytes.fromhex(text))

    def _secret(self) -> bytes:
        self._key = self._key or self._workspace.secret("files.key")
        return self._key


def _pieces(content: bytes) -> Iterator[bytes]:
    """Up to and with each line feed."""
    start = 0
    while (end := content.find(b"\n", start)) >= 0:
        yield content[start : end + 1]
        start = end + 1
    if start < len(content):
        yield content[start:]


class Writer:
    """Appends frames; `size` counts the bytes that were sealed, those of before included, whose `numbers` are kept."""

    def __init__(self, path: Path, seal: "_Seal") -> None:
        self._seal = seal
        self.numbers = array("L")
        self.size = whole = 0
        if path.exists():
            for (number, content), behind in _frames(path, seal):
                self.numbers.append(number)
                self.size += len(content)
                whole = behind
            os.truncate(path, whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def append(self, number: int, content: bytes) -> None:
        data = self._seal.shut(number, content)
        written = 0
        while written < len(data):
            written += os.write(self._file, data[written:])
        self.size += len(content)

    def flush(self) -> None:
        """What was appended is on disk when this returns."""
        os.fdatasync(self._file)

    def close(self) -> None:
        os.fsync(self._file)
        os.close(self._file)


class _Seal:
    """The key of one file."""

    def __init__(self, secret: bytes, id: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        self._id = id.encode()
        derived = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=b"freehold file " + self._id)
        self._cipher = AESGCM(derived.derive(secret))

    def shut(self, number: int, content: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        sealed = self._cipher.encrypt(nonce, content, self._about(number))
        return _HEAD.pack(len(sealed), number, nonce) + sealed

    def opened(self, number: int, frame: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        _, _, nonce = _HEAD.unpack_from(frame)
        try:
            return self._cipher.decrypt(nonce, frame[_HEAD.size :], self._about(number))
        except InvalidTag:
            what = "is damaged, or keys/files.key is not the one it was sealed with"
            raise DataError(f"the sealed file {self._id.decode()} {what}") from None

    def _about(self, number: int) -> bytes:
        return self._id + struct.pack("<I", number)


def _frames(path: Path, seal: _Seal) -> Iterator[tuple[tuple[int, bytes], int]]:
    """Each whole frame's number and content, and the offset behind it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        behind = 0
        while (frame := _frame(file)) is not None:
            behind += len(frame)
            _, number, _ = _HEAD.unpack_from(frame)
            yield (number, seal.opened(number, frame)), behind


def _frame(file: BinaryIO) -> bytes | None:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, _, _ = _HEAD.unpack(head)
    content = file.read(length)
    return head + content if len(content) == length else None
