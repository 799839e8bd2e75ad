"""A PostgreSQL server of our own, where its programs are installed; it may be stopped and started again."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NO_SERVER = "no PostgreSQL server is installed (apt-get install postgresql)"


class PostgresServer:
    """On a Unix socket in a folder of its own, below /tmp: a socket's path may be 107 bytes long."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="freehold-pg-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._data = self.folder / "data"
        self._run("initdb", "-D", self._data, "-U", "freehold", "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self._run("pg_ctl", "-D", self._data, "-l", self.folder / "log", "-o", options, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str | Path) -> None:
        """As anybody but root, whom PostgreSQL refuses."""
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        words = [*prefix, str(self._programs / program), *map(str, arguments)]
        subprocess.run(words, check=True, capture_output=True, cwd="/", timeout=120)


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, which Debian keeps off the PATH; None where there is none."""
    on_path = shutil.which("initdb")
    found = [Path(on_path)] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None
