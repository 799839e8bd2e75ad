"""The machine's own llama-server: where it is found, when it is preferred, and that it ends with its keeper."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import msgspec
import psutil
import pytest

from freehold.engines import environments
from freehold.engines.bench import Bench, Level
from freehold.engines.build_native import PATCHES
from freehold.engines.contract import CLAUSES, check
from freehold.engines.engine import Completion, Sampling
from freehold.engines.fake import Fake
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.native import NATIVE, WHEEL, gain, preferred
from freehold.engines.program_child import Program
from freehold.engines.quantise import Encoding, reencode
from freehold.engines.random_adapter import write_random_adapter
from freehold.engines.supervise import Child
from freehold.errors import EngineError, ModelFileError
from freehold.store.workspace import write_record


@pytest.fixture
def engines_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of engines, and nothing on PATH."""
    monkeypatch.setenv("FREEHOLD_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "engines"


def test_a_built_server_goes_before_one_on_path(engines_folder: Path, tmp_path: Path) -> None:
    assert environments.native_server() is None
    (tmp_path / environments.SERVER).write_text("#!/bin/sh\n")
    (tmp_path / environments.SERVER).chmod(0o755)
    assert environments.native_server() == tmp_path / environments.SERVER
    environments.built_server().parent.mkdir(parents=True)
    environments.built_server().write_text("")
    assert environments.native_server() == environments.built_server()


def test_what_is_applied_to_llama_cpp_ships_with_it() -> None:
    assert len(list(PATCHES.glob("*.patch"))) == 3


@pytest.mark.parametrize(("native", "chosen"), [(18.8, True), (10.9, False)])
def test_it_is_preferred_where_it_was_measured_faster(
    engines_folder: Path, tmp_path: Path, native: float, chosen: bool
) -> None:
    environments.built_server().parent.mkdir(parents=True)
    environments.built_server().write_text("")
    assert preferred(tmp_path / "bench") is None  # nothing was measured
    write_record(tmp_path / "bench" / "a.json", _bench(WHEEL, 12.2))
    assert gain(tmp_path / "bench") is None
    write_record(tmp_path / "bench" / "a-native.json", _bench(NATIVE, native))
    assert (preferred(tmp_path / "bench") == str(environments.built_server())) is chosen


def _bench(engine: str, rate: float) -> Bench:
    level = Level(
        clients=16, requests=9, requests_per_second=rate, tokens_per_second=rate,
        first_token_p50_ms=1.0, first_token_p95_ms=1.0, cached=0.5,
    )  # fmt: skip
    return Bench(engine=engine, version="", weights="weights.gguf", cores=2, levels=(level,))


def test_an_engine_that_ignores_labels_breaks_the_contract() -> None:
    class Deaf(Fake):
        def complete(self, request: Completion) -> object:  # type: ignore[override]
            return super().complete(Completion(prompt=request.prompt, sampling=Sampling(max_tokens=24)))

    deaf = Deaf(lambda _: "yes it is hot", context=4096)
    deaf.start()
    with pytest.raises(EngineError, match="a label, in any script"):
        check(deaf)


def test_a_program_that_cannot_run_is_refused(smollm2: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be run"):
        LlamaCpp(smollm2, settings=Settings(program=str(tmp_path / "none"))).start()


def test_the_native_server_keeps_the_contract_and_ends_with_its_keeper(smollm2: Path) -> None:
    program = environments.native_server()
    if program is None:
        pytest.skip("no native llama-server; freehold engines build")
    engine = LlamaCpp(smollm2, settings=Settings(slots=2, context=512, program=str(program)))
    engine.start()
    try:
        assert check(engine) == len(CLAUSES)
        assert engine.pid is not None
        (server,) = (each for each in psutil.Process(engine.pid).children() if each.exe() == os.path.realpath(program))
        assert engine.replicas[0].reach().secret not in " ".join([*server.cmdline(), *server.environ().values()])
        os.kill(engine.pid, signal.SIGKILL)
        assert engine.complete(Completion(prompt=(1, 9690), sampling=Sampling(max_tokens=2))).text
        deadline = time.monotonic() + 10
        while server.is_running() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.is_running()
    finally:
        engine.stop()


@pytest.mark.parametrize("encoding", ["Q8_0", "Q4_0"])
def test_the_native_server_says_what_the_wheel_says(smollm2: Path, tmp_path: Path, encoding: Encoding) -> None:
    """To within rounding, with and without an adapter, for prompts that fill tiles and panels of products and not.

    Activations are rounded to 8 bits at every product, so that an unpatched build is 0.05 nats from the wheel too.
    """
    program = environments.native_server()
    if program is None:
        pytest.skip("no native llama-server; freehold engines build")
    base, adapter = tmp_path / "base.gguf", tmp_path / "adapter.gguf"
    reencode(smollm2, base, encoding)
    write_random_adapter(base, adapter, seed=1)
    native, wheel = (_likeliest(base, adapter, each) for each in (str(program), None))
    apart = []
    for one, other in zip(native, wheel, strict=True):
        common = one.keys() & other.keys()
        assert len(common) >= len(one) // 2
        apart.append(mean(abs(one[each] - other[each]) for each in common))
    assert mean(apart) < 0.1
    assert max(apart) < 0.25


def _likeliest(base: Path, adapter: Path, program: str | None) -> list[Mapping[str, float]]:
    engine = LlamaCpp(base, {"a": adapter}, Settings(slots=1, context=512, threads=1, program=program))
    engine.start()
    try:
        sampling = Sampling(max_tokens=1, logprobs=8)
        prompts = [tuple(range(300, 300 + length)) for length in (1, 2, 5, 37, 64, 83, 200)]
        asked = [Completion(prompt=each, sampling=sampling, adapter=name) for each in prompts for name in (None, "a")]
        answers = [engine.complete(each) for each in asked]
    finally:
        engine.stop()
    return [answer.logprobs[0].top for answer in answers if answer.logprobs]


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_whatever_a_program_started_ends_with_its_keeper(tmp_path: Path, how: signal.Signals | None) -> None:
    """As vLLM's workers do: a process that the program leaves behind, and that nobody told to end."""
    child, left = _leaving_one_behind(tmp_path)
    assert left.is_running()
    if how is None:
        child.end()
    else:
        child.kill()
    assert _ends(left)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_program_ends_with_its_keeper_even_if_the_watcher_is_killed_too(tmp_path: Path) -> None:
    child, left = _leaving_one_behind(tmp_path)
    keeper, server = psutil.Process(child.pid), left.parent()
    assert server is not None
    (watcher,) = (each for each in keeper.children() if each != server)
    try:
        watcher.kill()
        keeper.kill()
        assert _ends(server)
    finally:
        left.kill()


def _leaving_one_behind(folder: Path) -> tuple[Child, psutil.Process]:
    """A keeper whose program is ready, and the process that the program leaves behind."""
    (folder / "server.py").write_text(_LEAVES_ONE_BEHIND)
    command = (sys.executable, str(folder / "server.py"), "{port}", str(folder / "pid"))
    child = Child("freehold.engines.program_child", msgspec.json.encode(Program(command=command, secret="x")))
    assert b"ready" in (child.report() or b"")
    return child, psutil.Process(int((folder / "pid").read_text()))


def _ends(process: psutil.Process) -> bool:
    deadline = time.monotonic() + 10
    while _runs(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _runs(process)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


_LEAVES_ONE_BEHIND = """
import http.server, subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[2], "w").write(str(left.pid))
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""
