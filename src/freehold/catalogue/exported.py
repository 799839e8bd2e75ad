"""What was exported from this workspace: which folder, of which form, from which adapter, each file by digest.

The folder may be moved or sent away; the record stays, so that the lineage shows what left.
"""

from collections.abc import Sequence
from pathlib import Path

from freehold.records import AdapterManifest, Record, digest
from freehold.store.workspace import Workspace, file_sha256, read_record, write_record


class Export(Record, frozen=True, kw_only=True):
    """One folder as it was written. `files`: SHA-256 by path; `form`: in words, such as "a merged model, GGUF Q4_0"."""

    digest: str
    task: str
    base: str
    adapter: str
    form: str
    files: dict[str, str]
    folder: str


def keep(folder: Path, manifest: AdapterManifest, form: str, beside: Sequence[str], workspace: Workspace) -> Export:
    """Put a finished folder on record; the files named `beside` describe it and are no part of its identity."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in beside]
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
    export = Export(
        digest=digest([manifest.digest, form, files]),
        task=manifest.task,
        base=manifest.base,
        adapter=manifest.digest,
        form=form,
        files=files,
        folder=str(folder.resolve()),
    )
    write_record(_folder(workspace) / f"{export.digest}.json", export)
    return export


def all_of(workspace: Workspace) -> list[Export]:
    """Every export on record."""
    return [read_record(path, Export) for path in sorted(_folder(workspace).glob("*.json"))]


def _folder(workspace: Workspace) -> Path:
    return workspace.root / "exports"
