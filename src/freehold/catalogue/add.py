"""Own models: a local file or a hub id, kept in the workspace with the same record as the models that ship."""

from pathlib import Path
from typing import Literal

import msgspec

from freehold.catalogue import inspect, model, sources
from freehold.catalogue.inspect import Inspection
from freehold.catalogue.model import Fact, HubSource, LocalSource, Model, ModelFile
from freehold.errors import ModelFileError, UserError
from freehold.records import Record
from freehold.store.layout import WEIGHTS_FILE
from freehold.store.workspace import Workspace, file_sha256, write_record

_WISHED = ("country", "release_month", "parameters", "architecture", "context_length", "languages", "base")


class Statement(Record, frozen=True, kw_only=True):
    """What the user states of a model, and where that can be read."""

    name: str
    licence: str
    organisation: str
    source: str
    base: str | None = None
    kind: Literal["chat", "base", "embedding", "other"] = "chat"


def from_file(stated: Statement, path: Path, workspace: Workspace) -> Model:
    """Add a local GGUF: what its header says needs no statement. Raises `ModelFileError`, `UserError`."""
    found = inspect.inspect(path)
    if found.format != "GGUF":
        raise ModelFileError(f"{path}: is {found.format}; a base is added as GGUF, which `freehold` can serve and tune")
    file = ModelFile(
        name=WEIGHTS_FILE, sha256=file_sha256(path), size=found.size, sources=(LocalSource(path=str(path.resolve())),)
    )
    return _keep(_entry(stated, file, found), workspace)


def from_hub(stated: Statement, repository: str, path: str, workspace: Workspace) -> Model:
    """Add a hub's GGUF by the digest and revision that the hub names now; raises `UserError` where it is silent."""
    from huggingface_hub import HfApi

    revision = sources.hub_revision(repository)
    try:
        info = HfApi().get_paths_info(repository, [path], revision=revision)
    except sources.hub_errors() as error:
        raise UserError(f"{repository}: the hub does not say what {path} is ({error})") from None
    if not info or getattr(info[0], "lfs", None) is None:
        raise UserError(f"{repository} has no weights file {path}; name a .gguf file of it")
    source = HubSource(repository=repository, path=path, revision=revision)
    file = ModelFile(name=WEIGHTS_FILE, sha256=info[0].lfs.sha256, size=info[0].size, sources=(source,))
    return _keep(_entry(stated, file, None), workspace)


def missing(entry: Model) -> tuple[str, ...]:
    """Facts that a complete record would hold and this one does not."""
    return tuple(field for field in _WISHED if getattr(entry, field) is None)


def _entry(stated: Statement, file: ModelFile, found: Inspection | None) -> Model:
    header = f"header of {file.sources[0].name}"
    entry = Model(
        name=stated.name,
        title=stated.name,
        kind=stated.kind,
        organisation=Fact(value=stated.organisation, source=stated.source, verified=False),
        licence=Fact(value=stated.licence, source=stated.source, verified=False),
        base=Fact(value=stated.base, source=stated.source, verified=False) if stated.base else None,
        files=(file,),
    )
    if found is None:
        return entry
    context = found.context_length
    return msgspec.structs.replace(
        entry,
        parameters=Fact(value=found.parameters, source=header),
        architecture=Fact(value=found.architecture, source=header),
        context_length=Fact(value=context, source=header) if context else None,
    )


def _keep(entry: Model, workspace: Workspace) -> Model:
    import re

    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", entry.name):
        raise UserError(f"{entry.name}: a model's name is lower-case letters, digits, dots and dashes")
    if entry.name in model.built_in():
        raise UserError(f"{entry.name}: the catalogue has a model of that name; choose another")
    write_record(model.own_folder(workspace) / f"{entry.name}.json", entry)
    return entry
