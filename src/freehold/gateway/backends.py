"""What answers in a real workspace: llama.cpp for bases and adapters, the plain classifier from its folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freehold.engines.engine import Engine
from freehold.gateway.children import EngineFor
from freehold.gateway.classify import Predictor
from freehold.store.workspace import Workspace

SLOTS = 8
CONTEXT_TOKENS = 2048

_WEIGHTS = ("weights.q8_0.gguf", "weights.gguf")  # the re-encoded file answers faster where `freehold run` made it
_ADAPTER = "adapter.gguf"


@dataclass(frozen=True)
class Backends:
    """How an engine is made, and how a classifier is read from its folder."""

    engine_for: EngineFor
    load_classifier: Callable[[Path], Predictor]


def of(workspace: Workspace) -> Backends:
    """The backends of a workspace; nothing is loaded until a deployment asks for it."""

    def engine_for(base: str, adapters: tuple[str, ...]) -> Engine:
        from freehold.engines.llamacpp import LlamaCpp, Settings

        folder = workspace.models / base
        weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), folder / _WEIGHTS[-1])
        files = {digest: workspace.adapters / digest / _ADAPTER for digest in adapters}
        log = str(workspace.logs / f"engine-{base}.log")
        return LlamaCpp(weights, files, Settings(slots=SLOTS, context=CONTEXT_TOKENS, log=log))

    def load_classifier(folder: Path) -> Predictor:
        from freehold.evaluation.classifier import Classifier

        return Classifier.load(folder)

    return Backends(engine_for=engine_for, load_classifier=load_classifier)
