"""A remote endpoint: its answers, its patience, and what it says when it gives up."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from freehold.engines.chat import Chat
from freehold.engines.engine import JsonSchema, Labels, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.remote import Patience, Remote
from freehold.errors import EngineError, FreeholdError, NotFoundError, UserError
from freehold.records import Message

KEY = "sk-very-secret"
HELLO = Chat(messages=(Message(role="user", content="مرحبا, is fire hot?"),), sampling=Sampling(max_tokens=8))
GOOD = {
    "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
}

Script = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], object]]


class Upstream(ThreadingHTTPServer):
    """An API that answers what its script says of the request's number and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: Script = lambda number, body: (200, {}, GOOD)
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    def remote(self, patience: Patience | None = None) -> Remote:
        self.pauses: list[float] = []
        return Remote("gpt-x", f"http://127.0.0.1:{self.server_port}/v1", KEY, patience, self.pauses.append)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append(body | {"path": self.path})
        self.server.keys.append(self.headers["authorization"])
        status, headers, answer = self.server.script(len(self.server.seen), body)
        if status == 0:
            self.close_connection = True
            return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_answer_with_its_usage(upstream: Upstream) -> None:
    answer = upstream.remote().chat(HELLO)
    assert (answer.text, answer.input_tokens, answer.output_tokens, answer.cached_tokens) == ("yes", 12, 2, 4)
    assert upstream.seen[0]["path"] == "/v1/chat/completions"
    assert upstream.seen[0]["messages"] == [{"role": "user", "content": "مرحبا, is fire hot?"}]
    assert upstream.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_what_may_pass_is_tried_again(upstream: Upstream, status: int) -> None:
    upstream.script = lambda number, body: (200, {}, GOOD) if number == 3 else (status, {}, {"error": {"message": "x"}})
    assert upstream.remote().chat(HELLO).text == "yes"
    assert len(upstream.pauses) == 2
    assert upstream.pauses[0] <= 0.25 < upstream.pauses[1] * 2


def test_an_address_may_say_how_long_to_wait(upstream: Upstream) -> None:
    upstream.script = lambda number, body: (
        (200, {}, GOOD) if number == 2 else (429, {"Retry-After": "7"}, {"error": {"message": "slow down"}})
    )
    upstream.remote().chat(HELLO)
    assert upstream.pauses == [7.0]


def test_patience_ends_with_the_last_reason(upstream: Upstream) -> None:
    upstream.script = lambda number, body: (503, {}, {"error": {"message": "overloaded"}})
    with pytest.raises(EngineError, match=r"failed 3 times for gpt-x; last: HTTP 503: overloaded"):
        upstream.remote(patience=Patience(attempts=3)).chat(HELLO)
    assert len(upstream.seen) == 3


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [(401, UserError, "refuses the key"), (404, NotFoundError, "no model gpt-x"), (400, UserError, "HTTP 400")],
)
def test_what_will_not_pass_is_said_at_once(
    upstream: Upstream, status: int, kind: type[FreeholdError], says: str
) -> None:
    upstream.script = lambda number, body: (status, {}, {"error": {"message": f"wrong: {KEY}"}})
    with pytest.raises(kind, match=says) as caught:
        upstream.remote().chat(HELLO)
    assert len(upstream.seen) == 1
    assert KEY not in str(caught.value)


def test_a_parameter_that_the_model_refuses_is_left_out(upstream: Upstream) -> None:
    def script(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], object]:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return 400, {}, {"error": {"message": f"unsupported: {name}", "param": name}}
        return 200, {}, GOOD

    upstream.script = script
    remote = upstream.remote()
    assert remote.chat(HELLO).text == "yes"
    assert remote.chat(HELLO).text == "yes"
    assert upstream.seen[-1]["max_completion_tokens"] == 8
    assert len(upstream.seen) == 4


def test_a_schema_goes_along_and_labels_are_refused(upstream: Upstream) -> None:
    schema = {"type": "object"}
    bound = Chat(messages=HELLO.messages, sampling=Sampling(max_tokens=4, constraint=JsonSchema(json_schema=schema)))
    upstream.remote().chat(bound)
    assert upstream.seen[0]["response_format"]["json_schema"]["schema"] == schema
    labelled = Chat(messages=HELLO.messages, sampling=Sampling(max_tokens=4, constraint=Labels(labels=("a",))))
    with pytest.raises(UserError, match="JSON Schema only"):
        upstream.remote().chat(labelled)


@pytest.mark.parametrize("answer", [b"<html>", {"choices": []}, {"error": "no"}, {"choices": [{"message": {}}]}])
def test_an_answer_that_is_none_is_an_error(upstream: Upstream, answer: object) -> None:
    upstream.script = lambda number, body: (200, {}, answer)
    with pytest.raises(EngineError, match="no chat completion"):
        upstream.remote().chat(HELLO)


@pytest.mark.parametrize("address", ["api.openai.com", "ftp://x/v1", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="no http or https address"):
        Remote("gpt-x", address)


def test_a_real_openai_compatible_server_answers(smollm2: Path) -> None:
    engine = LlamaCpp(smollm2, settings=Settings(slots=1, context=256))
    engine.start()
    try:
        address = engine.address()
        answer = Remote("smollm2", address.url, address.secret).chat(HELLO)
        assert answer.text
        assert 0 < answer.output_tokens <= 8
        with pytest.raises(UserError, match="refuses the key"):
            Remote("smollm2", address.url, "wrong").chat(HELLO)
    finally:
        engine.stop()
