"""One suite, run on every embedder; and the real one against its publisher's own computation."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.engines.bert_gguf import write_bert_gguf
from freehold.engines.embedder import Embedder, cosine, rerank
from freehold.engines.fake_embedder import FakeEmbedder
from freehold.engines.llamacpp_embedder import LlamaEmbedder, embedder_of
from freehold.errors import EngineError, ModelFileError, UserError
from freehold.store.layout import WEIGHTS_FILE

FREEZER = "the freezer alarm is going again"
TEXTS = (FREEZER, "the freezer alarm is beeping", "when do i get my money")


@pytest.fixture(scope="module")
def minilm_started(minilm_folder: Path) -> Iterator[LlamaEmbedder]:
    embedder = embedder_of(minilm_folder)
    embedder.start()
    yield embedder
    embedder.stop()


@pytest.fixture(params=["fake", "llamacpp"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "llamacpp":
        started: Embedder = request.getfixturevalue("minilm_started")
        return started
    fake = FakeEmbedder()
    fake.start()
    return fake


def test_a_vector_a_text_of_length_one(embedder: Embedder) -> None:
    found = embedder.embed(TEXTS)
    assert len(found) == len(TEXTS)
    assert len({len(each.vector) for each in found}) == 1
    assert all(sum(x * x for x in each.vector) == pytest.approx(1, abs=1e-4) for each in found)
    assert all(each.tokens >= len(text.split()) for each, text in zip(found, TEXTS, strict=True))


def test_the_same_text_has_the_same_vector_alone_and_beside_others(embedder: Embedder) -> None:
    alone, beside = embedder.embed([FREEZER])[0], embedder.embed(TEXTS)[0]
    assert cosine(alone.vector, beside.vector) == pytest.approx(1, abs=1e-4)


def test_more_texts_than_one_request_takes_stay_in_order(embedder: Embedder) -> None:
    many = [f"message number {at}" for at in range(70)]
    found = embedder.embed(many)
    assert cosine(found[69].vector, embedder.embed([many[69]])[0].vector) == pytest.approx(1, abs=1e-3)


def test_like_texts_are_ranked_first(embedder: Embedder) -> None:
    ranked = rerank(embedder, FREEZER, [TEXTS[2], TEXTS[1], FREEZER])
    assert [each.index for each in ranked] == [2, 1, 0]
    assert ranked[0].score == pytest.approx(1, abs=1e-3)
    assert rerank(embedder, FREEZER, []) == []


def test_token_ids_are_as_good_as_the_text(minilm_started: LlamaEmbedder) -> None:
    ids = minilm_started.tokenize(FREEZER)
    by_ids, by_text = minilm_started.embed([ids, FREEZER])
    assert cosine(by_ids.vector, by_text.vector) == pytest.approx(1, abs=1e-4)
    assert by_ids.tokens == by_text.tokens == len(ids)


def test_ids_that_there_are_not_are_refused(embedder: Embedder) -> None:
    for id in (-1, 1_000_000):
        with pytest.raises(UserError, match=f"input 0: {id} is no token of this model"):
            embedder.embed([[id]])


def test_a_model_that_answers_with_text_is_no_embedder(smollm2_folder: Path) -> None:
    with pytest.raises(ModelFileError, match="answers with text"):
        embedder_of(smollm2_folder)


def test_a_gguf_embedding_model_is_used_as_it_is(minilm_folder: Path, tmp_path: Path) -> None:
    write_bert_gguf(minilm_folder, tmp_path / WEIGHTS_FILE)
    embedder = embedder_of(tmp_path)
    embedder.start()
    assert len(embedder.embed([FREEZER])[0].vector) == 384
    embedder.stop()


def test_an_empty_text_is_the_callers_fault(embedder: Embedder) -> None:
    with pytest.raises(UserError, match="input 1: the text is empty"):
        embedder.embed([FREEZER, "  "])


def test_a_text_that_is_too_long_is_refused_or_cut(embedder: Embedder) -> None:
    with pytest.raises(UserError, match=r"input 0: the text has \d+ tokens and this model's context holds 512"):
        embedder.embed(["word " * 900])
    assert embedder.embed(["word " * 900], cut=True)[0].tokens == 512


@pytest.mark.parametrize("kind", ["fake", "llamacpp"])
def test_a_stopped_embedder_says_so(kind: str, request: pytest.FixtureRequest) -> None:
    stopped: Embedder = FakeEmbedder() if kind == "fake" else embedder_of(request.getfixturevalue("minilm_folder"))
    stopped.stop()
    with pytest.raises(EngineError, match="stopped"):
        stopped.embed([FREEZER])


def test_the_vectors_are_the_publishers(minilm_started: LlamaEmbedder, minilm_folder: Path) -> None:
    """Token ids and vectors as transformers computes them from the published safetensors."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm_folder), AutoModel.from_pretrained(minilm_folder)
    for text in (*TEXTS, "naïve Café 工资 don't re-enter: 3.14 (unhappiness)"):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        assert minilm_started.tokenize(text) == ids[0].tolist()
        with torch.no_grad():
            mean = model(ids).last_hidden_state[0].mean(0).tolist()
        assert cosine(mean, minilm_started.embed([text])[0].vector) > 0.9999


def test_what_is_no_embedding_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such base here"):
        embedder_of(tmp_path / "none")
    with pytest.raises(ModelFileError, match="is no whole embedding model"):
        write_bert_gguf(tmp_path, tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []
