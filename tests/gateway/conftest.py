"""Fixtures of the gateway's tests; what they are made of is in `gateway_house.py`."""

from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import msgspec
import pytest
from gateway_house import House, RunningUpstream, make_base
from msgspec.structs import replace

from freehold.records import AnswerType
from freehold.render import Prompt
from freehold.store.deployments import BaseTarget, ClassifierTarget, Deployment, deploy
from freehold.store.workspace import Workspace


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A workspace with a base, a label task and a classifier deployed; not yet open."""
    workspace = Workspace(tmp_path / ".freehold")
    make_base(workspace)
    made = House(workspace)
    triage = Deployment(
        name="triage",
        target=BaseTarget(base="tiny", prompt=Prompt(system="Sort it.")),
        answer_type=AnswerType.LABEL,
        labels=("payroll", "safety"),
        max_tokens=16,
    )
    plain = Deployment(name="plain", target=ClassifierTarget(digest="c" * 64, folder="models/plain"))
    for deployment in (triage, plain):
        deploy(made.store, deployment, "test")
    return made


@pytest.fixture
def upstream() -> Iterator[RunningUpstream]:
    """The fake upstream that ships."""
    with RunningUpstream().open() as running:
        yield running


@pytest.fixture
def passing(house: House, upstream: RunningUpstream) -> Iterator[House]:
    """A gateway with an upstream behind it."""
    house.settings = replace(house.settings, upstream=upstream.url)
    with house.open():
        yield house


@pytest.fixture
def gateway(house: House) -> Iterator[House]:
    with house.open():
        yield house


@pytest.fixture
def http(gateway: House) -> Callable[..., "tuple[int, dict[str, str], bytes]"]:
    """`http("POST", "/v1/…", body)` → status, headers, content."""

    def call(
        method: str, path: str, content: bytes | object = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        data = content if isinstance(content, bytes) else msgspec.json.encode(content)
        connection = HTTPConnection("127.0.0.1", gateway.settings.port, timeout=20)
        try:
            connection.request(method, path, data, {k.replace("_", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    return call
