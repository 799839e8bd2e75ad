"""`freehold pull`: a base's exact files, checked by digest, into `models/<name>/` of the workspace.

    weights.gguf      the weights (or the publisher's own file names, for a base that is not a GGUF)
    tokenizer.json    made once from the GGUF
    template.json     the chat template (`render.ChatTemplate`); none for an embedding model
    base.json         `records.Base`, written last

The folder appears whole or not at all. What a cut pull had fetched is kept beside it and used by the next one.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from freehold.catalogue import gguf_file, lock, model, safetensors_file, sources, tokenizer
from freehold.catalogue.lock import LockedFile
from freehold.catalogue.model import Model, ModelFile, Source
from freehold.errors import ModelFileError, UserError
from freehold.progress import Progress, Step
from freehold.records import Base, BaseFile, digest
from freehold.render import TEMPLATE_FILE, TOKENIZER_FILE
from freehold.store.layout import BASE_FILE, WEIGHTS_FILE
from freehold.store.workspace import Workspace, atomic_file, file_sha256, read_record, write_record


def pull(name: str, workspace: Workspace, progress: Progress) -> Base:
    """A base, fetched unless it is here already.

    Raises `NotFoundError` for an unknown name, `ModelFileError` for a file that is not the recorded one, `UserError`
    where no source answers, `ResourceError` on a full disk.
    """
    found = model.find(name, workspace)
    folder = workspace.models / found.name
    if (folder / BASE_FILE).exists():
        return verified(folder, progress)
    if not found.files:
        where = f"; its publisher's repository is {found.hub}" if found.hub else ""
        raise UserError(
            f"{found.name}: the catalogue knows no file of it by digest{where}; {_pullable()} can be pulled"
        )
    with workspace.exclusively(f"pull-{found.name}"):
        return _fetch(found, workspace, progress)


def again(name: str, workspace: Workspace, progress: Progress) -> Base:
    """Delete a base's folder and fetch it anew, such as after a file of it was changed."""
    shutil.rmtree(workspace.models / model.find(name, workspace).name, ignore_errors=True)
    return pull(name, workspace, progress)


def verified(folder: Path, progress: Progress) -> Base:
    """A base that lies here, its weights checked against the recorded digest; raises `ModelFileError`."""
    base = read_record(folder / BASE_FILE, Base)
    path = folder / base.weights.name
    with progress.step(f"verify {base.name}", base.weights.size) as step:
        found = _sha256(path, step.advance) if path.exists() else "nothing"
    if found != base.weights.sha256:
        raise ModelFileError(
            f"{path}: is not the file that was pulled (digest {found[:12]}, recorded {base.weights.sha256[:12]}); "
            f"`freehold pull {base.name} --again` fetches it anew"
        )
    return base


def _fetch(found: Model, workspace: Workspace, progress: Progress) -> Base:
    partial = workspace.models / f".{found.name}.partial"
    ready = partial / "ready"
    ready.mkdir(parents=True, exist_ok=True)
    for unfinished in ready.rglob(".*.part"):  # of a pull that was killed
        unfinished.unlink()
    locked = {file.name: file for file in lock.read(workspace.lock_file).bases.get(found.name, ())}
    with progress.step(f"pull {found.name}", _total(found, partial)) as step:
        files = tuple(_file(file, locked.get(file.name), partial, step) for file in found.files)
    with progress.step(f"prepare {found.name}"):
        base = _prepare(found, ready, files[0])
    write_record(ready / BASE_FILE, base)
    lock.record(workspace.lock_file, found.name, files)
    ready.rename(workspace.models / found.name)
    shutil.rmtree(partial, ignore_errors=True)
    return base


def _total(found: Model, partial: Path) -> int:
    """Bytes to transfer and to write, should the first source of each file answer."""
    wheels: dict[str, int] = {}
    for file in found.files:
        wheels |= sources.download_bytes(file.sources[0], partial)
    return sum(wheels.values()) + sum(file.size for file in found.files)


def _file(file: ModelFile, locked: LockedFile | None, partial: Path, step: Step) -> LockedFile:
    """One file, from the source that the lock names or else the first that answers."""
    wanted = (locked.source,) if locked else file.sources
    if locked and locked.sha256 != file.sha256:
        raise ModelFileError(
            f"freehold.lock names {file.name} by digest {locked.sha256[:12]}, the catalogue by {file.sha256[:12]}; "
            "delete its lines from freehold.lock to take the catalogue's"
        )
    silent: list[str] = []
    for source in wanted:
        try:
            _write(file, source, partial / "ready", step)
            return LockedFile(name=file.name, sha256=file.sha256, size=file.size, source=source)
        except sources.UnreachableError as error:
            silent.append(str(error))
    raise UserError(f"no source of {file.name} answered: {'; '.join(silent)}")


def _write(file: ModelFile, source: Source, ready: Path, step: Step) -> None:
    """Copy a source's file into place; refused before it appears if its length or digest differs."""
    target = ready / file.name
    if target.exists() and file_sha256(target) == file.sha256:
        step.advance(file.size)
        return
    with atomic_file(target) as handle:
        sha256, length = hashlib.sha256(), 0
        for block in sources.blocks(source, ready.parent, step.advance):
            length += len(block)
            if length > file.size:
                raise _not_the_file(file, source, f"more than {file.size} bytes")
            sha256.update(block)
            handle.write(block)
            step.advance(len(block))
        if length != file.size:
            raise _not_the_file(file, source, f"{length} bytes instead of {file.size}")
        if sha256.hexdigest() != file.sha256:
            raise _not_the_file(file, source, f"digest {sha256.hexdigest()[:12]} instead of {file.sha256[:12]}")


def _not_the_file(file: ModelFile, source: Source, what: str) -> ModelFileError:
    return ModelFileError(f"{source.name} gave a {file.name} that is not the catalogue's: {what}; nothing was kept")


def _prepare(found: Model, folder: Path, weights: LockedFile) -> Base:
    """Make tokenizer and template where the weights are a GGUF, and describe the base by what its files say."""
    facts = (
        _from_gguf(found, folder) if weights.name == WEIGHTS_FILE else _from_safetensors(found, folder, weights.name)
    )
    architecture, parameters, context, template_digest = facts
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
    return Base(
        name=found.name,
        digest=digest(files),
        architecture=architecture,
        parameters=parameters,
        context_length=context,
        licence=found.licence.value,
        weights=BaseFile(name=weights.name, sha256=weights.sha256, size=weights.size, source=weights.source.name),
        template_digest=template_digest,
    )


def _from_gguf(found: Model, folder: Path) -> tuple[str, int, int, str]:
    header = gguf_file.read(folder / WEIGHTS_FILE)
    own = found.template.value if found.template else None
    template = tokenizer.template(header, own, found.end_of_turn)
    with atomic_file(folder / TOKENIZER_FILE) as handle:
        handle.write(tokenizer.build(header).to_str().encode())
    write_record(folder / TEMPLATE_FILE, template)
    return header.architecture, header.parameters, header.number("context_length") or 0, template.digest


def _from_safetensors(found: Model, folder: Path, weights: str) -> tuple[str, int, int, str]:
    header = safetensors_file.read(folder / weights)
    config = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, object])
    context = config.get("max_position_embeddings")
    architecture = str(config.get("model_type", "unknown"))
    return architecture, header.parameters, context if isinstance(context, int) else 0, ""


def _sha256(path: Path, advance: Callable[[int], None]) -> str:
    sha256 = hashlib.sha256()
    for block in sources.read(path):
        sha256.update(block)
        advance(len(block))
    return sha256.hexdigest()


def _pullable() -> str:
    return ", ".join(name for name, each in model.built_in().items() if each.files)
