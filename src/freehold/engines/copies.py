"""Merged copies: an adapter that is served as a file of its own, and still known by its digest.

A copy answers without the cost of an adapter, and is as large as its base. It is made once, kept on disk under what it
was made of, and checked at each start: the adapter's file and the copy's own must have the digests on record.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from freehold.engines.engine import Answer, Completion, Piece
from freehold.engines.llamacpp import LlamaCpp
from freehold.engines.merge import merge_apart
from freehold.engines.quantise import Encoding
from freehold.engines.replica import Replica
from freehold.errors import NotFoundError
from freehold.records import Record
from freehold.store.workspace import file_sha256, read_record, write_record


class Made(Record, frozen=True, kw_only=True):
    """A copy on disk: the files that it was made of and its own, by SHA-256."""

    base: str
    adapter: str
    sha256: str


class Copy(NamedTuple):
    """Where a copy lies, and the SHA-256 that it must have."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Copies:
    """Merged copies of one base, `pulled` being its file as it was published.

    A copy lies beside its adapter's file, so that whoever deletes an adapter deletes both.
    """

    pulled: Path
    encoding: Encoding

    def of(self, adapter: str, path: Path) -> Copy:
        """The copy of the adapter in `path`, whose SHA-256 is `adapter`; made where it is not there yet.

        Raises `ModelFileError` where the adapter does not fit the base.
        """
        target = self.path_of(path)
        made = _made(target)
        if made is None or (made.base, made.adapter) != (self._base, adapter) or not target.is_file():
            merge_apart(self.pulled, path, target, self.encoding)
            made = Made(base=self._base, adapter=adapter, sha256=file_sha256(target))
            write_record(_beside(target), made)  # last: without it the copy is made anew
        return Copy(target, made.sha256)

    def path_of(self, adapter: Path) -> Path:
        """Where the copy of an adapter's file lies, once it is made."""
        return adapter.with_name(f"{adapter.stem}.merged-{self.encoding.lower()}.gguf")

    @cached_property
    def _base(self) -> str:
        return file_sha256(self.pulled)


def _made(target: Path) -> Made | None:
    try:
        return read_record(_beside(target), Made)
    except NotFoundError:
        return None


def _beside(target: Path) -> Path:
    return target.with_suffix(".json")


class Merged:
    """A `Probed` engine of one adapter: a copy that answers under the adapter's name and with its digest."""

    def __init__(self, name: str, adapter: str, engine: LlamaCpp) -> None:
        self._name, self._adapter, self._engine = name, adapter, engine

    def start(self) -> None:
        self._engine.start()

    def stop(self) -> None:
        self._engine.stop()

    def tokenize(self, text: str) -> Sequence[int]:
        return self._engine.tokenize(text)

    def complete(self, request: Completion) -> Answer:
        return self._named(self._engine.complete(self._plain(request)))

    def stream(self, request: Completion) -> Iterator[Piece]:
        for piece in self._engine.stream(self._plain(request)):
            answer = piece.answer and self._named(piece.answer)
            yield replace(piece, answer=answer, adapter=self._adapter)

    def ask_each(self, request: Completion) -> list[Answer]:
        return [self._named(answer) for answer in self._engine.ask_each(self._plain(request))]

    @property
    def replicas(self) -> Sequence[Replica]:
        """The children, for supervision."""
        return self._engine.replicas

    def _plain(self, request: Completion) -> Completion:
        """The request as the copy takes it; raises `NotFoundError` for any other adapter, and for the base."""
        if request.adapter != self._name:
            raise NotFoundError(
                f"this engine answers as adapter {self._name} only, not as {request.adapter or 'the base'}"
            )
        return replace(request, adapter=None)

    def _named(self, answer: Answer) -> Answer:
        return replace(answer, adapter=self._adapter)
