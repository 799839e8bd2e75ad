"""What answers in a real workspace: llama.cpp for bases and adapters, the plain classifier from its folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.engines.embedder import Embedder
from freehold.engines.engine import Engine
from freehold.gateway.children import EngineFor
from freehold.gateway.classify import Predictor
from freehold.gateway.embedders import EmbedderFor, no_embedder
from freehold.records import AdapterManifest
from freehold.store.layout import ADAPTER_GGUF, MANIFEST_FILE
from freehold.store.workspace import Workspace, read_record

if TYPE_CHECKING:
    from freehold.engines.pool import Pool

CONTEXT_TOKENS = 2048


@dataclass(frozen=True)
class Backends:
    """How an engine is made, and how a classifier is read from its folder."""

    engine_for: EngineFor
    load_classifier: Callable[[Path], Predictor]
    embedder_for: EmbedderFor = no_embedder


def of(workspace: Workspace, speculate: str | None = None) -> Backends:
    """The backends of a workspace; nothing is loaded until a deployment asks for it. `speculate` is a method of
    speculative decoding.
    """

    def load_classifier(folder: Path) -> Predictor:
        from freehold.evaluation.classifier import Classifier

        return Classifier.load(folder)

    def embedder_for(base: str) -> Embedder:
        from freehold.engines.llamacpp_embedder import embedder_of

        return embedder_of(workspace.models / base, workspace.logs / f"embedder-{base}.log")

    return Backends(_Pools(workspace, speculate).engine_for, load_classifier, embedder_for)


class _Pools:
    """One pool of adapters a base: it changes its adapters by itself while it answers."""

    def __init__(self, workspace: Workspace, speculate: str | None) -> None:
        self._workspace, self._speculate = workspace, speculate
        self._pools: dict[str, Pool] = {}

    def engine_for(self, base: str, adapters: tuple[str, ...]) -> Engine:
        found = self._pools.get(base)
        if found is None or found.stopped:
            found = self._pools[base] = self._new(base)
        paths = {digest: self._workspace.adapters / digest / ADAPTER_GGUF for digest in adapters}
        found.hold(paths, {digest: self._recorded(digest) for digest in adapters})
        return found

    def _new(self, base: str) -> "Pool":
        from freehold.engines.plan import Serving
        from freehold.engines.ways import served

        folder = self._workspace.models / base
        log, found = self._workspace.logs / f"engine-{base}.log", served(folder, self._workspace.benches)
        serving = Serving(found.weights, CONTEXT_TOKENS, log, found.program, found.copies(folder), self._speculate)
        return serving.pool(shelf=self._workspace.goldens)

    def _recorded(self, adapter: str) -> str:
        """The SHA-256 that the adapter's file must have each time it is loaded."""
        from freehold.engines.adapters import adapter_sha256

        folder = self._workspace.adapters / adapter
        recorded = read_record(folder / MANIFEST_FILE, AdapterManifest).gguf_sha256
        return recorded or adapter_sha256(adapter, folder / ADAPTER_GGUF)
