"""JSONL files in a form of our own."""

from pathlib import Path

import msgspec
import pytest

from freehold.data import typed_lines
from freehold.errors import DataError


class Pair(msgspec.Struct):
    ask: str
    say: str


def test_each_record_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"ask": "a", "say": "b"}\n\n{"ask": "c", "say": "d"}\n')
    assert typed_lines.read(path, Pair, "pairs") == [(f"{path}:1", Pair("a", "b")), (f"{path}:3", Pair("c", "d"))]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file; pairs are JSONL, a line is {ask, say}"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"\n \n", "holds no pairs"),
        (b'{"ask": "a", "say": "b"}\n{"ask": 1, "say": "b"}\n', r":2: Expected `str`, got `int`"),
        (b'{"ask": "a"}\n', ":1: Object missing required field `say`"),
        (b"ask,say\n", ":1: JSON is malformed"),
    ],
)
def test_a_file_that_is_none_says_what_and_where(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        typed_lines.read(path, Pair, "pairs")
    assert str(refused.value).startswith(str(path)) and said in str(refused.value)
