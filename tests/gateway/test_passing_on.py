"""What is not owned goes to the upstream as it came, comes back as it is, and is recorded."""

import logging
import os
import socket
import threading
import time
from typing import Any

import msgspec
import openai
import pytest
from gateway_house import House, RunningUpstream, free_port
from msgspec.structs import replace

from freehold.data.subject import Subjects
from freehold.gateway.endpoints import CHAT, MESSAGES, RESPONSES
from freehold.store.exchanges import found

ASK: Any = [{"role": "user", "content": "wer löst das? 日本"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]


def client_of(house: House, **settings: dict[str, str]) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="sk-callers-own", max_retries=0, timeout=20, **settings)  # type: ignore[arg-type]


def test_a_request_passes_untouched_with_the_callers_own_key(passing: House, upstream: RunningUpstream) -> None:
    reply = client_of(passing).chat.completions.create(
        model="gpt-4o-mini", messages=ASK, extra_body={"a_field_of_tomorrow": {"x": [1, 2]}}
    )
    assert upstream.app.last["a_field_of_tomorrow"] == {"x": [1, 2]}
    assert upstream.app.last["messages"] == ASK
    assert upstream.app.secret == "Bearer sk-callers-own"
    (exchange,) = passing.kept()
    assert exchange.model == "gpt-4o-mini"
    assert msgspec.json.decode(exchange.request or "")["messages"] == ASK
    assert msgspec.json.decode(exchange.answer or "")["choices"][0]["message"]["content"] == (
        reply.choices[0].message.content
    )


def test_no_key_is_kept_anywhere(passing: House) -> None:
    client = client_of(passing, default_headers={"X-Freehold-Session": "s1"})
    client.chat.completions.create(model="gpt-4o-mini", messages=ASK)
    list(client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True))
    passing.kept()
    for path in passing.workspace.root.rglob("*"):
        if path.is_file():
            assert b"sk-callers-own" not in path.read_bytes(), path


@pytest.mark.parametrize("split", [None, 1, 2, 3, 7, 64])
def test_a_stream_is_passed_on_and_recorded_whole_however_it_is_cut(
    passing: House, upstream: RunningUpstream, split: int | None
) -> None:
    upstream.turn(split=split)
    client = client_of(passing)
    whole = client.chat.completions.create(model="gpt-4o-mini", messages=ASK).choices[0].message.content
    pieces = list(client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole
    assert all(piece.usage is None for piece in pieces), "the counts that Freehold asked for stay with Freehold"
    streamed = passing.kept()[0]
    assert streamed.stream
    assert msgspec.json.decode(streamed.answer or "")["choices"][0]["message"]["content"] == whole
    attempt = found(passing.store, streamed.id)[1][0]
    assert (attempt.output_tokens, attempt.estimated) == (12, False)


def test_a_client_that_asks_for_the_counts_gets_them(passing: House) -> None:
    options: Any = {"include_usage": True}
    stream = client_of(passing).chat.completions.create(
        model="gpt-4o-mini", messages=ASK, stream=True, stream_options=options
    )
    *_, last = stream
    assert last.usage and last.usage.completion_tokens == 12


@pytest.mark.parametrize("split", [None, 1, 5])
def test_streamed_tool_calls(passing: House, upstream: RunningUpstream, split: int | None) -> None:
    upstream.turn(split=split)
    stream = client_of(passing).chat.completions.create(model="gpt-4o-mini", messages=ASK, tools=TOOLS, stream=True)
    arguments = "".join(
        call.function.arguments or ""
        for piece in stream
        for call in piece.choices[0].delta.tool_calls or ()
        if call.function
    )
    assert arguments == '{"city":"Zürich"}'
    message = msgspec.json.decode(passing.kept()[0].answer or "")["choices"][0]["message"]
    function = {"name": "weather", "arguments": arguments}
    assert message["tool_calls"] == [{"type": "function", "function": function, "id": "call_1"}]


def test_other_endpoints(passing: House) -> None:
    client = client_of(passing)
    assert client.embeddings.create(model="text-embedding-3-small", input=["a", "b"]).data[1].index == 1
    assert client.completions.create(model="gpt-4o-mini", prompt="hello").choices[0].text
    assert client.responses.create(model="gpt-4o-mini", input="hello").output_text
    with client.responses.stream(model="gpt-4o-mini", input="hello") as stream:
        assert stream.get_final_response().output_text
    assert [exchange.endpoint for exchange in reversed(passing.kept())] == [
        "embeddings",
        "completions",
        "responses",
        "responses",
    ]
    assert all(attempt.output_tokens == 12 for attempt in passing.attempts()[1:])


def test_an_answer_is_never_pressed_on_its_way(passing: House, upstream: RunningUpstream) -> None:
    upstream.turn(gzip=True)
    headers = {"Accept-Encoding": "gzip, br"}
    client_of(passing).chat.completions.create(model="gpt-4o-mini", messages=ASK, extra_headers=headers)
    assert upstream.app.headers[b"accept-encoding"] == b"identity"
    assert msgspec.json.decode(passing.kept()[0].answer or "")["choices"]


def test_other_stream_options_stay(passing: House, upstream: RunningUpstream) -> None:
    options: Any = {"include_obfuscation": False}
    list(
        client_of(passing).chat.completions.create(
            model="gpt-4o-mini", messages=ASK, stream=True, stream_options=options
        )
    )
    assert upstream.app.last["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_a_client_that_leaves_while_its_answer_is_kept_is_billed_once(
    passing: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked, released = os.fdatasync, threading.Event(), threading.Event()

    def held(file: int) -> None:
        asked.set()
        released.wait(10)
        real(file)

    monkeypatch.setattr(os, "fdatasync", held)
    body = msgspec.json.encode({"model": "gpt-4o-mini", "messages": ASK})
    with socket.create_connection(("127.0.0.1", passing.settings.port)) as raw:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        raw.sendall(head.encode() + body)
        assert asked.wait(10)
    time.sleep(0.3)
    released.set()
    end = time.monotonic() + 5
    while not passing.kept() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    assert [row.outcome for row in passing.attempts()] == ["ok"]


def test_models_of_both_houses_are_listed(passing: House) -> None:
    assert [model.id for model in client_of(passing).models.list()] == ["plain", "triage", "gpt-4o-mini"]


def test_an_upstreams_own_refusal_is_passed_on_as_it_is(passing: House, upstream: RunningUpstream) -> None:
    upstream.turn(rate_limit=0)
    with pytest.raises(openai.RateLimitError, match="slow down") as refused:
        client_of(passing).chat.completions.create(model="gpt-4o-mini", messages=ASK)
    assert refused.value.response.headers["retry-after"] == "1"
    assert passing.kept()[0].status == 429
    assert passing.attempts()[0].outcome == "rate_limit"


def test_html_never_looks_like_an_answer(passing: House, upstream: RunningUpstream) -> None:
    upstream.turn(html=True)
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="text/html"):
            client_of(passing).chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=stream)


def test_an_upstream_that_is_not_there(house: House) -> None:
    house.settings = replace(house.settings, upstream=f"http://127.0.0.1:{free_port()}/v1")
    with house.open(), pytest.raises(openai.InternalServerError, match="cannot be reached"):
        client_of(house).chat.completions.create(model="gpt-4o-mini", messages=ASK)


@pytest.mark.parametrize("cut_after", [1, 3, 9])
def test_a_stream_that_breaks_off_ends_in_an_error(passing: House, upstream: RunningUpstream, cut_after: int) -> None:
    upstream.turn(cuts=1.0, cut_after=cut_after)
    seen = []
    with pytest.raises(openai.APIError, match="broke off"):
        for piece in client_of(passing).chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True):
            seen.append(piece)
    assert len(seen) == cut_after
    assert not any(piece.choices[0].finish_reason for piece in seen)
    exchange = passing.kept()[0]
    assert not exchange.finished
    assert passing.attempts()[0].estimated


def test_a_client_that_hangs_up_cancels_the_upstream_call(passing: House, upstream: RunningUpstream) -> None:
    upstream.turn(endless=True)
    stream = client_of(passing).chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True)
    next(iter(stream))
    stream.close()
    end = time.monotonic() + 5
    while not upstream.app.cancelled and time.monotonic() < end:
        time.sleep(0.02)
    assert upstream.app.cancelled
    (exchange,) = passing.soon_kept()
    assert (exchange.status, exchange.finished) == (499, False)
    assert [(each.outcome, each.estimated) for each in passing.attempts()] == [("hung_up", True)]


def test_headers_carry_tags_and_session(passing: House) -> None:
    headers = {"X-Freehold-Tags": "team=billing, env=prod", "X-Freehold-Session": "s1", "X-Freehold-Subject": "u7"}
    reply = client_of(passing).chat.completions.with_raw_response.create(
        model="gpt-4o-mini", messages=ASK, extra_headers=headers
    )
    (exchange,) = passing.kept()
    assert msgspec.json.decode(exchange.tags) == {"team": "billing", "env": "prod"}
    assert (exchange.session, exchange.subject) == ("s1", Subjects(passing.workspace).pseudonym("u7"))
    assert reply.headers["x-freehold-exchange"] == exchange.id
    assert float(reply.headers["x-freehold-overhead-ms"]) > 0


def test_opting_out_leaves_the_bill_and_no_text(passing: House) -> None:
    client_of(passing).chat.completions.create(
        model="gpt-4o-mini", messages=ASK, extra_headers={"X-Freehold-Capture": "off"}
    )
    (exchange,) = passing.kept()
    assert (exchange.request, exchange.answer) == (None, None)
    assert passing.attempts()[0].output_tokens == 12


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Freehold-Tags", "no-value-name="),
        ("X-Freehold-Tags", "a b=c"),
        ("X-Freehold-Tags", "a=" + "x" * 300),
        ("X-Freehold-Session", "x" * 300),
        ("X-Freehold-Capture", "maybe"),
        ("X-Freehold-Sesion", "typo"),
    ],
)
def test_a_header_that_cannot_be_kept_is_refused(passing: House, header: str, value: str) -> None:
    ask = client_of(passing).chat.completions.create
    if value == "no-value-name=":
        ask(model="gpt-4o-mini", messages=ASK, extra_headers={header: value})
        return
    with pytest.raises(openai.BadRequestError, match="X-Freehold-"):
        ask(model="gpt-4o-mini", messages=ASK, extra_headers={header: value})
    assert passing.kept() == []


def test_a_line_break_in_a_tag_does_not_become_a_header(passing: House) -> None:
    with socket.create_connection(("127.0.0.1", passing.settings.port)) as raw:
        body = msgspec.json.encode({"model": "gpt-4o-mini", "messages": ASK})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        head += "x-freehold-tags: a=b\x01\r\n\r\n"
        raw.sendall(head.encode() + body)
        assert raw.recv(64).startswith(b"HTTP/1.1 400")


def test_feedback_is_kept_and_shown_with_the_exchange(passing: House) -> None:
    client = client_of(passing)
    reply = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=ASK)
    id = reply.headers["x-freehold-exchange"]
    passing.kept()
    raw: Any = client.with_options(base_url=f"{passing.url}/freehold/v1")
    raw.post("/feedback", body={"exchange": id, "verdict": "corrected", "correction": "the right one"}, cast_to=object)
    shown = raw.get(f"/exchanges/{id}", cast_to=object)
    assert shown["feedback"][0]["correction"] == "the right one"
    assert shown["attempts"][0]["currency"] == "USD"
    assert shown["attempts"][0]["cost"] > 0
    for wrong in ({"exchange": id, "verdict": "great"}, {"exchange": id, "verdict": "corrected"}):
        with pytest.raises(openai.BadRequestError):
            raw.post("/feedback", body=wrong, cast_to=object)
    with pytest.raises(openai.NotFoundError):
        raw.post("/feedback", body={"exchange": "0" * 32, "verdict": "accepted"}, cast_to=object)


def test_merging_what_other_dialects_stream() -> None:
    from freehold.gateway.fake_upstream import _DIALECTS

    request = {"model": "m", "messages": ASK, "input": "x"}
    for endpoint, path in ((CHAT, "/chat/completions"), (RESPONSES, "/responses"), (MESSAGES, "/messages")):
        events = _DIALECTS[path].events({**request, "stream_options": {"include_usage": True}}, 12)
        whole = _DIALECTS[path].whole(request, 12)
        merged = endpoint.whole(events)
        assert merged is not None
        assert merged["usage"]["total_tokens" if path != "/messages" else "output_tokens"]
        for part in ("choices", "output", "content"):
            if part in whole:
                assert _texts(merged[part]) == _texts(whole[part])
        assert [endpoint.is_last(each) for each in events] == [False] * (len(events) - 1) + [True]


def test_the_log_holds_no_content(passing: House, upstream: RunningUpstream, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="freehold")
    upstream.turn(errors=1.0)
    with pytest.raises(openai.InternalServerError):
        client_of(passing).chat.completions.create(model="gpt-4o-mini", messages=ASK)
    assert "löst" not in caplog.text
    assert "sk-callers-own" not in caplog.text


def _texts(value: object) -> str:
    if isinstance(value, dict):
        return "".join(_texts(each) for name, each in value.items() if name in ("message", "content", "text"))
    return "".join(map(_texts, value)) if isinstance(value, list) else str(value or "")
