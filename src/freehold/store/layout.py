"""What the files in a workspace's folders are called: written here once, imported by whoever writes or reads them."""

from pathlib import Path

from freehold.records import Record
from freehold.store.workspace import read_record

# models/<base>/
BASE_FILE = "base.json"  # `records.Base`, written last
WEIGHTS_FILE = "weights.gguf"  # as pulled
EMBEDDER_FILE = "embedder.gguf"  # an embedding model's safetensors, as llama.cpp reads them
PASSED_FILE = "passed.json"  # `Passed`, where encodings were compared; beside it lies the base in each of them

# adapters/<digest>/
MANIFEST_FILE = "manifest.json"  # `records.AdapterManifest`, written last
ADAPTER_GGUF = "adapter.gguf"  # as llama.cpp reads it; beside it lies the same in PEFT's own names

# datasets/<digest>/
DATASET_FILE = "dataset.json"


FAITHFUL, WIDE, SMALL = "F16", "BF16", "Q8_0"  # what `freehold run` re-encodes a base in: see `pipeline._faithful`


class Passed(Record, frozen=True, kw_only=True):
    """The encodings of a base beside which every adapter of it answers as trained, the quickest first; why, and the
    digests of the comparisons that say so.
    """

    encodings: tuple[str, ...]
    reason: str
    parity: tuple[str, ...] = ()


def passed(base_folder: Path) -> Passed | None:
    """What was found of a base's encodings, where they were compared."""
    path = base_folder / PASSED_FILE
    return read_record(path, Passed) if path.is_file() else None


def allowed(base_folder: Path) -> tuple[str, ...]:
    """The encodings that a base may be served in: those that passed; where none was compared, the one that it lies in;
    any that hardly loses where it lies in none yet.
    """
    found = passed(base_folder)
    if found is not None:
        return found.encodings
    lying = [each for each in (FAITHFUL, WIDE, SMALL) if (base_folder / encoded_file(each)).is_file()]
    return tuple(lying[:1]) or (FAITHFUL, WIDE, SMALL)


def encoded_file(encoding: str) -> str:
    """What a base is called in another encoding."""
    return f"weights.{encoding.lower()}.gguf"


def serving_weights(base_folder: Path) -> Path:
    """The file of a base that is served where no speed was measured: in an encoding that is allowed, else as pulled."""
    paths = [base_folder / encoded_file(each) for each in allowed(base_folder)]
    return next((path for path in paths if path.is_file()), base_folder / WEIGHTS_FILE)
