"""`freehold export`: a tuned model in a format that another server reads, in a folder that may leave the company.

Beside the model lie what a stranger needs to use it rightly: prompt.json (the prompt that it was trained with), NOTICE
and MODEL_CARD.md (what its licences ask), README.md (how it is run), export.json (every file's digest, written last).
The folder appears whole or not at all.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from freehold.catalogue import card, model, pull
from freehold.engines.merge import merge
from freehold.engines.quantise import Encoding
from freehold.errors import NotFoundError, UserError, did_you_mean
from freehold.progress import Progress
from freehold.records import AdapterManifest, Base
from freehold.render import Prompt, Renderer
from freehold.store import exports
from freehold.store.exports import Export
from freehold.store.layout import ADAPTER_GGUF, BASE_FILE, MANIFEST_FILE
from freehold.store.taints import require_clean
from freehold.store.workspace import Workspace, file_sha256, read_record, write_atomically, write_record
from freehold.tuning.adapter import read_adapter
from freehold.tuning.hub_folder import write_hub_folder
from freehold.tuning.lora import ADAPTER_FILE, CONFIG_FILE
from freehold.tuning.modelfile import modelfile

_TEMPLATE = "chat_template.jinja"
_PROMPT = "prompt.json"
_CONTEXT = 2048  # what an answer may need at most, as the gateway serves it


@dataclass(frozen=True)
class Order:
    """What is exported: an adapter on its base, in one of `FORMATS`. `parity` names what allowed the encoding."""

    adapter: str
    format: str
    encoding: Encoding = "F16"
    parity: str | None = None


@dataclass(frozen=True)
class _Goods:
    """What a format's writer works with."""

    manifest: AdapterManifest
    base: Base
    workspace: Workspace
    encoding: Encoding

    @property
    def adapter_folder(self) -> Path:
        return self.workspace.adapters / self.manifest.digest

    @property
    def base_folder(self) -> Path:
        return self.workspace.models / self.base.name

    @property
    def prompt(self) -> Prompt:
        return msgspec.convert(self.manifest.render, Prompt)

    def merged(self, target: Path, encoding: Encoding) -> None:
        merge(self.base_folder / self.base.weights.name, self.adapter_folder / ADAPTER_GGUF, target, encoding)


class Format(NamedTuple):
    """A format: what it is, how it is run, whether `encoding` matters, and what writes it."""

    what: str
    run: str
    encoded: bool
    write: Callable[[_Goods, Path], None]


def adapters_of(workspace: Workspace, name: str) -> list[AdapterManifest]:
    """Finished adapters that a task's name or the beginning of a digest means, newest first; raises `NotFoundError`."""
    paths = sorted(workspace.adapters.glob(f"*/{MANIFEST_FILE}"), key=lambda path: -path.stat().st_mtime)
    every = [read_record(path, AdapterManifest) for path in paths]
    found = [each for each in every if each.task == name] or [
        each for each in every if len(name) >= 6 and each.digest.startswith(name)
    ]
    if not found:
        near = did_you_mean(name, {each.task for each in every})
        raise NotFoundError(f"{name}: no adapter of such a task or digest here{near}; `freehold run` makes one")
    return found


def format_of(name: str) -> Format:
    """A format by name; raises `NotFoundError`."""
    if name not in FORMATS:
        raise NotFoundError(f"{name}: no such format{did_you_mean(name, FORMATS)}; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def export(order: Order, workspace: Workspace, target: Path, progress: Progress) -> Export:
    """Write the folder `target`, and remember it; returns its record.

    Raises `UserError` where `target` exists, `ModelFileError` where adapter or base are not those that were recorded,
    `RefusedError` where the adapter learned from what was forgotten since.
    """
    wanted = format_of(order.format)
    if target.exists():
        raise UserError(f"{target}: exists already; name another folder with --to, or delete it")
    goods = _goods(order, workspace, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with progress.step(f"export {order.format}"):
            wanted.write(goods, work)
        _papers(goods, wanted, work)
        record = _record(order, goods, work, target)
        write_record(work / exports.RECORD_FILE, record)
        work.chmod(0o755)
        work.rename(target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    exports.keep(workspace, record)
    return record


def _goods(order: Order, workspace: Workspace, progress: Progress) -> _Goods:
    require_clean(workspace, order.adapter)
    manifest = read_record(workspace.adapters / order.adapter / MANIFEST_FILE, AdapterManifest)
    if not (workspace.models / manifest.base / BASE_FILE).is_file():
        raise NotFoundError(f"{manifest.base} is not on this disk; `freehold pull {manifest.base}` fetches it")
    base = pull.verified(workspace.models / manifest.base, progress)
    return _Goods(read_adapter(workspace, order.adapter, base), base, workspace, order.encoding)


def _papers(goods: _Goods, wanted: Format, folder: Path) -> None:
    """What lies beside the model; NOTICE and card know the use that the adapter was tuned for."""
    card.write_beside(folder, goods.manifest, wanted.what, goods.workspace)
    write_atomically(folder / _PROMPT, msgspec.json.format(msgspec.json.encode(goods.manifest.render)))
    write_atomically(folder / "README.md", _readme(goods, wanted).encode())


def _readme(goods: _Goods, wanted: Format) -> str:
    manifest = goods.manifest
    run = wanted.run.format(task=manifest.task, base=goods.base.name)
    return (
        f"# {manifest.task}\n\n{wanted.what.capitalize()}, made with Freehold from {manifest.base}"
        f" (adapter {manifest.digest[:12]}).\n\n```console\n{run}\n```\n\n"
        f"It was trained with the messages in `{_PROMPT}`: send its system message, and its examples as turns, before "
        "each request, and decode greedily (temperature 0). Where an answer must be one of a few labels, hold the "
        "server to them with its own structured output; outside Freehold nothing else does.\n\n"
        f"What the licences ask stands in `{card.NOTICE_FILE}`, where it came from in `{card.CARD_FILE}`, and every "
        f"file's SHA-256 in `{exports.RECORD_FILE}`.\n"
    )


def _record(order: Order, goods: _Goods, work: Path, target: Path) -> Export:
    paths = sorted(path for path in work.rglob("*") if path.is_file())
    return Export(
        digest="",
        task=goods.manifest.task,
        adapter=goods.manifest.digest,
        base=goods.base.name,
        format=order.format,
        encoding=order.encoding if format_of(order.format).encoded else None,
        files={path.relative_to(work).as_posix(): file_sha256(path) for path in paths},
        parity=order.parity,
        folder=str(target.resolve()),
    ).named()


def _peft(goods: _Goods, folder: Path) -> None:
    """PEFT's own files; the base is named as the hub knows it, where it does."""
    shutil.copyfile(goods.adapter_folder / ADAPTER_FILE, folder / ADAPTER_FILE)
    config = msgspec.json.decode((goods.adapter_folder / CONFIG_FILE).read_bytes())
    config["base_model_name_or_path"] = model.find(goods.base.name, goods.workspace).hub or goods.base.name
    write_atomically(folder / CONFIG_FILE, msgspec.json.format(msgspec.json.encode(config)))
    _template(goods, folder)


def _gguf_adapter(goods: _Goods, folder: Path) -> None:
    shutil.copyfile(goods.adapter_folder / ADAPTER_GGUF, folder / ADAPTER_GGUF)
    _template(goods, folder)


def _llama_cpp(goods: _Goods, folder: Path) -> None:
    goods.merged(folder / "model.gguf", goods.encoding)
    _template(goods, folder)


def _ollama(goods: _Goods, folder: Path) -> None:
    goods.merged(folder / "model.gguf", goods.encoding)
    context = min(_CONTEXT, goods.base.context_length)
    template = Renderer(goods.base_folder).template
    write_atomically(folder / "Modelfile", modelfile("model.gguf", template, goods.prompt, context).encode())


def _vllm(goods: _Goods, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".merged.") as between:
        goods.merged(Path(between) / "merged.gguf", "F16")
        write_hub_folder(Path(between) / "merged.gguf", goods.base_folder, folder)


def _template(goods: _Goods, folder: Path) -> None:
    write_atomically(folder / _TEMPLATE, Renderer(goods.base_folder).template.source.encode())


FORMATS: dict[str, Format] = {
    "peft": Format(
        "an adapter in PEFT's safetensors",
        "python -c 'from peft import AutoPeftModelForCausalLM as M; M.from_pretrained(\".\")'",
        False,
        _peft,
    ),
    "gguf-adapter": Format(
        "an adapter in llama.cpp's GGUF",
        f"llama-server -m {{base}}.gguf --lora {ADAPTER_GGUF} --jinja --chat-template-file {_TEMPLATE}",
        False,
        _gguf_adapter,
    ),
    "llama.cpp": Format(
        "a merged model in GGUF",
        f"llama-server -m model.gguf --jinja --chat-template-file {_TEMPLATE}",
        True,
        _llama_cpp,
    ),
    "ollama": Format(
        "a merged model in GGUF with its Modelfile",
        'ollama create {task} -f Modelfile\nollama run {task} "…"',
        True,
        _ollama,
    ),
    "vllm": Format(
        "a merged model in safetensors",
        "vllm serve . --served-model-name {task}",
        False,
        _vllm,
    ),
}
