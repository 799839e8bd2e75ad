"""Seen from outside: metrics, traces, logs without content, a graceful stop, what is followed, and TLS."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
from gateway_house import House, RunningUpstream, free_port
from msgspec.structs import replace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from freehold.gateway.ask import ask
from freehold.store.deployments import Deployment, RemoteTarget, deploy
from freehold.store.guardrails import CacheRule, Guardrail
from freehold.store.keys import Allowance, create

CANARY = "canary-4471-zebra"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made.split(), *names], check=True, capture_output=True)
    return cert, key


@contextmanager
def served(house: House, *options: str) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """The command itself, in a process of its own, and the file that holds what it says."""
    said = house.workspace.root / "said.log"
    command = [sys.executable, "-m", "freehold", "serve", "--port", str(house.settings.port), *options]
    environment = {**os.environ, "FREEHOLD_HOME": str(house.workspace.root)}
    with said.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        try:
            until = time.monotonic() + 60
            while not _is_open(house.settings.port):
                assert process.poll() is None and time.monotonic() < until, said.read_text()
                time.sleep(0.05)
            yield process, said
        finally:
            process.terminate()


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _chat(text: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (any JSON value)
    return {"model": "shop", "messages": [{"role": "user", "content": text}], **more}


def _shop(upstream: RunningUpstream, **more: Any) -> Deployment:  # noqa: ANN401 (any field)
    return Deployment(name="shop", target=RemoteTarget(base_url=upstream.url, model="gpt-4o-mini"), **more)


def test_prometheus_own_parser_reads_the_metrics(house: House, upstream: RunningUpstream) -> None:
    rule = Guardrail(name='a "quoted" \\ name', when="before", check="length", settings={"most": "9"}, action="flag")
    deploy(house.store, _shop(upstream, guardrails=(rule,), cache=CacheRule(sampled=True)), "test")
    with house.open():
        for _ in range(2):
            httpx.post(f"{house.url}/v1/chat/completions", json=_chat("hello"))
        answer = httpx.get(f"{house.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {name: family.type for name, family in found.items()} == {
        "freehold_requests": "counter",
        "freehold_attempts": "counter",
        "freehold_tokens": "counter",
        "freehold_guardrail_checks": "counter",
        "freehold_guardrail_seconds": "counter",
        "freehold_cache_requests": "counter",
        "freehold_request_seconds": "histogram",
        "freehold_cache_bytes": "gauge",
        "freehold_store_failing": "gauge",
        "freehold_uncaptured": "gauge",
    }
    (checked,) = found["freehold_guardrail_checks"].samples
    assert checked.labels == {"model": "shop", "guardrail": rule.name, "outcome": "pass"} and checked.value == 2
    buckets = [each for each in found["freehold_request_seconds"].samples if each.name.endswith("_bucket")]
    assert [each.value for each in buckets] == sorted(each.value for each in buckets) and buckets[-1].value == 2


class Collector:
    """An OTLP collector: it takes spans over HTTP, in protobuf."""

    def __init__(self) -> None:
        self.raw = b""
        self.spans: list[Any] = []
        collector = self

        class Taking(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                content = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    content = gzip.decompress(content)
                collector.raw += content
                for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
                    collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()


def _told(span: Any) -> dict[str, Any]:  # noqa: ANN401 (a protobuf message)
    kinds = {"string_value": str, "int_value": int, "bool_value": bool}
    return {
        each.key: kinds[each.value.WhichOneof("value")](getattr(each.value, each.value.WhichOneof("value")))
        for each in span.attributes
    }


def test_a_trace_is_taken_in_passed_on_and_holds_no_content(
    house: House, upstream: RunningUpstream, collector: Collector
) -> None:
    deploy(house.store, _shop(upstream), "test")
    house.settings = replace(house.settings, traces=collector.url)
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with house.open():
        given = {"traceparent": f"00-{trace}-{parent}-01", "authorization": f"Bearer sk-{CANARY}"}
        url = f"{house.url}/v1/chat/completions"
        answer = httpx.post(url, json=_chat(CANARY), headers=given)
        passed = upstream.app.headers[b"traceparent"].decode()
        upstream.turn(errors=1.0, status=400)
        httpx.post(url, json=_chat(CANARY, stream=True))
        unsampled = {"traceparent": f"00-{trace}-{parent}-00"}
        httpx.post(url, json=_chat(CANARY), headers=unsampled)
        assert upstream.app.headers[b"traceparent"].decode() == unsampled["traceparent"]
    ours = [each for each in collector.spans if each.trace_id.hex() == trace]
    attempt, request = sorted(ours, key=lambda each: each.kind, reverse=True)
    assert (request.parent_span_id.hex(), attempt.parent_span_id) == (parent, request.span_id)
    assert passed == f"00-{trace}-{attempt.span_id.hex()}-01"
    assert request.start_time_unix_nano <= attempt.start_time_unix_nano <= attempt.end_time_unix_nano
    assert (request.name, attempt.name) == ("POST /v1/chat/completions", "chat gpt-4o-mini")
    assert _told(request)["freehold.exchange"] == answer.headers["x-freehold-exchange"]
    told = _told(attempt)
    usage = answer.json()["usage"]
    assert told["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert (told["gen_ai.operation.name"], told["gen_ai.request.model"], told["gen_ai.response.model"]) == (
        "chat",
        "shop",
        "gpt-4o-mini",
    )
    assert (told["server.address"], told["server.port"]) == ("127.0.0.1", upstream.port)
    assert len(collector.spans) == 4
    assert any(_told(each).get("error.type") == "request" and each.status.code == 2 for each in collector.spans)
    assert CANARY.encode() not in collector.raw


def test_log_lines_name_a_request_and_hold_nothing_of_it(house: House, upstream: RunningUpstream) -> None:
    upstream.turn(tokens=9)
    deploy(house.store, _shop(upstream), "test")
    _, secret = create(house.store, "billing-app", Allowance())
    with served(house, "--log-format", "json") as (process, said):
        headers = {
            "authorization": f"Bearer {secret}",
            "x-freehold-tags": f"t={CANARY}",
            "x-freehold-session": CANARY,
            "x-other": CANARY,
        }
        url = f"http://127.0.0.1:{house.settings.port}/v1/chat/completions"
        fine = httpx.post(url, json=_chat(CANARY, user=CANARY), headers=headers)
        streamed = httpx.post(url, json=_chat(CANARY, stream=True), headers=headers)
        assert httpx.post(url, content=f'{{"model": 7, "x": "{CANARY}"'.encode()).status_code == 400
        assert httpx.post(url, json=_chat(CANARY), headers={"authorization": f"Bearer fh_{CANARY}"}).status_code == 401
        process.terminate()
        assert process.wait(30) == 0
    text = said.read_text()
    assert CANARY not in text and secret not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    requests = {each["exchange"]: each for each in lines if each["event"] == "request"}
    line = requests[fine.headers["x-freehold-exchange"]]
    assert (line["model"], line["key"], line["status"], line["finished"]) == ("shop", "billing-app", 200, True)
    assert (line["output_tokens"], line["outcomes"]) == (9, ["ok"])
    assert line["latency_ms"] > 0 and line["cost_pico"] > 0
    assert requests[streamed.headers["x-freehold-exchange"]]["first_byte_ms"] > 0
    assert len(requests) == 2


def test_an_error_in_a_log_line_is_its_kind_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    from freehold.gateway.logs import logging_to_stderr

    with logging_to_stderr("json"):
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            logging.getLogger("x").exception("%s failed", "POST")
            logging.getLogger("x").error("the store takes nothing (%s)", error)
    out = capsys.readouterr().err
    first, second = map(json.loads, out.splitlines())
    assert CANARY not in out
    assert (first["error"], first["message"], second["message"]) == (
        "KeyError",
        "POST failed",
        "the store takes nothing (KeyError)",
    )
    assert "test_outside.py" in first["where"][-1]


def test_a_stop_lets_a_slow_stream_out(house: House, upstream: RunningUpstream) -> None:
    upstream.turn(tokens=30, pause_ms=60)
    deploy(house.store, _shop(upstream), "test")
    with served(house) as (process, _):
        url = f"http://127.0.0.1:{house.settings.port}/v1/chat/completions"
        with httpx.stream("POST", url, json=_chat("hello", stream=True), timeout=60) as answer:
            lines = answer.iter_lines()
            assert next(lines)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            rest = [each for each in lines if each]
        assert rest[-1] == "data: [DONE]" and len(rest) > 25
        assert process.wait(30) == 0
    assert house.kept()[0].finished


def test_the_upstream_is_followed_while_it_runs(house: House, upstream: RunningUpstream) -> None:
    file = house.workspace.root / "upstream.json"
    with house.open(), RunningUpstream().open() as second:
        url = f"{house.url}/v1/chat/completions"
        assert httpx.post(url, json={**_chat("hello"), "model": "gpt-4o"}).status_code == 404
        for to in (upstream, second):
            file.write_text(json.dumps({"upstream": to.url}))
            time.sleep(2.2)
            assert httpx.post(url, json={**_chat("hello"), "model": "gpt-4o"}).status_code == 200
            assert to.app.seen == 1
        file.write_text('{"upstraem": "x"}')
        time.sleep(1.5)
        assert httpx.post(url, json={**_chat("hello"), "model": "gpt-4o"}).status_code == 200


def test_the_real_client_over_tls(house: House, upstream: RunningUpstream, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    deploy(house.store, _shop(upstream), "test")
    _, secret = create(house.store, "app", Allowance())
    house.settings = replace(house.settings, tls_cert=str(cert), tls_key=str(key), host="0.0.0.0")
    import ssl

    with house.open():
        base = f"https://127.0.0.1:{house.settings.port}/v1"
        trusted = httpx.Client(verify=ssl.create_default_context(cafile=str(cert)))
        client = openai.OpenAI(base_url=base, api_key=secret, max_retries=0, http_client=trusted)
        chat: dict[str, Any] = _chat("hello")
        whole = client.chat.completions.create(**chat).choices[0].message.content
        pieces = [each.choices[0].delta.content or "" for each in client.chat.completions.create(**chat, stream=True)]
        assert "".join(pieces) == whole
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{base}/models")
        with pytest.raises(openai.AuthenticationError):  # reachable from outside, so a key is a must
            openai.OpenAI(base_url=base, api_key="sk-own", max_retries=0, http_client=trusted).models.list()


def test_ask_reaches_a_gateway_over_tls(house: House, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    house.settings = replace(house.settings, tls_cert=str(cert), tls_key=str(key))
    with house.open():
        assert ask(house.workspace, house.backends, "plain", "payroll is late").text == "payroll"
        assert len(house.kept()) == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--host", "0.0.0.0"), 3, "--tls-cert"),
        (("--tls-cert", "CERT"), 2, "come together"),
        (("--tls-cert", "CERT", "--tls-key", "CERT"), 2, "no PEM certificate"),
        (("--tls-cert", "gone.pem", "--tls-key", "KEY"), 2, "no PEM certificate"),
    ],
)
def test_what_is_half_safe_is_refused(
    house: House, certificate: tuple[Path, Path], options: tuple[str, ...], code: int, said: str
) -> None:
    named = {"CERT": str(certificate[0]), "KEY": str(certificate[1])}
    command = [
        sys.executable,
        "-m",
        "freehold",
        "serve",
        "--port",
        str(free_port()),
        *(named.get(o, o) for o in options),
    ]
    environment = {**os.environ, "FREEHOLD_HOME": str(house.workspace.root)}
    found = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert found.returncode == code and said in found.stderr
