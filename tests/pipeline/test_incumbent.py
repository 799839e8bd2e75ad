"""The model that answers today is asked over its own address; one that cannot be reached is left out, and said so."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from things import things, write_task

from freehold import pipeline, spec
from freehold.engines import remote
from freehold.progress import SILENT
from freehold.records import CandidateKind
from freehold.store.workspace import Workspace

_INCUMBENT = """\
candidates: []
incumbent: {{model: rented-1, base_url: '{url}', api_key: '${{RENTED_KEY}}'}}
"""


class _Rented(BaseHTTPRequestHandler):
    """Answers every message with `tool`."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == "Bearer secret"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "tool"}}
        usage = {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}
        body = json.dumps({"object": "chat.completion", "model": "rented-1", "choices": [choice], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Rented)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def _run(folder: Path, url: str) -> pipeline.Outcome:
    path = write_task(folder, things())
    path.write_text(path.read_text() + _INCUMBENT.format(url=url))
    return pipeline.run(spec.load(path), Workspace(folder / ".freehold"), SILENT)


def test_it_is_measured_beside_the_candidates(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENTED_KEY", "secret")
    outcome = _run(tmp_path, address)
    rented = next(each for each in outcome.report.figures if each.candidate.kind is CandidateKind.INCUMBENT)
    assert 0.3 < rented.metric.value < 0.7
    assert rented.tokens_per_request == 32
    assert outcome.decision.against == "rented-1"


def test_one_that_cannot_be_reached_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENTED_KEY", "secret")
    monkeypatch.setattr(remote, "backoff_s", lambda attempt: 0.0)
    outcome = _run(tmp_path, "http://127.0.0.1:9/v1")
    assert {each.candidate.kind for each in outcome.report.figures} == {CandidateKind.CLASSIFIER}
