"""Embedding models in llama.cpp's server, in the same supervised child process as everything else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freehold.engines.adapters import AdapterFiles
from freehold.engines.bert_gguf import write_bert_gguf
from freehold.engines.embedder import Embedding, Input
from freehold.engines.fits import shape_of
from freehold.engines.llamacpp_child import Setup
from freehold.engines.llamacpp_replica import LlamaServer
from freehold.engines.replica import GoneError, Replica
from freehold.errors import EngineError, ModelFileError, UserError
from freehold.store.layout import EMBEDDER_FILE, WEIGHTS_FILE

_AT_ONCE = 64  # texts a request
_SLOTS = 4
_ATTEMPTS = 2


class LlamaEmbedder:
    """An `Embedder` over one GGUF. `threads` is for its one child."""

    def __init__(self, weights: Path, threads: int = 2, log: Path | None = None) -> None:
        self._weights = weights
        self._threads, self._log = threads, log
        self._replica: Replica | None = None
        self._context = self._vocabulary = 0

    def start(self) -> None:
        if self._replica is None:
            shape = shape_of(self._weights)
            self._context, self._vocabulary = shape.context, shape.matrices["token_embd.weight"][1]
            self._replica = Replica(LlamaServer(self._setup(), AdapterFiles(), self._log), hang_s=60.0)
            self._replica.start()

    def stop(self) -> None:
        replica, self._replica = self._replica, None
        if replica is not None:
            replica.stop()

    def embed(self, texts: Sequence[Input], cut: bool = False) -> list[Embedding]:
        inputs = [self._checked(at, text, cut) for at, text in enumerate(texts)]
        found: list[Embedding] = []
        for begin in range(0, len(inputs), _AT_ONCE):
            found += self._embed(inputs[begin : begin + _AT_ONCE])
        return found

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._replica.pid if self._replica else None

    def tokenize(self, text: str) -> list[int]:
        """The ids that are read for a text, those that open and close it included."""
        ids: list[int] = self._post("/tokenize", {"content": text, "add_special": True})["tokens"]
        return ids

    def _checked(self, at: int, text: Input, cut: bool) -> list[int]:
        if not (text.strip() if isinstance(text, str) else text):
            raise UserError(f"input {at}: the text is empty; an embedding needs at least one word")
        ids = self.tokenize(text) if isinstance(text, str) else list(text)
        wrong = next((id for id in ids if not 0 <= id < self._vocabulary), None)
        if wrong is not None:
            raise UserError(f"input {at}: {wrong} is no token of this model, which has {self._vocabulary}")
        if len(ids) <= self._context:
            return ids
        if cut:
            return [*ids[: self._context - 1], ids[-1]]
        raise UserError(
            f"input {at}: the text has {len(ids)} tokens and this model's context holds {self._context}; shorten it"
        )

    def _embed(self, inputs: Sequence[list[int]]) -> list[Embedding]:
        answer = self._post("/v1/embeddings", {"input": inputs, "encoding_format": "float"})
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return [
            Embedding(vector=tuple(row["embedding"]), tokens=len(ids)) for row, ids in zip(rows, inputs, strict=True)
        ]

    def _post(self, path: str, body: object) -> Any:  # noqa: ANN401 (JSON)
        if self._replica is None:
            raise EngineError("the embedder is stopped")
        for _ in range(_ATTEMPTS):
            try:
                return self._replica.post(path, body)[1]
            except GoneError as error:
                cause = error
        raise EngineError(f"llama.cpp went away {_ATTEMPTS} times before it answered ({cause})")

    def _setup(self) -> Setup:
        return Setup(
            weights=str(self._weights),
            secret="",
            slots=_SLOTS,
            context=self._context,
            batch=self._context,  # a text is read in one step
            threads=self._threads,
            embedding=True,
        )


def embedder_of(base_folder: Path, log: Path | None = None) -> LlamaEmbedder:
    """The embedder of a pulled base (not started): its GGUF, or one made once from its safetensors.

    Raises `ModelFileError` where the folder holds no embedding model.
    """
    weights, made = base_folder / WEIGHTS_FILE, base_folder / EMBEDDER_FILE
    if weights.is_file():
        if not shape_of(weights).pools:
            raise ModelFileError(f"{base_folder.name} answers with text; an embedder makes one vector of a text")
        return LlamaEmbedder(weights, log=log)
    if not base_folder.is_dir():
        raise ModelFileError(f"{base_folder}: no such base here; `freehold pull {base_folder.name}` fetches it")
    if not made.is_file():
        write_bert_gguf(base_folder, made)
    return LlamaEmbedder(made, log=log)
