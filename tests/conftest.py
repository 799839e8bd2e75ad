"""Fixtures that every room's tests share."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.catalogue.pull import pull
from freehold.cli.main import run
from freehold.errors import UserError
from freehold.progress import SILENT
from freehold.records import Base, digest
from freehold.render import TEMPLATE_FILE, TOKENIZER_FILE
from freehold.store.layout import BASE_FILE, WEIGHTS_FILE
from freehold.store.workspace import Workspace, read_record, write_record

# Spinning threads stop all work as soon as another test wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
LAYERS = 2


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test never touches the developer's own workspace."""
    for name in ("FREEHOLD_HOME", "FREEHOLD_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    os.environ.setdefault("COLUMNS", "120")


@pytest.fixture
def freehold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`freehold("plan", "x.yaml")` in a fresh folder; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> int:
        return run([str(argument) for argument in arguments])

    return call


def _pulled(name: str) -> Path:
    """The folder of a real base, pulled once into $FREEHOLD_TEST_MODELS (else ~/.cache/freehold-tests).

    Skips where no source answers. Many test processes may ask at once: one pulls, the others wait.
    """
    root = Path(os.environ.get("FREEHOLD_TEST_MODELS") or Path.home() / ".cache" / "freehold-tests")
    root.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(root)
    with (root / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            pull(name, workspace, SILENT)
        except UserError as error:
            if "no source" in str(error):
                pytest.skip(str(error))
            raise
    return workspace.models / name


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The folder of the real small base."""
    return _pulled("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The folder of the real embedding model."""
    return _pulled("all-minilm-l6-v2")


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> Path:
    """The real small base's weights, a GGUF file."""
    return smollm2_folder / WEIGHTS_FILE


@pytest.fixture(scope="session")
def tiny_base(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base cut from the real one: its own tokenizer and template, its first two layers; every real part, faster."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    for name in (TOKENIZER_FILE, TEMPLATE_FILE):
        shutil.copy(smollm2_folder / name, folder / name)
    _first_layers(smollm2_folder / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    whole = read_record(smollm2_folder / BASE_FILE, Base)
    content = (folder / WEIGHTS_FILE).read_bytes()
    weights = replace(whole.weights, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    write_record(folder / BASE_FILE, replace(whole, digest=digest(weights), weights=weights))
    return folder


def _first_layers(source: Path, target: Path) -> None:
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(source)
    writer = GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value: Any = LAYERS if name == "llama.block_count" else field.contents()
        sub = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], sub)
    for tensor in reader.tensors:
        if not tensor.name.startswith("blk.") or int(tensor.name.split(".")[1]) < LAYERS:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def tiny_workspace(tiny_base: Path, tmp_path: Path) -> Workspace:
    """A workspace in which the small base's place is taken by the tiny one."""
    workspace = Workspace(tmp_path / ".freehold")
    shutil.copytree(tiny_base, workspace.models / "smollm2-135m-instruct")
    return workspace
