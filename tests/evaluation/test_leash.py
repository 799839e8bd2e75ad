"""A stranger's program: limited, alone, and held to its folder, each tried by a program that wants out."""

import os
import socket
from pathlib import Path

import pytest

from freehold.evaluation.scorers import leash

OPEN = leash.holes()


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leash, "_SECONDS", 1)
    monkeypatch.setenv("SECRET", "x")
    assert not leash.runs("while True: pass")
    assert not leash.runs("block = bytearray(4 * 1024**3)")
    assert not leash.runs("open('big', 'wb').write(bytes(64 * 1024**2))")
    assert leash.runs("import os\nassert 'SECRET' not in os.environ")


@pytest.mark.skipif("files outside its folder" in OPEN, reason="this kernel has no Landlock")
def test_it_writes_in_its_own_folder_only(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    for attempt in (
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"open({str(kept)!r}, 'a').write('x')",
        f"import os; os.truncate({str(kept)!r}, 0)",
        f"import os; os.remove({str(kept)!r})",
        f"import os; os.mkdir({str(tmp_path / 'folder')!r})",
        f"import os; open('mine', 'w').close(); os.rename('mine', {str(tmp_path / 'moved')!r})",
    ):
        assert not leash.runs(attempt), attempt
    assert os.listdir(tmp_path) == ["kept"] and kept.read_text() == "mine"
    assert leash.runs(
        "import os\nos.mkdir('d'); open('d/x', 'w').write('x'); os.rename('d/x', 'd/y'); os.remove('d/y')"
    )
    assert leash.runs("import subprocess, sys; subprocess.run([sys.executable, '-c', ''], stdout=-3, check=True)")


@pytest.mark.skipif("the network" in OPEN, reason="this kernel gives no name space to this user")
def test_it_reaches_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        assert not leash.runs(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)")
    assert not leash.runs("import os\nos.kill(os.getppid(), 0)"), "nor the process that started it"


def test_no_descriptor_is_left_behind() -> None:
    leash.runs("pass")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        leash.runs("pass")
    assert len(os.listdir("/proc/self/fd")) == before
