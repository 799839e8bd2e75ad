"""Embeddings and reranking by an owned embedding model.

Sources of the shapes: OpenAI's API reference, *Embeddings*; Jina's reranker API, which vLLM and llama.cpp serve too.
"""

import base64
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from freehold.engines.embedder import Embedding, ordered
from freehold.errors import FreeholdError
from freehold.gateway.body import typed
from freehold.gateway.call import Call, new_id
from freehold.gateway.embedders import RunningEmbedder
from freehold.gateway.endpoints import EMBEDDINGS, RERANK
from freehold.gateway.faults import GatewayError
from freehold.gateway.sources import Whole, failed

MOST_INPUTS = 2048


class EmbeddingRequest(msgspec.Struct):
    """Texts, or their token ids, one or many."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None

    def inputs(self) -> list[str | list[int]]:
        """One entry an embedding; a `GatewayError` of 400 names what is wrong."""
        given = self.input
        if isinstance(given, str):
            return [given]
        ids = [each for each in given if isinstance(each, int)]
        if ids and len(ids) != len(given):
            raise _wrong("input", "input mixes token ids with texts; send texts, or lists of token ids")
        found: list[str | list[int]] = [ids] if ids else [each for each in given if not isinstance(each, int)]
        if not 1 <= len(found) <= MOST_INPUTS:
            raise _wrong("input", f"input holds {len(found)} entries; it may hold 1 to {MOST_INPUTS}")
        return found


class _Document(msgspec.Struct):
    text: str


class RerankRequest(msgspec.Struct):
    """A query, and the documents to order by their nearness to it."""

    model: str
    query: str
    documents: list[str | _Document]
    top_n: int | None = None
    return_documents: bool | None = None

    def texts(self) -> list[str]:
        """The documents as texts; a `GatewayError` of 400 names what is wrong."""
        if not 1 <= len(self.documents) <= MOST_INPUTS:
            what = f"documents holds {len(self.documents)} entries; it may hold 1 to {MOST_INPUTS}"
            raise _wrong("documents", what)
        if self.top_n is not None and self.top_n < 1:
            raise _wrong("top_n", f"top_n is {self.top_n}; it must be at least 1")
        return [each if isinstance(each, str) else each.text for each in self.documents]


_EMBEDDING = msgspec.json.Decoder(EmbeddingRequest)
_RERANK = msgspec.json.Decoder(RerankRequest)


class EmbedderSource:
    """A `Source`: an owned embedding model, in OpenAI's words and in Jina's."""

    def __init__(self, name: str, embedder: RunningEmbedder) -> None:
        self.name = name
        self._embedder = embedder

    async def fetch(self, call: Call) -> Whole:
        try:
            if call.endpoint is EMBEDDINGS:
                answer = await self._embed(call)
            elif call.endpoint is RERANK:
                answer = await self._rerank(call)
            else:
                what = f"{call.model} is an embedding model: it answers /v1/embeddings and /v1/rerank"
                raise GatewayError(400, what, code="unsupported_endpoint", param="model")
        except FreeholdError as error:
            raise failed(error) from None
        return Whole(200, msgspec.json.encode(answer))

    async def open(self, call: Call) -> AsyncIterator[bytes]:
        what = f"{call.model} is an embedding model, and vectors are not streamed; leave stream out"
        raise failed(GatewayError(400, what, code="unsupported_value", param="stream"))
        yield b""  # which makes this a generator

    async def _embed(self, call: Call) -> dict[str, Any]:
        asked = typed(call.content, _EMBEDDING)
        form = asked.encoding_format or "float"
        if form not in ("float", "base64"):
            raise _wrong("encoding_format", f"encoding_format is {form!r}; it may be float or base64")
        found, call.machine_s = await self._embedder.embed(asked.inputs())
        width = len(found[0].vector)
        if asked.dimensions not in (None, width):
            what = f"dimensions is {asked.dimensions}; this model's vectors have {width}, and cannot be cut"
            raise _wrong("dimensions", what)
        return {
            "object": "list",
            "model": call.model,
            "data": [
                {"object": "embedding", "index": at, "embedding": _written(each, form)} for at, each in enumerate(found)
            ],
            "usage": _usage(sum(each.tokens for each in found)),
        }

    async def _rerank(self, call: Call) -> dict[str, Any]:
        asked = typed(call.content, _RERANK)
        texts = asked.texts()
        found, call.machine_s = await self._embedder.embed([asked.query, *texts])
        shown = asked.return_documents is not False
        return {
            "id": f"rerank-{new_id()}",
            "object": "list",
            "model": call.model,
            "results": [
                {"index": each.index, "relevance_score": each.score}
                | ({"document": {"text": texts[each.index]}} if shown else {})
                for each in ordered(*found)[: asked.top_n]
            ],
            "usage": _usage(sum(each.tokens for each in found)),
        }


def _written(embedding: Embedding, form: str) -> Sequence[float] | str:
    """A vector as numbers, or as base64 of 32-bit floats, least significant byte first, as OpenAI's clients ask."""
    vector = embedding.vector
    return vector if form == "float" else base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _wrong(param: str, what: str) -> GatewayError:
    return GatewayError(400, what, code="invalid_value", param=param)
