"""What the files in a workspace's folders are called: written here once, imported by whoever writes or reads them."""

from pathlib import Path

# models/<base>/
BASE_FILE = "base.json"  # `records.Base`, written last
WEIGHTS_FILE = "weights.gguf"  # as pulled
EMBEDDER_FILE = "embedder.gguf"  # an embedding model's safetensors, as llama.cpp reads them
SERVING_FILE = "weights.q8_0.gguf"  # re-encoded by `freehold run`, because it answers faster

# adapters/<digest>/
MANIFEST_FILE = "manifest.json"  # `records.AdapterManifest`, written last
ADAPTER_GGUF = "adapter.gguf"  # as llama.cpp reads it; beside it lies the same in PEFT's own names

# datasets/<digest>/
DATASET_FILE = "dataset.json"


def encoded_file(encoding: str) -> str:
    """What a base is called in another encoding."""
    return f"weights.{encoding.lower()}.gguf"


def serving_weights(base_folder: Path) -> Path:
    """The file of a base that is used where nothing was measured: the re-encoded one if any, else as pulled."""
    faster = base_folder / SERVING_FILE
    return faster if faster.is_file() else base_folder / WEIGHTS_FILE
