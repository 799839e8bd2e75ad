"""What was exported from a workspace: each export's record, so that an adapter's copies can be told and traced."""

import msgspec

from freehold.records import Record, digest
from freehold.store.workspace import Workspace, read_record, write_record

RECORD_FILE = "export.json"
_FOLDER = "exports"


class Export(Record, frozen=True, kw_only=True):
    """One adapter in one format. `files` are SHA-256 by path in `folder`; `parity` is the digest of what allowed it.

    `digest` covers everything but `folder`: the same export elsewhere is the same export.
    """

    digest: str
    task: str
    adapter: str
    base: str
    format: str
    encoding: str | None
    files: dict[str, str]
    parity: str | None = None
    folder: str = ""

    def named(self) -> "Export":
        """The record under its digest."""
        content = {name: value for name, value in msgspec.to_builtins(self).items() if name not in ("digest", "folder")}
        return msgspec.structs.replace(self, digest=digest(content))


def keep(workspace: Workspace, export: Export) -> None:
    """Remember an export; the same one made again takes its own place."""
    write_record(workspace.root / _FOLDER / f"{export.digest}.json", export)


def every(workspace: Workspace) -> list[Export]:
    """Every export of this workspace, by digest."""
    return [read_record(path, Export) for path in sorted((workspace.root / _FOLDER).glob("*.json"))]
