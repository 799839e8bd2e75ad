"""What is wrong with this machine or workspace, and how to mend each finding."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from freehold.errors import FreeholdError
from freehold.records import Base, Record
from freehold.store.database import connect
from freehold.store.workspace import Workspace, read_record

GOOD, WARNING, FAULT = "good", "warning", "fault"
_MEMORY_GB = 3.0
_DISK_GB = 2.0
_PORT = 8400
_PACKAGES = ("xllamacpp", "torch", "transformers", "sklearn", "uvicorn")


class Finding(Record, frozen=True, kw_only=True):
    """One thing that was looked at: `level` is `good`, `warning` or `fault`; `mend` says what to do about it."""

    what: str
    level: str
    detail: str
    mend: str = ""


def examine(workspace: Workspace) -> list[Finding]:
    """Look at everything; a check that itself fails is a fault, never a traceback."""
    findings: list[Finding] = []
    checks: list[Callable[[Workspace], Iterator[Finding]]] = [
        _python, _processor, _memory, _disk, _packages, _port, _store, _bases, _adapters,
    ]  # fmt: skip
    for check in checks:
        try:
            findings += check(workspace)
        except (FreeholdError, OSError) as error:
            what = check.__name__.strip("_")
            findings.append(Finding(what=what, level=FAULT, detail=str(error), mend="see the sentence above"))
    return findings


def _python(_: Workspace) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(what="python", level=GOOD, detail=version)


def _processor(_: Workspace) -> Iterator[Finding]:
    from freehold.tuning.base import device, precision

    on = device()
    cores = os.cpu_count() or 1
    exact = str(precision(on)).removeprefix("torch.")
    if exact == "bfloat16":
        yield Finding(what="processor", level=GOOD, detail=f"{cores} cores, tunes on {on} in {exact}")
    else:
        yield Finding(
            what="processor",
            level=WARNING,
            detail=f"{cores} cores, tunes on {on} in {exact}",
            mend="tuning is several times slower without bf16 arithmetic; use a machine that has it for large bases",
        )


def _memory(_: Workspace) -> Iterator[Finding]:
    import psutil

    free = psutil.virtual_memory().available / 1e9
    enough = free >= _MEMORY_GB
    mend = (
        "" if enough else f"tuning a 135M base takes up to {_MEMORY_GB:.0f} GB; stop something or use a larger machine"
    )
    yield Finding(what="memory", level=GOOD if enough else WARNING, detail=f"{free:.1f} GB free", mend=mend)


def _disk(workspace: Workspace) -> Iterator[Finding]:
    folder = workspace.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    enough = free >= _DISK_GB
    mend = "" if enough else f"free at least {_DISK_GB:.0f} GB on the disk of {folder}"
    yield Finding(what="disk", level=GOOD if enough else FAULT, detail=f"{free:.1f} GB free", mend=mend)
    if not os.access(folder, os.W_OK):
        yield Finding(
            what="disk", level=FAULT, detail=f"{folder} is read-only", mend="set FREEHOLD_HOME to a folder of yours"
        )


def _packages(_: Workspace) -> Iterator[Finding]:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        yield Finding(
            what="packages", level=FAULT, detail=f"missing: {names}", mend="install again with: pip install ."
        )
    else:
        yield Finding(what="packages", level=GOOD, detail=", ".join(_PACKAGES))


def _port(_: Workspace) -> Iterator[Finding]:
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", _PORT)) == 0
    mend = "a gateway may be running already; another port: freehold serve --port 8401" if taken else ""
    detail = f"{_PORT} is {'in use' if taken else 'free'}"
    yield Finding(what="port", level=WARNING if taken else GOOD, detail=detail, mend=mend)


def _store(workspace: Workspace) -> Iterator[Finding]:
    if not workspace.root.is_dir():
        yield Finding(what="store", level=GOOD, detail=f"no workspace yet at {workspace.root}")
        return
    connect(workspace.database_url).dispose()
    yield Finding(what="store", level=GOOD, detail=f"opens at the newest schema: {workspace.root}")


def _bases(workspace: Workspace) -> Iterator[Finding]:
    from freehold.catalogue.pull import verified
    from freehold.progress import SILENT

    for folder in sorted(path.parent for path in workspace.models.glob("*/base.json")):
        try:
            base = verified(folder, SILENT)
            yield Finding(what="base", level=GOOD, detail=f"{base.name}: digest verified")
        except FreeholdError as error:
            mend = f"fetch it anew: freehold pull {folder.name} --again"
            yield Finding(what="base", level=FAULT, detail=str(error), mend=mend)


def _adapters(workspace: Workspace) -> Iterator[Finding]:
    from freehold.records import AdapterManifest
    from freehold.store.layout import BASE_FILE, MANIFEST_FILE
    from freehold.tuning.adapter import read_adapter

    for path in sorted(workspace.adapters.glob(f"*/{MANIFEST_FILE}")):
        try:
            manifest = read_record(path, AdapterManifest)
            base = read_record(workspace.models / manifest.base / BASE_FILE, Base)
            read_adapter(workspace, path.parent.name, base)
            yield Finding(
                what="adapter", level=GOOD, detail=f"{path.parent.name[:12]} on {manifest.base}: digest verified"
            )
        except FreeholdError as error:
            mend = f"delete {path.parent} and run `freehold run` again"
            yield Finding(what="adapter", level=FAULT, detail=str(error), mend=mend)
