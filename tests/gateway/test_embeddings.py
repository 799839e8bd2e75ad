"""Owned embedding models through the real `openai` client: vectors, reranking, what is metered, what is refused."""

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_house import House

from freehold.engines.embedder import Embedder
from freehold.engines.fake_embedder import FakeEmbedder
from freehold.engines.llamacpp_embedder import LlamaEmbedder
from freehold.gateway import backends
from freehold.store.deployments import Deployment, EmbedderTarget, deploy
from freehold.store.workspace import Workspace

TEXTS = ["the freezer alarm is going again", "when do i get my money"]


@pytest.fixture
def embedding(house: House) -> Iterator[House]:
    """The fake embedder as `near`."""

    def made(base: str) -> Embedder:
        return FakeEmbedder()

    house.backends = replace_embedder(house, made)
    deploy(house.store, Deployment(name="near", target=EmbedderTarget(base="words")), "test")
    with house.open():
        yield house


def replace_embedder(house: House, made: Callable[[str], Embedder]) -> backends.Backends:
    return backends.Backends(house.backends.engine_for, house.backends.load_classifier, made)


def client_of(house: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0, timeout=30)


def rerank(house: House, body: dict[str, Any]) -> Any:  # noqa: ANN401 (JSON)
    return client_of(house).post("/rerank", body=body, cast_to=object)


def test_vectors_in_both_forms(embedding: House) -> None:
    client = client_of(embedding)
    plain = client.embeddings.create(model="near", input=TEXTS, encoding_format="float")
    packed = client.embeddings.create(model="near", input=TEXTS)  # the client asks for base64 by itself
    assert [each.index for each in plain.data] == [0, 1]
    for one, other in zip(plain.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert math.hypot(*one.embedding) == pytest.approx(1)
    assert plain.usage.prompt_tokens == plain.usage.total_tokens == 12
    assert client.embeddings.create(model="near", input=TEXTS[0], dimensions=256).usage.prompt_tokens == 6


def test_token_ids_in_the_place_of_texts(embedding: House) -> None:
    client = client_of(embedding)
    assert len(client.embeddings.create(model="near", input=[3, 4, 5]).data) == 1
    assert client.embeddings.create(model="near", input=[[3, 4, 5], [6]]).usage.prompt_tokens == 4


def test_documents_are_ranked(embedding: House) -> None:
    documents: list[Any] = [TEXTS[1], {"text": "freezer alarm"}, "lunch"]
    found = rerank(embedding, {"model": "near", "query": "the freezer alarm", "documents": documents, "top_n": 2})
    assert [each["index"] for each in found["results"]] == [1, 0]
    assert found["results"][0]["document"] == {"text": "freezer alarm"}
    assert 1 >= found["results"][0]["relevance_score"] > found["results"][1]["relevance_score"]
    assert found["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    bare = {"model": "near", "query": "a", "documents": ["b"], "return_documents": False}
    assert set(rerank(embedding, bare)["results"][0]) == {"index", "relevance_score"}


def test_it_is_metered_and_kept(embedding: House) -> None:
    reply = client_of(embedding).embeddings.with_raw_response.create(model="near", input=TEXTS)
    assert reply.headers["x-freehold-answered-by"] == "near: embedder words"
    rerank(embedding, {"model": "near", "query": "a", "documents": ["b"]})
    assert [each.endpoint for each in reversed(embedding.kept())] == ["embeddings", "rerank"]
    assert [each.input_tokens for each in embedding.attempts()] == [12, 2]
    assert all(each.outcome == "ok" and not each.estimated for each in embedding.attempts())


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/embeddings", {"input": []}, "it may hold 1 to 2048"),
        ("/embeddings", {"input": ["  "]}, "input 0: the text is empty"),
        ("/embeddings", {"input": ["a", 3]}, "mixes token ids with texts"),
        ("/embeddings", {"input": [99_999]}, "99999 is no token of this model"),
        ("/embeddings", {"input": "word " * 600}, "context holds 512"),
        ("/embeddings", {"input": "a", "dimensions": 64}, "vectors have 256, and cannot be cut"),
        ("/embeddings", {"input": "a", "encoding_format": "hex"}, "float or base64"),
        ("/embeddings", {"input": "a", "stream": True}, "not streamed"),
        ("/embeddings", {"input": "a", "model": "triage"}, "answers /v1/chat/completions"),
        ("/rerank", {"query": "a", "documents": []}, "documents holds 0 entries"),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": 0}, "top_n is 0"),
        ("/rerank", {"documents": ["b"]}, "query is missing"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, "/v1/embeddings and /v1/rerank"),
    ],
)
def test_what_is_wrong_is_a_clear_400(embedding: House, path: str, body: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client_of(embedding).post(path, body={"model": "near"} | body, cast_to=object)


def test_an_embedder_that_is_not_here_leaves_the_others_serving(house: House) -> None:
    house.backends = replace_embedder(house, backends.of(house.workspace).embedder_for)
    deploy(house.store, Deployment(name="lost", target=EmbedderTarget(base="absent")), "test")
    with house.open():
        client = client_of(house)
        with pytest.raises(openai.BadRequestError, match="freehold pull absent"):
            client.embeddings.create(model="lost", input="x")
        ask: Any = [{"role": "user", "content": "my pay"}]
        assert client.chat.completions.create(model="triage", messages=ask).choices[0].message.content == "payroll"


def test_the_real_one_survives_its_childs_death(minilm_folder: Path, tmp_path: Path) -> None:
    """all-MiniLM through the gateway: ranked by meaning, ids as good as text, killed and there again."""
    workspace = Workspace(tmp_path / ".freehold")
    workspace.models.mkdir(parents=True)
    (workspace.models / "minilm").symlink_to(minilm_folder)
    house = House(workspace)
    started: list[LlamaEmbedder] = []

    def made(base: str) -> Embedder:
        found = backends.of(workspace).embedder_for(base)
        assert isinstance(found, LlamaEmbedder)
        started.append(found)
        return found

    house.backends = replace_embedder(house, made)
    deploy(house.store, Deployment(name="near", target=EmbedderTarget(base="minilm")), "test")
    with house.open():
        client = client_of(house)
        documents = [TEXTS[1], "the refrigerator in the cold store is beeping"]
        found = rerank(house, {"model": "near", "query": "freezer alarm", "documents": documents})
        assert found["results"][0]["index"] == 1
        whole = client.embeddings.create(model="near", input=TEXTS[0])
        ids = started[0].tokenize(TEXTS[0])
        assert whole.usage.prompt_tokens == len(ids)
        by_ids = client.embeddings.create(model="near", input=[ids])
        assert by_ids.data[0].embedding == pytest.approx(whole.data[0].embedding, abs=1e-5)
        with pytest.raises(openai.BadRequestError, match="30522 is no token of this model"):
            client.embeddings.create(model="near", input=[30_522])
        assert started[0].pid
        os.kill(started[0].pid, 9)
        begun = time.monotonic()
        again = client.embeddings.create(model="near", input=TEXTS[0])
        assert again.data[0].embedding == pytest.approx(whole.data[0].embedding, abs=1e-5)
        assert time.monotonic() - begun < 60
