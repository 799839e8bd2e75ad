"""Which adapter answered is certain: two real adapters on a real two-layer base, through the real gateway."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace

from freehold.engines.engine import Engine
from freehold.engines.llamacpp import LlamaCpp
from freehold.engines.pool import Pool
from freehold.engines.random_adapter import write_random_adapter
from freehold.gateway import backends
from freehold.gateway.backends import Backends
from freehold.records import AdapterManifest, Base
from freehold.render import Prompt, Renderer
from freehold.store.deployments import AdapterTarget, BaseTarget, Deployment, RemoteTarget, deploy
from freehold.store.layout import ADAPTER_GGUF, BASE_FILE, MANIFEST_FILE, WEIGHTS_FILE
from freehold.store.workspace import Workspace, file_sha256, read_record, write_record
from freehold.tuning.adapter import ADAPTER_FILE

ASK: Any = [{"role": "user", "content": "the walk-in freezer alarm is going again"}]
A, B = "a" * 64, "b" * 64


class Home:
    """A gateway over two adapters with a rented fallback, and the pool behind it."""

    def __init__(self, house: House, pools: list[Pool]) -> None:
        self.house, self.pools = house, pools
        self.client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0, timeout=60)

    def ask(self, name: str) -> tuple[str, str | None]:
        """What was answered, and by which owned model (None: by the fallback)."""
        raw = self.client.chat.completions.with_raw_response.create(model=name, messages=ASK, max_tokens=12)
        return raw.parse().choices[0].message.content or "", raw.headers.get("x-freehold-answered-by")


@pytest.fixture
def workspace(tiny_base: Path, tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / ".freehold")
    shutil.copytree(tiny_base, made.models / "tiny")
    for seed, digest in enumerate((A, B)):
        _adapter(made, digest, seed)
    return made


def _adapter(workspace: Workspace, digest: str, seed: int) -> None:
    folder, base = workspace.adapters / digest, workspace.models / "tiny"
    folder.mkdir(parents=True)
    write_random_adapter(base / WEIGHTS_FILE, folder / ADAPTER_GGUF, seed, rank=4, strength=3.0)
    (folder / ADAPTER_FILE).write_bytes(b"weights")
    manifest = AdapterManifest(
        digest=digest,
        task="triage",
        base="tiny",
        base_digest=read_record(base / BASE_FILE, Base).digest,
        dataset="d" * 64,
        recipe={},
        render={},
        render_digest="r",
        seed=seed,
        versions={},
        template_digest=Renderer(base).template.digest,
        weights_sha256=file_sha256(folder / ADAPTER_FILE),
        gguf_sha256=file_sha256(folder / ADAPTER_GGUF),
        losses=(),
        best_step=1,
        seconds=1.0,
        tokens_per_second=1.0,
        peak_memory_bytes=1,
    )
    write_record(folder / MANIFEST_FILE, manifest)


@pytest.fixture
def closed(workspace: Workspace, upstream: RunningUpstream) -> Home:
    """Not open yet."""
    house, pools = House(workspace), list[Pool]()
    inner = backends.of(workspace)

    def engine_for(base: str, adapters: tuple[str, ...]) -> Engine:
        engine = inner.engine_for(base, adapters)
        assert isinstance(engine, Pool)
        pools.append(engine)
        return engine

    house.backends = Backends(engine_for, inner.load_classifier, inner.embedder_for)
    rented = RemoteTarget(base_url=upstream.url, model="rented")
    for name, digest in (("a", A), ("b", B)):
        target = AdapterTarget(base="tiny", adapter=digest, prompt=Prompt(system="Answer."))
        deploy(house.store, Deployment(name=name, target=target, fallbacks=(rented,)), "test")
    return Home(house, pools)


@pytest.fixture
def home(closed: Home) -> Iterator[Home]:
    with closed.house.open():
        yield closed


def test_header_and_usage_row_name_the_adapter(home: Home) -> None:
    said = {name: home.ask(name) for name in ("a", "b")}
    assert said["a"][0] != said["b"][0]
    assert said["a"][1] == f"a: adapter {A[:12]} on tiny"
    assert said["b"][1] == f"b: adapter {B[:12]} on tiny"
    assert [each.target for each in home.house.attempts()] == [said["a"][1], said["b"][1]]
    assert [each.answered_by for each in reversed(home.house.kept())] == [said["a"][1], said["b"][1]]


@pytest.mark.parametrize("stream", [False, True])
def test_header_and_usage_row_carry_the_whole_digest_of_the_file_that_the_engine_used(
    home: Home, workspace: Workspace, stream: bool
) -> None:
    ask = home.client.chat.completions.with_raw_response.create
    for name, digest in (("a", A), ("b", B)):
        raw: Any = ask(model=name, messages=ASK, max_tokens=12, stream=stream)
        list(raw.parse()) if stream else raw.parse()
        wanted = file_sha256(workspace.adapters / digest / ADAPTER_GGUF)
        assert raw.headers["x-freehold-adapter"] == wanted
        assert home.house.attempts()[-1].adapter == wanted
    messages: Any = {"model": "a", "max_tokens": 8, "messages": ASK}
    translated = home.client.post("/messages", body=messages, cast_to=object)
    assert translated
    assert home.house.attempts()[-1].adapter == file_sha256(workspace.adapters / A / ADAPTER_GGUF)


def test_two_files_swapped_on_disk_are_refused_and_the_request_falls_back(closed: Home, workspace: Workspace) -> None:
    one, other = (workspace.adapters / each / ADAPTER_GGUF for each in (A, B))
    aside = one.with_suffix(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    with closed.house.open():
        for name in ("a", "b"):
            assert closed.ask(name)[1] is None, "the rented model answered"
        first = next(each for each in closed.house.attempts() if each.outcome != "ok")
        assert first.target == f"a: adapter {A[:12]} on tiny"


def test_two_slots_swapped_in_memory_are_caught_and_the_request_falls_back(home: Home) -> None:
    right = {name: home.ask(name)[0] for name in ("a", "b")}
    pool = home.pools[-1]
    [engine] = pool.engines
    assert isinstance(engine, LlamaCpp)
    engine._order.reverse()
    assert home.ask("a")[0] == right["b"] != right["a"], "what no digest shows"
    probing = threading.Thread(target=pool.probe)
    probing.start()
    fell_back = False
    while probing.is_alive():
        fell_back = fell_back or home.ask("a")[1] is None
    assert fell_back, "while it was quarantined the rented model answered"
    assert {name: home.ask(name)[0] for name in ("a", "b")} == right


def test_an_adapter_removed_while_in_use_goes_on_answering(home: Home, workspace: Workspace) -> None:
    before = home.ask("a")
    shutil.rmtree(workspace.adapters / A)
    assert home.ask("a") == before
    deploy(home.house.store, Deployment(name="later", target=BaseTarget(base="tiny")), "the set changes")
    assert _eventually(lambda: home.ask("later")[1]) == "later: base tiny"
    assert home.ask("b")[1] == f"b: adapter {B[:12]} on tiny"
    assert home.ask("a")[1] is None, "its files are gone: the next look at the deployments finds that"


def test_a_base_without_its_tokenizer_is_refused_in_one_sentence(closed: Home, workspace: Workspace) -> None:
    (workspace.models / "tiny" / "tokenizer.json").unlink()
    deploy(closed.house.store, Deployment(name="bare", target=BaseTarget(base="tiny")), "test")
    with closed.house.open():
        with pytest.raises(openai.BadRequestError, match="tokenizer or template is missing or damaged"):
            closed.ask("bare")
        assert closed.ask("a")[1] is None


@pytest.mark.parametrize("damage", ["truncated", "of another base"])
def test_a_damaged_adapter_leaves_the_other_one_serving(
    closed: Home, workspace: Workspace, damage: str, tmp_path: Path
) -> None:
    folder = workspace.adapters / A
    path = folder / ADAPTER_GGUF
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    else:
        _of_another_base(path)
    manifest = read_record(folder / MANIFEST_FILE, AdapterManifest)  # so that its digest is no help
    write_record(folder / MANIFEST_FILE, replace(manifest, gguf_sha256=file_sha256(path)))
    with closed.house.open():
        assert closed.ask("a")[1] is None
        assert closed.ask("b")[1] == f"b: adapter {B[:12]} on tiny"


def _of_another_base(path: Path) -> None:
    import numpy
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_tensor("blk.0.attn_q.weight.lora_a", numpy.zeros((4, 64), dtype=numpy.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", numpy.zeros((64, 4), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _eventually(call: Any) -> Any:  # noqa: ANN401
    begun = time.monotonic()
    while True:
        try:
            return call()
        except openai.APIStatusError:
            if time.monotonic() - begun > 20:
                raise
            time.sleep(0.2)
