"""A tiny base made from the real one: its own tokenizer and template, its first two layers."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from freehold.catalogue.pull import BASE_FILE
from freehold.records import Base, Message
from freehold.render import TEMPLATE_FILE, TOKENIZER_FILE, Prompt, Rendered, Renderer
from freehold.store.workspace import read_record, write_record

LAYERS = 2
COLOURS = {"red": "warm", "orange": "warm", "yellow": "warm", "blue": "cold", "cyan": "cold", "indigo": "cold"}
PROMPT = Prompt(system="Say whether the colour is warm or cold.")


@pytest.fixture(scope="session")
def tiny_base(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    for name in (TOKENIZER_FILE, TEMPLATE_FILE):
        shutil.copy(smollm2_folder / name, folder / name)
    _first_layers(smollm2_folder / "weights.gguf", folder / "weights.gguf")
    write_record(folder / BASE_FILE, read_record(smollm2_folder / BASE_FILE, Base))
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


@pytest.fixture(scope="session")
def colours(tiny_base: Path) -> list[Rendered]:
    """Six rendered examples of two labels, four times over."""
    renderer = Renderer(tiny_base)
    pairs = [*COLOURS.items()] * 4
    return [renderer.example(PROMPT.messages([Message(role="user", content=word)]), label) for word, label in pairs]
