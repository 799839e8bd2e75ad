"""What a model file says about itself, and where the catalogue says otherwise. The file is read, never executed."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from freehold.catalogue import gguf_file, safetensors_file
from freehold.catalogue.gguf_file import GgufFile
from freehold.catalogue.model import Model
from freehold.errors import ModelFileError
from freehold.records import Record, digest

_FORMATS = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K",
            12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 30: "BF16"}  # fmt: skip
_LARGEST_SIDE_FILE = 64 * 1024 * 1024  # bytes


class Inspection(Record, frozen=True, kw_only=True):
    """What was read from the file's header. Digests are SHA-256 of what decides; None where the file carries none.

    `formats` counts parameters by number format.
    """

    file: str
    format: str
    size: int
    architecture: str
    parameters: int
    formats: dict[str, int]
    context_length: int | None
    licence: str | None
    tokenizer_digest: str | None
    template_digest: str | None


class Disagreement(Record, frozen=True, kw_only=True):
    """A fact on which file and catalogue differ."""

    field: str
    file: str
    catalogue: str
    verified: bool


def inspect(path: Path) -> Inspection:
    """Read a GGUF or safetensors header; raises `ModelFileError` for anything else, hostile files included."""
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file; name a .gguf or .safetensors file")
    with path.open("rb") as handle:
        start = handle.read(len(gguf_file.MAGIC))
    if start == gguf_file.MAGIC:
        return _gguf(path, gguf_file.read(path))
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")):
        raise ModelFileError(
            f"{path}: is a pickle or a zip of pickles, which can run code when it is read; "
            "ask its publisher for safetensors or GGUF"
        )
    return _safetensors(path)


def disagreements(found: Inspection, entry: Model) -> tuple[Disagreement, ...]:
    """Facts of the catalogue that the file contradicts."""
    pairs: list[tuple[str, Any, Any]] = [
        ("parameters", found.parameters, entry.parameters),
        ("context_length", found.context_length, entry.context_length),
        ("template_digest", found.template_digest, entry.template_digest),
    ]
    wrong = [
        Disagreement(field=field, file=str(value), catalogue=str(fact.value), verified=fact.verified)
        for field, value, fact in pairs
        if fact is not None and value is not None and fact.value != value
    ]
    family = entry.architecture.value.lower() if entry.architecture else ""
    if family and not _same_family(found.architecture, family) and entry.architecture:
        said = entry.architecture
        wrong.append(
            Disagreement(field="architecture", file=found.architecture, catalogue=said.value, verified=said.verified)
        )
    return tuple(wrong)


def _same_family(found: str, said: str) -> bool:
    """A header's word, such as gemma3, against the catalogue's, such as 'decoder transformer (Gemma 3)'."""
    generic = "(" not in said
    return generic or found.lower() in said.replace(" ", "").replace("-", "")


def _gguf(path: Path, header: GgufFile) -> Inspection:
    formats: Counter[str] = Counter()
    for tensor in header.tensors:
        formats[_FORMATS.get(tensor.type, f"type {tensor.type}")] += tensor.elements
    vocabulary = {key: header.metadata[key] for key in sorted(header.metadata) if key.startswith("tokenizer.ggml.")}
    template, licence = header.metadata.get("tokenizer.chat_template"), header.metadata.get("general.license")
    return Inspection(
        file=str(path),
        format="GGUF",
        size=path.stat().st_size,
        architecture=header.architecture,
        parameters=header.parameters,
        formats=dict(formats),
        context_length=header.number("context_length"),
        licence=licence if isinstance(licence, str) else None,
        tokenizer_digest=digest(vocabulary) if vocabulary else None,
        template_digest=_sha256(template.encode()) if isinstance(template, str) else None,
    )


def _safetensors(path: Path) -> Inspection:
    header = safetensors_file.read(path)
    config = _side_file(path.parent / "config.json")
    context = config.get("max_position_embeddings")
    template = _side_file(path.parent / "tokenizer_config.json").get("chat_template")
    tokenizer = path.parent / "tokenizer.json"
    return Inspection(
        file=str(path),
        format="safetensors",
        size=path.stat().st_size,
        architecture=str(config.get("model_type", "unknown")),
        parameters=header.parameters,
        formats=header.formats,
        context_length=context if isinstance(context, int) else None,
        licence=None,
        tokenizer_digest=_sha256(tokenizer.read_bytes()) if _readable(tokenizer) else None,
        template_digest=_sha256(template.encode()) if isinstance(template, str) else None,
    )


def _side_file(path: Path) -> dict[str, Any]:
    """A JSON file beside the weights; empty where there is none."""
    if not _readable(path):
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path}: is not the JSON that belongs beside the weights ({error})") from None


def _readable(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _LARGEST_SIDE_FILE


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
