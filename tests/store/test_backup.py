"""A backup is whole or refused, on either store, also while it is being written to."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.errors import DataError, UserError
from freehold.progress import SILENT
from freehold.store import backup, deployments, exchanges
from freehold.store.database import connect
from freehold.store.deployments import ClassifierTarget, Deployment
from freehold.store.exchanges import Entry, Exchange
from freehold.store.workspace import Workspace, write_atomically


def exchange(number: int) -> Entry:
    fields = {"endpoint": "chat", "model": "m", "answered_by": "up", "request": f"said {number}"}
    return Entry(Exchange(id=f"x{number}", at=number, **fields), ())


@pytest.fixture
def workspace(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with something of everything."""
    monkeypatch.setenv("FREEHOLD_DATABASE", store_url)
    made = Workspace(tmp_path / "one" / ".freehold")
    for name in ("datasets/d/examples.jsonl", "models/b/weights.gguf", "journal/1.journal", "keys/subject.key"):
        write_atomically(made.root / name, name.encode() * 1000)
    write_atomically(made.root / "logs" / "gateway.log", b"noise")
    store = connect(store_url)
    exchanges.record(store, [exchange(number) for number in range(20)])
    deployments.deploy(store, Deployment(name="t", target=ClassifierTarget(digest="c", folder="f")), "first")
    store.dispose()
    return made


def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("FREEHOLD_DATABASE", "")
    return Workspace(tmp_path / "two" / ".freehold")


def test_what_was_backed_up_comes_back(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "b.tar"
    made = backup.backup(workspace, file, True, SILENT)
    other = empty_place(tmp_path, monkeypatch)
    assert backup.restore(file, other, SILENT) == made
    for path in ("datasets/d/examples.jsonl", "models/b/weights.gguf", "journal/1.journal", "keys/subject.key"):
        assert (other.root / path).read_bytes() == (workspace.root / path).read_bytes()
        assert (other.root / path).stat().st_mode & 0o077 == 0
    assert not (other.root / "logs").exists() and not list(other.root.parent.glob(".restoring*"))
    store = connect(other.database_url)
    assert exchanges.count(store) == 20 and deployments.current(store, "t").target == ClassifierTarget(
        digest="c", folder="f"
    )
    assert deployments.deploy(store, deployments.current(store, "t"), "goes on counting") == 2
    store.dispose()
    assert [each.digest for each in backup.listed(workspace)] == [made.digest]


def test_a_backup_goes_into_postgresql_and_its_counters_go_on(
    workspace: Workspace, tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, postgres: Path
) -> None:
    import psycopg

    file = tmp_path / "b.tar"
    backup.backup(workspace, file, False, SILENT)
    name = f"restored_{abs(hash(store_url)) % 10**9}"
    with psycopg.connect(host=str(postgres), user="freehold", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    monkeypatch.setenv("FREEHOLD_DATABASE", f"postgresql://freehold@/{name}?host={postgres}")
    other = Workspace(tmp_path / "two" / ".freehold")
    backup.restore(file, other, SILENT)
    assert not (other.root / "models").exists() and not (other.root / "freehold.db").exists()
    store = connect(other.database_url)
    assert exchanges.count(store) == 20
    assert deployments.deploy(store, deployments.current(store, "t"), "goes on counting") == 2
    store.dispose()
    with pytest.raises(UserError, match="holds rows already"):
        backup.restore(file, Workspace(tmp_path / "three" / ".freehold"), SILENT)
    assert not (tmp_path / "three" / ".freehold").exists()


def test_while_it_is_written_to_a_backup_is_one_moment(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, written = threading.Event(), []

    def serving() -> None:
        store = connect(url)
        while not stop.is_set():
            number = 100 + 2 * len(written)
            exchanges.record(store, [exchange(number), exchange(number + 1)])
            written.append(number)
        store.dispose()

    url = workspace.database_url
    thread = threading.Thread(target=serving)
    thread.start()
    while len(written) < 5:
        stop.wait(0.01)
    before = len(written)
    backup.backup(workspace, tmp_path / "b.tar", True, SILENT)
    after = len(written) + 1
    stop.set()
    thread.join()
    other = empty_place(tmp_path, monkeypatch)
    backup.restore(tmp_path / "b.tar", other, SILENT)
    store = connect(other.database_url)
    kept = exchanges.count(store) - 20
    store.dispose()
    assert kept % 2 == 0 and before <= kept // 2 <= after


@pytest.mark.parametrize("harm", ["flip", "cut", "extra", "no tar"])
def test_a_harmed_backup_is_refused_and_leaves_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    file = tmp_path / "b.tar"
    backup.backup(workspace, file, True, SILENT)
    content = bytearray(file.read_bytes())
    if harm == "flip":
        content[content.index(b"models/b/weights.ggufmodels") + 30] ^= 1
    if harm == "cut":
        content = content[: len(content) // 2 // 512 * 512]
    if harm == "extra":
        content[content.index(b"keys/subject.key") : content.index(b"keys/subject.key") + 16] = b"../s/subject.key"
    file.write_bytes(b"x" * 4096 if harm == "no tar" else content)
    other = empty_place(tmp_path, monkeypatch)
    with pytest.raises(DataError, match=r"b\.tar: "):
        backup.restore(file, other, SILENT)
    assert not other.root.exists() and not list(other.root.parent.glob(".restoring*"))


def test_the_commands(freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("backup", "b.tar") == 2 and "there is no workspace here" in capsys.readouterr().err
    workspace = Workspace(tmp_path / ".freehold")
    write_atomically(workspace.root / "keys" / "k", b"x")
    assert freehold("backup", "b.tar", "--no-models", "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"] == 2
    assert freehold("backup", "b.tar") == 2 and "exists already" in capsys.readouterr().err
    assert freehold("restore", "b.tar") == 2 and "holds a workspace already" in capsys.readouterr().err
    assert freehold("restore", "gone.tar") == 2
    workspace.root.rename(tmp_path / "old")
    assert freehold("restore", "b.tar") == 0 and "digests verified" in capsys.readouterr().out
    assert (workspace.root / "keys" / "k").read_bytes() == b"x"
