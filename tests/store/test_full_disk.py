"""A full disk is the user's to mend: one sentence, nothing half-written."""

import errno
import os
from pathlib import Path

import pytest

from freehold.errors import ResourceError
from freehold.store import stages
from freehold.store.database import connect
from freehold.store.workspace import write_atomically


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "record.json", b"before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="the disk is full; free some space"):
        write_atomically(tmp_path / "record.json", b"after")
    assert (tmp_path / "record.json").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_store_without_room_says_so(tmp_path: Path) -> None:
    """SQLite's own limit on pages stands for the disk: it reports the same error."""
    store = connect(f"sqlite:///{tmp_path / 'freehold.db'}")
    stages.finish(store, "task", "data", "inputs", "first", 0.0)
    with store.begin() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(ResourceError, match="the disk that holds the store is full"):
            connection.exec_driver_sql("INSERT INTO stages VALUES ('t', 's', 'i', ?, 0, 0)", ("x" * 1_000_000,))
    assert stages.finished(store, "task")["data"].output == "first"
