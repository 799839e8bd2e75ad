"""The quick reader finds what gguf's own finds."""

from pathlib import Path

import gguf
import pytest

from freehold.engines.gguf_reader import Reader, quick_gguf


def test_fields_and_tensors_are_those_of_ggufs_own_reader(tiny_base: Path) -> None:
    path = tiny_base / "weights.gguf"
    ours, theirs = Reader(path), gguf.GGUFReader(path)
    assert list(ours.fields) == list(theirs.fields)
    for name, field in theirs.fields.items():
        mine = ours.fields[name]
        assert (mine.offset, mine.types, mine.data) == (field.offset, field.types, field.data), name
        assert mine.contents() == field.contents(), name
    assert [each.name for each in ours.tensors] == [each.name for each in theirs.tensors]
    for mine, their in zip(ours.tensors, theirs.tensors, strict=True):
        assert (mine.tensor_type, mine.data_offset) == (their.tensor_type, their.data_offset)
        assert mine.data.tobytes() == their.data.tobytes(), mine.name


@pytest.mark.parametrize("kept", [3, 20, 2_000, 100_000, 1_500_000])
def test_a_file_that_is_cut_is_refused(tiny_base: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((tiny_base / "weights.gguf").read_bytes()[:kept])
    with pytest.raises((ValueError, IndexError, OSError)):
        Reader(cut)


def test_transformers_reads_as_quickly_and_ggufs_own_names_come_back() -> None:
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    with quick_gguf():
        assert gguf.GGUFReader is Reader
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before
