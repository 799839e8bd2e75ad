"""What only the embedded engine does: its child's life, its digests, its secret."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from freehold.engines.engine import Completion, Gbnf, Labels, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.supervise import Child
from freehold.errors import EngineError, ModelFileError

SMALL = Settings(slots=1, context=128)
HELLO = Completion(prompt=(1, 9690, 198), sampling=Sampling(max_tokens=2))


def test_a_killed_child_is_replaced_and_the_answer_comes(smollm2: Path) -> None:
    engine = LlamaCpp(smollm2, settings=SMALL)
    engine.start()
    try:
        before = engine.complete(HELLO)
        assert engine.pid is not None
        os.kill(engine.pid, 9)
        assert engine.complete(HELLO).text == before.text
        assert engine.restarts == 1
    finally:
        engine.stop()


def test_a_child_that_hangs_is_replaced_and_the_answer_comes(smollm2: Path) -> None:
    engine = LlamaCpp(smollm2, settings=Settings(slots=1, context=128, hang_s=1.0))
    engine.start()
    try:
        before = engine.complete(HELLO)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        assert engine.complete(HELLO).text == before.text
        assert engine.restarts >= 1
    finally:
        engine.stop()


def test_a_child_out_of_memory_is_replaced_and_every_answer_comes(smollm2: Path) -> None:
    """Its address space may not grow any more: the next allocation fails, and the child ends in the middle of work."""
    engine = LlamaCpp(smollm2, settings=Settings(slots=2, context=512))
    engine.start()
    try:
        prompts = [tuple(range(1000 + at, 1200 + at)) for at in range(2)]
        asked = [Completion(prompt=each, sampling=Sampling(max_tokens=4)) for each in prompts]
        before = [engine.complete(each).text for each in asked]
        psutil.Process(engine.pid).rlimit(psutil.RLIMIT_AS, (1 << 20, 1 << 20))
        with ThreadPoolExecutor(2) as threads:
            assert [answer.text for answer in threads.map(engine.complete, asked)] == before
        assert engine.restarts == 1
    finally:
        engine.stop()


def test_a_stream_that_is_cut_fails_loudly(smollm2: Path) -> None:
    endless = Gbnf(grammar="root ::= [a-z ] root")  # left free, an answer may be over before it can be cut
    engine = LlamaCpp(smollm2, settings=Settings(slots=1, context=2048))
    engine.start()
    try:
        stream = engine.stream(
            Completion(prompt=(1, 9690, 198), sampling=Sampling(max_tokens=2000, constraint=endless))
        )
        next(stream)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="middle of an answer"):
            list(stream)
    finally:
        engine.stop()


def test_the_child_ends_with_its_parent(smollm2: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from freehold.engines.llamacpp import LlamaCpp, Settings\n"
        f"e = LlamaCpp(Path({str(smollm2)!r}), settings=Settings(slots=1, context=128))\n"
        "e.start(); print(e.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # nobody here reaps another's child
    except psutil.NoSuchProcess:
        return False


def test_the_secret_is_asked_for_and_on_no_command_line(smollm2: Path) -> None:
    engine = LlamaCpp(smollm2, settings=SMALL)
    engine.start()
    try:
        reach = engine.replicas[0].reach()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://{reach.host}:{reach.port}/v1/completions", data=b"{}")
        assert engine.pid is not None
        process = psutil.Process(engine.pid)
        assert reach.secret not in " ".join(process.cmdline())
        assert reach.secret not in " ".join(process.environ().values())
        assert reach.host == "127.0.0.1"
    finally:
        engine.stop()


def test_an_adapter_that_differs_from_its_digest_is_refused(smollm2: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "a.gguf"
    adapter.write_bytes(b"GGUF" + bytes(60))
    engine = LlamaCpp(smollm2, {"a": adapter}, SMALL, digests={"a": "0" * 64})
    with pytest.raises(ModelFileError, match="not the adapter a that was recorded"):
        engine.start()
    assert engine.pid is None


def test_a_truncated_model_is_refused_with_its_reason(smollm2: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    with smollm2.open("rb") as source:
        short.write_bytes(source.read(3_000_000))
    with pytest.raises(ModelFileError, match="refuses to start"):
        LlamaCpp(short, settings=SMALL).start()


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.gguf: no such model file"):
        LlamaCpp(tmp_path / "none.gguf").start()


def test_decoding_stops_where_the_rest_is_forced(smollm2: Path) -> None:
    """The answer is what full decoding gives: a label that is part of another is still told apart."""
    engine = LlamaCpp(smollm2, settings=SMALL)
    engine.start()
    try:
        labels = ("card", "card payment", "payment refused by the bank")
        texts = {label: engine.complete(_only(label, labels)).text for label in labels}
        assert set(texts.values()) <= set(labels)
    finally:
        engine.stop()


def _only(label: str, labels: tuple[str, ...]) -> Completion:
    return Completion(prompt=(1, 9690, 198), sampling=Sampling(max_tokens=16, constraint=Labels(labels=labels)))


def test_last_words_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    child = Child("freehold.engines.no_such_module", b"{}", log)
    assert child.report() is None
    assert child.wait() == 1
    child.end()
    assert "no_such_module" in child.last_words()
    assert "no_such_module" in log.read_text()
