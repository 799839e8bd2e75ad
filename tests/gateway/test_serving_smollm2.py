"""The real part: `freehold serve` as a process of its own, the embedded engine, the real `openai` client."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import psutil
import pytest
from gateway_house import free_port
from msgspec.structs import replace

from freehold.cli.main import run
from freehold.gateway import backends
from freehold.gateway.ask import ask_conversations
from freehold.gateway.chat import ChatRequest, Reply, Turn
from freehold.records import AnswerType, ConfidenceCurve
from freehold.render import Prompt
from freehold.store.database import connect
from freehold.store.deployments import BaseTarget, Cascade, Deployment, RemoteTarget, current, deploy
from freehold.store.workspace import Workspace

BASE = "smollm2-135m-instruct"
ASK: Any = [{"role": "user", "content": "My payslip is wrong this month."}]


@pytest.fixture(scope="module")
def workspace(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("serving") / ".freehold")
    workspace.models.mkdir(parents=True)
    (workspace.models / BASE).symlink_to(smollm2_folder)
    store = connect(workspace.database_url)
    prompt = Prompt(system="Say which team owns the message: payroll or safety.")
    triage = Deployment(
        name="triage",
        target=BaseTarget(base=BASE, prompt=prompt),
        answer_type=AnswerType.LABEL,
        labels=("payroll", "safety"),
    )
    plain = Deployment(name="smol", target=BaseTarget(base=BASE), max_tokens=12)
    for each in (triage, plain):
        deploy(store, each, "test")
    store.dispose()
    return workspace


@pytest.fixture(scope="module")
def served(workspace: Workspace) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", "from freehold.cli.main import main; main()", "serve", "--port", str(port)],
        env={**os.environ, "FREEHOLD_HOME": str(workspace.root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert f"http://127.0.0.1:{port}/v1" in process.stdout.readline()
    yield process, port
    process.kill()
    process.wait()


def test_the_openai_client_gets_a_label_from_the_real_engine(served: tuple[subprocess.Popen[str], int]) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{served[1]}/v1", api_key="any", max_retries=0)
    reply = client.chat.completions.create(model="triage", messages=ASK)
    assert reply.choices[0].message.content in ("payroll", "safety")
    assert reply.usage and reply.usage.prompt_tokens > 10
    streamed = list(client.chat.completions.create(model="triage", messages=ASK, stream=True))
    assert "".join(p.choices[0].delta.content or "" for p in streamed) == reply.choices[0].message.content
    assert {model.id for model in client.models.list()} == {"smol", "triage"}


def test_json_is_valid_when_it_is_asked_for(served: tuple[subprocess.Popen[str], int]) -> None:
    schema = {
        "type": "object",
        "properties": {"team": {"enum": ["pay", "safe"]}},
        "required": ["team"],
        "additionalProperties": False,
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{served[1]}/v1", api_key="any", max_retries=0)
    reply = client.chat.completions.create(model="smol", messages=ASK, response_format=wanted, max_tokens=40)
    assert msgspec.json.decode(reply.choices[0].message.content or "")["team"] in ("pay", "safe")


def test_too_long_a_conversation_is_refused_in_one_sentence(served: tuple[subprocess.Popen[str], int]) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{served[1]}/v1", api_key="any", max_retries=0)
    long: Any = [{"role": "user", "content": "word " * 5000}]
    with pytest.raises(openai.BadRequestError, match="shorten the messages"):
        client.chat.completions.create(model="smol", messages=long)


def test_a_cascade_hears_how_sure_the_real_engine_is(workspace: Workspace) -> None:
    remote = RemoteTarget(base_url="http://127.0.0.1:9/v1", model="never-asked")
    store = connect(workspace.database_url)
    heard: list[Reply] = []
    for name in ("triage", "smol"):
        deployment = current(store, name)
        everything = Cascade(
            of=deployment.target,
            to=remote,
            curve=ConfidenceCurve(),
            threshold=0.0,
            accuracy=0.5,
            n=1,
            kept=1,
            right=1,
        )
        ask = ChatRequest(model=name, messages=[Turn(role="user", content=ASK[0]["content"])], max_tokens=8)
        ask_conversations(
            workspace, backends.of(workspace), replace(deployment, cascade=everything), [ask], heard.append
        )
    store.dispose()
    assert all(reply.confidence is not None and 0 < reply.confidence < 1 for reply in heard)


def test_sigterm_stops_the_gateway_and_its_child(served: tuple[subprocess.Popen[str], int]) -> None:
    process, port = served
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_ask_answers_on_the_terminal(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(workspace.root))
    assert run(["ask", "triage", "My payslip is wrong this month."]) == 0
    assert capfd.readouterr().out.strip() in ("payroll", "safety")
    assert run(["ask", "traige", "hello"]) == 2
    assert "did you mean triage" in capfd.readouterr().err


def test_a_killed_gateway_leaves_no_child_behind(workspace: Workspace) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", "from freehold.cli.main import main; main()", "serve", "--port", str(port)],
        env={**os.environ, "FREEHOLD_HOME": str(workspace.root)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    begun = time.monotonic()
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() - begun < 15
        time.sleep(0.1)
