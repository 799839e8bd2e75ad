"""What the house and its workers say to each other, over a pair of sockets that nobody else can reach.

A message is its length (4 bytes, big-endian) and msgpack of an id, a word and a content. An answer has its question's
id.
"""

import asyncio
import contextlib
import itertools
import struct
from collections.abc import AsyncIterator
from typing import Any, NoReturn, TypeVar

import msgspec

from freehold import errors
from freehold.errors import EngineError, FreeholdError
from freehold.gateway.faults import GatewayError

T = TypeVar("T")
_HEAD = struct.Struct(">I")


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One message; `failed` among the answers says an error."""

    id: int
    word: str
    content: bytes = b""


class Refused(msgspec.Struct, frozen=True):
    """An error on its way: its class, its words, and what a gateway's error has besides."""

    kind: str
    message: str
    status: int = 500
    code: str | None = None
    param: str | None = None
    retry_after_s: int | None = None


FAILED = "failed"
_MESSAGE = msgspec.msgpack.Decoder(Message)
_REFUSED = msgspec.msgpack.Decoder(Refused)


class Wire:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, message: Message) -> None:
        content = msgspec.msgpack.encode(message)
        self._writer.write(_HEAD.pack(len(content)) + content)

    async def messages(self) -> AsyncIterator[Message]:
        """What the other end says, until it is gone."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (size,) = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                yield _MESSAGE.decode(await self._reader.readexactly(size))

    def close(self) -> None:
        self._writer.close()


def refused(error: Exception) -> bytes:
    """An error as a content; one of another kind than ours keeps its words to itself."""
    if isinstance(error, GatewayError):
        said = Refused("", str(error), error.status, error.code, error.param, error.retry_after_s)
    elif isinstance(error, FreeholdError):
        said = Refused(type(error).__name__, str(error))
    else:
        said = Refused(EngineError.__name__, f"the engine failed ({type(error).__name__})")
    return msgspec.msgpack.encode(said)


def error_of(content: bytes) -> FreeholdError:
    """The error that was sent."""
    said = _REFUSED.decode(content)
    if not said.kind:
        return GatewayError(
            said.status, said.message, code=said.code, param=said.param, retry_after_s=said.retry_after_s
        )
    kind = getattr(errors, said.kind, EngineError)
    error: FreeholdError = kind(said.message)
    return error


class Asking:
    """A worker's end: questions and their answers. `gone` is set when the house is."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[Message]] = {}
        self.gone = asyncio.Event()

    def tell(self, word: str, value: Any) -> None:  # noqa: ANN401 (what msgpack can hold)
        """Say something that has no answer."""
        self._wire.send(Message(0, word, msgspec.msgpack.encode(value)))

    async def ask(self, word: str, value: Any, kind: type[T]) -> T:  # noqa: ANN401 (what msgpack can hold)
        """One answer; raises what the house raised."""
        async for content in self.stream(word, value):
            return msgspec.msgpack.decode(content, type=kind)
        _no_house()

    async def stream(self, word: str, value: Any) -> AsyncIterator[bytes]:  # noqa: ANN401 (what msgpack can hold)
        """Every answer, until the word `end`. Leaving early tells the house so."""
        id, answers = next(self._ids), asyncio.Queue[Message]()
        self._waiting[id] = answers
        over = False
        self._wire.send(Message(id, word, msgspec.msgpack.encode(value)))
        try:
            while not over:
                answer = await answers.get()
                over = answer.word in (FAILED, "end")
                if answer.word == FAILED:
                    raise error_of(answer.content)
                if answer.word != "end":
                    yield answer.content
        finally:
            del self._waiting[id]
            if not over:
                self._wire.send(Message(id, "leave"))

    async def listen(self) -> None:
        """Hand answers to who waits for them, until the house is gone."""
        async for message in self._wire.messages():
            if message.id in self._waiting:
                self._waiting[message.id].put_nowait(message)
        self.gone.set()
        for id, answers in self._waiting.items():
            answers.put_nowait(Message(id, FAILED, refused(EngineError("the gateway's main process is gone"))))


def _no_house() -> NoReturn:
    raise EngineError("the gateway's main process is gone")
