"""Merged copies on the real small base: the adapter's own answers, its digest, and nothing that was changed on disk."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.engines import ways
from freehold.engines.copies import Copies
from freehold.engines.engine import Completion, Sampling
from freehold.engines.plan import Serving
from freehold.engines.pool import Policy, Pool
from freehold.engines.quantise import reencode
from freehold.engines.random_adapter import write_random_adapter
from freehold.engines.ways import CANDIDATES, COPIES, ONE, TOGETHER, Rate, kept, measure, permitted, served
from freehold.errors import EngineError, ModelFileError, NotFoundError
from freehold.progress import SILENT, Silent
from freehold.store.layout import allowed, encoded_file

POLICY = Policy(loaded=3, drain_s=10, probe_every_s=0, settle_s=0)


def ask(name: str | None) -> Completion:
    return Completion(prompt=(1, 9690, 198, 2683), sampling=Sampling(max_tokens=8), adapter=name)


def registered(pool: Pool, files: dict[str, Path]) -> Pool:
    for name, path in files.items():
        pool.register(name, path, hashlib.sha256(path.read_bytes()).hexdigest())
    return pool


@pytest.fixture
def files(smollm2: Path, tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / f"{name}.gguf" for name in "ab"}
    for seed, path in enumerate(found.values()):
        write_random_adapter(smollm2, path, seed, rank=4, strength=0.05)
    return found


@pytest.fixture
def pool(smollm2: Path, files: dict[str, Path], tmp_path: Path) -> Iterator[Pool]:
    base = tmp_path / "base.gguf"
    reencode(smollm2, base, "BF16")
    made = registered(Serving(base, 128, copies=Copies(smollm2, "BF16")).pool(POLICY), files)
    made.start()
    yield made
    made.stop()


@pytest.mark.slow
def test_copies_answer_as_their_adapters_with_their_digests(pool: Pool, files: dict[str, Path], smollm2: Path) -> None:
    beside = {name: pool.complete(ask(name)).text for name in (None, "a", "b")}
    pool.settle()
    assert len(pool.engines) == 3, "the base's, and one a copy"
    for name, path in files.items():
        answer = pool.complete(ask(name))
        assert answer.text == beside[name]
        assert answer.adapter == hashlib.sha256(path.read_bytes()).hexdigest()
        *_, last = pool.stream(ask(name))
        assert last.answer is not None and (last.answer.text, last.answer.adapter) == (answer.text, answer.adapter)
    assert pool.complete(ask(None)).text == beside[None]
    with pytest.raises(NotFoundError, match="answers as adapter a only, not as the base"):
        pool.engines[1].complete(ask(None))
    pool.probe()
    assert pool.loaded == {"a", "b"}


@pytest.mark.slow
def test_a_copy_is_made_once_and_refused_where_it_was_changed(smollm2: Path, files: dict[str, Path]) -> None:
    copies = Copies(smollm2, "Q8_0")
    digest = hashlib.sha256(files["a"].read_bytes()).hexdigest()
    copy = copies.of(digest, files["a"])
    assert hashlib.sha256(copy.path.read_bytes()).hexdigest() == copy.sha256
    made_at = copy.path.stat().st_mtime_ns
    assert copies.of(digest, files["a"]) == copy
    assert copy.path.stat().st_mtime_ns == made_at
    other = copies.of(hashlib.sha256(files["b"].read_bytes()).hexdigest(), files["b"])
    copy.path.write_bytes(other.path.read_bytes())  # swapped on disk
    pool = registered(Serving(smollm2, 128, copies=copies).pool(POLICY), files)
    pool.start()
    try:
        with pytest.raises(ModelFileError, match="is not the copy that was merged"):
            pool.settle()
        assert pool.complete(ask("a")).adapter == digest, "beside the base it goes on"
    finally:
        pool.stop()


class Noted(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, name: str, message: str) -> None:
        self.messages.append(message)


@pytest.mark.slow
def test_ways_are_measured_kept_and_the_base_is_left_as_it_is_served(smollm2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "weights.gguf").symlink_to(smollm2)
    may = allowed(folder)
    said = Noted()
    found = measure(folder, tmp_path / "bench", 2, 0.5, said)
    assert kept(folder, tmp_path / "bench") == found
    many = [(each.way, each.adapters) for each in found.rates if each.way != ONE]
    assert many == [(TOGETHER, 2)] + [(COPIES, 2)] * (not said.messages), "in a coarse encoding copies may be left out"
    assert all(each.startswith(COPIES) and "left out" in each for each in said.messages)
    assert all(each.requests > 0 for each in found.rates)
    assert {each.encoding for each in found.rates if each.way == ONE} == set(CANDIDATES)
    best = permitted(found, may)
    assert best is not None
    assert best.best().encoding != "Q4_0", "nothing was compared in it yet"
    assert {each.name for each in folder.iterdir()} == {"weights.gguf", encoded_file(best.best().encoding)}
    assert served(folder, tmp_path / "bench").encoding == best.best().encoding


def test_copies_that_say_something_else_than_their_adapters_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def opened(serving: Serving, files: dict[str, Path]) -> Iterator[None]:
        if serving.copies is not None:
            raise EngineError("its fingerprint is off by 0.11 nats")
        yield None

    one = Rate(engine="llamacpp", encoding="Q8_0", way=ONE, adapters=1, requests_per_second=1.0, requests=1)
    bench = ways._Bench(tmp_path, tmp_path, 0.1, SILENT)
    monkeypatch.setattr(ways, "_open", opened)
    monkeypatch.setattr(bench, "_encoded", lambda encoding: tmp_path / "base.gguf")
    monkeypatch.setattr(bench, "_rate", lambda *_: replace(one, way=TOGETHER))
    assert [each.way for each in bench.many(one, None, {"a": tmp_path / "a.gguf"})] == [TOGETHER]
