"""Files sealed on disk: what was written comes back, one wrong byte is seen, a torn frame is cut away."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import DataError
from freehold.store.sealed import Vault
from freehold.store.workspace import Workspace


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(Workspace(tmp_path))


def write(vault: Vault, id: str, *contents: bytes) -> Path:
    writer = vault.writer(id)
    for number, content in enumerate(contents):
        writer.append(number, content)
    writer.flush()
    writer.close()
    return vault.path(id)


def test_what_was_written_comes_back_and_no_word_of_it_lies_there(vault: Vault) -> None:
    path = write(vault, "a", b"my pay is short", b"", b"\n")
    assert list(vault.frames("a")) == [(0, b"my pay is short"), (1, b""), (2, b"\n")]
    assert b"pay" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert vault.unseal(vault.seal(b"a name")) == b"a name"
    assert list(vault.frames("absent")) == []
    vault.erase("a")
    vault.erase("a")
    assert list(vault.frames("a")) == []


def test_equal_words_look_different(vault: Vault) -> None:
    one, two = write(vault, "a", b"x" * 64, b"x" * 64), write(vault, "b", b"x" * 64)
    assert len({one.read_bytes()[20:100], one.read_bytes()[120:200], two.read_bytes()[20:100]}) == 3


@pytest.mark.parametrize("at", [4, 9, 25, -1])
def test_one_wrong_byte_is_seen(vault: Vault, at: int) -> None:
    path = write(vault, "a", b"my pay is short")
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        list(vault.frames("a"))


def test_another_files_frame_and_another_workspaces_key_open_nothing(vault: Vault, tmp_path: Path) -> None:
    path = write(vault, "a", b"my pay is short")
    os.replace(path, vault.path("b"))
    with pytest.raises(DataError):
        list(vault.frames("b"))
    write(vault, "a", b"my pay is short")
    (tmp_path / "keys" / "files.key").write_bytes(bytes(32))
    with pytest.raises(DataError, match=r"keys/files.key"):
        list(Vault(Workspace(tmp_path)).frames("a"))


@given(cut=st.integers(1, 60))
def test_a_torn_frame_is_cut_away_and_writing_goes_on(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    vault = Vault(Workspace(tmp_path_factory.mktemp("w")))
    path = write(vault, "a", b"one", b"x" * 50)
    os.truncate(path, path.stat().st_size - cut)
    assert list(vault.frames("a")) == [(0, b"one")]
    writer = vault.writer("a")
    assert (list(writer.numbers), writer.size) == ([0], 3)
    writer.append(7, b"two")
    writer.close()
    assert list(vault.frames("a")) == [(0, b"one"), (7, b"two")]


@given(text=st.binary(max_size=40).map(lambda b: b.replace(b"\x00", b"\n")), size=st.integers(1, 7))
def test_lines_are_cut_at_line_feeds_wherever_frames_end(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, size: int
) -> None:
    vault = Vault(Workspace(tmp_path_factory.mktemp("w")))
    write(vault, "a", *(text[at : at + size] for at in range(0, len(text), size)))
    expected = [line + b"\n" for line in text.split(b"\n")]
    expected[-1] = expected[-1][:-1]
    assert list(vault.lines("a", 100)) == [line for line in expected if line]
    assert list(vault.lines("a", 3)) == [line[:3] for line in expected if line]
