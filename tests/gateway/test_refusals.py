"""Bad input: one error shape through every path, in words that name the field."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from gateway_house import House

from freehold.errors import FreeholdError, RefusedError, ResourceError
from freehold.gateway.serve import Settings, check_address

Http = Callable[..., tuple[int, dict[str, str], bytes]]
CHAT = "/v1/chat/completions"
TURN = {"role": "user", "content": "hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}

BAD: list[tuple[str, Any, int, str, str | None, str]] = [
    ("not JSON", b'{"model": ', 400, "invalid_json", None, "not JSON"),
    ("not UTF-8", b'{"model": "\xff"}', 400, "invalid_json", None, "UTF-8"),
    ("empty", b"", 400, "invalid_json", None, "not JSON"),
    ("a list", [], 400, "invalid_type", None, "expected `object`"),
    ("no model", {"messages": [TURN]}, 400, "missing_field", "model", "model is missing"),
    ("model of a wrong type", {"model": 1, "messages": [TURN]}, 400, "invalid_type", "model", "expected `str`"),
    ("no messages", {"model": "triage"}, 400, "missing_field", "messages", "messages is missing"),
    ("messages empty", {"model": "triage", "messages": []}, 400, "invalid_value", "messages", "empty"),
    (
        "content of a wrong type",
        {"model": "triage", "messages": [{"role": "user", "content": 7}]},
        400,
        "invalid_type",
        "messages[0].content",
        "expected `str | array | null`",
    ),
    (
        "a role that is not known",
        {"model": "triage", "messages": [{"role": "king", "content": "x"}]},
        400,
        "unsupported_value",
        "messages[0].role",
        "'king'",
    ),
    (
        "an image",
        {"model": "triage", "messages": [{"role": "user", "content": [IMAGE]}]},
        400,
        "unsupported_value",
        "messages[0].content",
        "image_url",
    ),
    (
        "tools",
        {"model": "triage", "messages": [TURN], "tools": [{"type": "function", "function": {"name": "f"}}]},
        400,
        "unsupported_value",
        "tools",
        "knows no tools",
    ),
    ("n", {"model": "triage", "messages": [TURN], "n": 129}, 400, "invalid_value", "n", "1 to 128"),
    (
        "temperature",
        {"model": "triage", "messages": [TURN], "temperature": 3},
        400,
        "invalid_value",
        "temperature",
        "0 to 2",
    ),
    (
        "max_tokens",
        {"model": "triage", "messages": [TURN], "max_tokens": 0},
        400,
        "invalid_value",
        "max_tokens",
        "at least 1",
    ),
    (
        "response_format",
        {"model": "triage", "messages": [TURN], "response_format": {"type": 5}},
        400,
        "invalid_type",
        "response_format.type",
        "expected `str`",
    ),
    ("a model near", {"model": "traige", "messages": [TURN]}, 404, "model_not_found", "model", "did you mean triage?"),
    ("a model unlike", {"model": "zzz", "messages": [TURN]}, 404, "model_not_found", "model", "there is plain, triage"),
]


@pytest.mark.parametrize("case", BAD, ids=[case[0] for case in BAD])
def test_a_bad_request_is_refused_in_one_sentence(http: Http, case: tuple[str, Any, int, str, str | None, str]) -> None:
    _, body, status, code, param, words = case
    got, headers, content = http("POST", CHAT, body)
    error = _error(content)
    assert (got, error["code"], error["param"]) == (status, code, param)
    assert words in error["message"]
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/absent", 404),
    ],
)
def test_every_path_refuses_in_the_same_shape(http: Http, method: str, path: str, status: int) -> None:
    got, _, content = http(method, path)
    assert got == status
    assert _error(content)["type"] == "invalid_request_error"


def test_a_large_body_is_refused(http: Http) -> None:
    status, _, content = http("POST", CHAT, b" " * 20_000_000)
    assert status == 413
    assert _error(content)["code"] == "body_too_large"


def test_a_large_body_of_unknown_length_is_refused_before_it_ends(gateway: House) -> None:
    with socket.create_connection(("127.0.0.1", gateway.settings.port)) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(81):
            client.sendall(chunk)
        assert client.recv(4096).startswith(b"HTTP/1.1 413")


def test_our_own_failure_shows_no_detail(gateway: House, http: Http) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    gateway.engines[0].complete = broken  # type: ignore[method-assign, assignment]
    status, _, content = http("POST", CHAT, {"model": "triage", "messages": [TURN]})
    assert status == 500
    assert b"secret" not in content


def test_a_port_in_use_is_refused(house: House) -> None:
    with socket.create_server(("127.0.0.1", house.settings.port)), pytest.raises(ResourceError, match="--port"):
        check_address(house.settings)


def test_other_machines_need_an_explicit_word() -> None:
    with pytest.raises(RefusedError, match="--beyond-loopback"):
        check_address(Settings(host="0.0.0.0"))


def test_health(http: Http) -> None:
    status, _, content = http("GET", "/healthz")
    assert (status, msgspec.json.decode(content)) == (200, {"status": "ok"})


def test_stopping_lets_the_answer_under_way_out(house: House) -> None:
    import openai

    answers: list[str | None] = []
    with house.open():
        house.engines[0].pause_s = 0.8
        client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0)

        def ask() -> None:
            turns: Any = [TURN]
            reply = client.chat.completions.create(model="triage", messages=turns)
            answers.append(reply.choices[0].message.content)

        asking = threading.Thread(target=ask)
        asking.start()
        while not house.engines[0].requests:
            time.sleep(0.01)
    asking.join()
    assert answers == ["payroll"]
    assert house.engines[0].stopped == 1
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", house.settings.port), timeout=1)


def test_a_client_that_hangs_up_stops_the_answer(gateway: House) -> None:
    engine = gateway.engines[0]
    engine.words, engine.pause_s = ["word "] * 200, 0.02
    body = msgspec.json.encode({"model": "triage", "messages": [TURN], "stream": True})
    with socket.create_connection(("127.0.0.1", gateway.settings.port)) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert client.recv(64).startswith(b"HTTP/1.1 200")
    assert engine.cut.wait(2), "the engine went on answering for nobody"


def test_every_error_of_ours_has_the_shape() -> None:
    from freehold.gateway.faults import GatewayError, fault_of

    def tree(kind: type[FreeholdError]) -> list[type[FreeholdError]]:
        return [kind, *(each for below in kind.__subclasses__() for each in tree(below))]

    for kind in tree(FreeholdError):
        if not issubclass(kind, GatewayError):
            fault = fault_of(kind("why"))
            assert fault.status == kind.http_status
            assert set(fault.body["error"]) == {"message", "type", "param", "code"}


def _error(content: bytes) -> dict[str, Any]:
    document = msgspec.json.decode(content)
    assert list(document) == ["error"]
    assert set(document["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = document["error"]
    return error
