"""The child process in which guardrails' checks run: one request at a time, over its standard input and output.

A frame is its length (4 bytes, big-endian) and msgpack. It ends when its parent does: by the end of its input, or,
where a check hangs, by the kernel's hand (Linux). What checks print goes nowhere: it may hold what they were given.
"""

import os
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from freehold.gateway.checks import Check, Finding, made_of, make, said
from freehold.orphans import end_with_starter

HEAD = struct.Struct(">I")


class Task(msgspec.Struct, frozen=True):
    """A check on a text; without a text the check is only made."""

    id: int
    check: str
    settings: dict[str, str]
    text: str | None = None


class Done(msgspec.Struct, frozen=True):
    """What came of a task; `failed` says why it came to nothing."""

    id: int
    finding: Finding | None = None
    failed: str | None = None


class Bench:
    """The checks that were made so far."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[tuple[str, bytes, float], Check] = {}

    def do(self, task: Task) -> Done:
        try:
            check = self._check(task)
            return Done(task.id, said(check(task.text)) if task.text is not None else None)
        except Exception as error:  # a stranger's code may raise anything
            where = f"{type(error).__name__}: {error}" if task.text is None else type(error).__name__
            return Done(task.id, failed=where)

    def _check(self, task: Task) -> Check:
        known = (task.check, msgspec.msgpack.encode(task.settings), made_of(task.check))
        if known not in self._made:
            self._made[known] = make(self._root, task.check, task.settings)
        return self._made[known]


def main() -> None:
    """Answer until the input ends. The workspace's folder is the only argument."""
    end_with_starter()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    out = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    bench, decoder = Bench(Path(sys.argv[1])), msgspec.msgpack.Decoder(Task)
    while (content := _read(sys.stdin.buffer)) is not None:
        answer = msgspec.msgpack.encode(bench.do(decoder.decode(content)))
        out.write(HEAD.pack(len(answer)) + answer)
        out.flush()


def _read(source: BinaryIO) -> bytes | None:
    head = source.read(HEAD.size)
    return source.read(HEAD.unpack(head)[0]) if len(head) == HEAD.size else None


if __name__ == "__main__":
    main()
