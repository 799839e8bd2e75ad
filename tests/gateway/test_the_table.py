"""The table of docs/gateway.md is true: each cell is tried against the real gateway."""

import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace

from freehold.engines.fake_embedder import FakeEmbedder
from freehold.gateway.backends import Backends
from freehold.store.deployments import Deployment, EmbedderTarget, RemoteTarget, deploy

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
ROW = re.compile(r"^\| `(/v1/[a-z/]+)`[^|]*\|(.+)\|$", re.MULTILINE)
# A model of each column's kind, as the fixture below deploys them.
MODELS = ("gpt-4o-mini", "remote", "remote-chat", "triage", "near")
SAID: Any = [{"role": "user", "content": "hello"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAID},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"messages": SAID, "max_tokens": 9},
    "/v1/embeddings": {"input": "hello"},
    "/v1/rerank": {"query": "hello", "documents": ["there"]},
    "/v1/images/generations": {"prompt": "hello"},
    "/v1/audio/speech": {"input": "hello", "voice": "alloy"},
}
ANSWERED = {"/v1/chat/completions", "/v1/embeddings", "/v1/rerank"}
STREAMS = {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"}


class Cell(NamedTuple):
    path: str
    model: str
    says: str


def _cells() -> list[Cell]:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [
        Cell(path, model, says.strip())
        for path, cells in rows
        for model, says in zip(MODELS, cells.split("|"), strict=True)
    ]


@pytest.fixture
def every_kind(house: House, upstream: RunningUpstream) -> Iterator[House]:
    for name, speaks in (("remote", "all"), ("remote-chat", "chat")):
        target = RemoteTarget(base_url=upstream.url, model=name, speaks=speaks)  # type: ignore[arg-type]
        deploy(house.store, Deployment(name=name, target=target), "test")
    deploy(house.store, Deployment(name="near", target=EmbedderTarget(base="words")), "test")
    engines, classifiers = house.backends.engine_for, house.backends.load_classifier
    house.backends = Backends(engines, classifiers, lambda _: FakeEmbedder())
    house.settings = replace(house.settings, upstream=upstream.url)
    with house.open():
        yield house


def test_the_table_has_every_address_that_takes_a_model() -> None:
    assert {cell.path for cell in _cells()} == set(ASKED)


def test_each_cell_is_true(every_kind: House, upstream: RunningUpstream) -> None:
    wrong = []
    for cell in _cells():
        for stream in (False, True) if cell.path in STREAMS else (False,):
            found = _tried(every_kind, upstream, cell, stream)
            if found != cell.says:
                wrong.append((*cell, "streamed" if stream else "whole", found))
    assert not wrong, "address, model, what the table says, how it was asked, what is true"


def _tried(house: House, upstream: RunningUpstream, cell: Cell, stream: bool) -> str:
    upstream.app.path = ""
    asked = {"model": cell.model, **ASKED[cell.path]} | ({"stream": True} if stream else {})
    connection = HTTPConnection("127.0.0.1", house.settings.port, timeout=20)
    connection.request("POST", cell.path, msgspec.json.encode(asked), {"content-type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.status >= 400:
        assert b'"error"' in content, content
        return "refused"
    assert response.status == 200, content
    assert b'"error":{' not in content, content
    ours = response.getheader("x-freehold-answered-by") is not None
    if not ours:
        return "passed" if upstream.app.path == cell.path else "translated"
    return "answered" if cell.path in ANSWERED else "translated"
