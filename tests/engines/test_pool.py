"""Many adapters on one base: the right one answers, also while the set changes and when something goes wrong."""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freehold.engines.adapters import AdapterFiles
from freehold.engines.engine import Answer, Completion, Sampling, TokenLogprob
from freehold.engines.fake import Fake
from freehold.engines.pool import Policy, Pool
from freehold.errors import EngineError, ModelFileError, NotFoundError, ResourceError, UserError

NO_TIMER = Policy(loaded=4, drain_s=5, probe_every_s=0)


class Bench(Fake):
    """An engine that answers what its adapter's file says, and whose fingerprint is that of the file's content."""

    made: list["Bench"]

    def __init__(self, files: AdapterFiles) -> None:
        self.content = {name: path.read_text() for name, path in files.paths.items()}
        self.digests = dict(files.digests)
        rules = {name: self._rule_for(name) for name in files.paths}
        super().__init__(lambda prompt: "base", rules)
        self.stopped_with: int | None = None
        self.busy = 0
        Bench.made.append(self)

    def _rule_for(self, name: str) -> Callable[[str], str]:
        return lambda prompt: self.content[name]

    def complete(self, request: Completion) -> Answer:
        self.busy += 1
        time.sleep(random.uniform(0, 0.002))
        answer = super().complete(request)
        self.busy -= 1
        speaker = "base" if request.adapter is None else self.content[request.adapter]
        top = {str(byte): -float(at) for at, byte in enumerate(hashlib.sha256(speaker.encode()).digest()[:8])}
        said = TokenLogprob(id=0, text="", logprob=0.0, top=top)
        digest = None if request.adapter is None else self.digests[request.adapter]
        changed = {name: getattr(answer, name) for name in answer.__struct_fields__}
        return Answer(**(changed | {"adapter": digest, "logprobs": (said,)}))

    def ask_each(self, request: Completion) -> list[Answer]:
        return [self.complete(request)]

    def stop(self) -> None:
        if self.stopped_with is None:
            self.stopped_with = self.busy
        super().stop()


class House:
    """A pool of adapters that each answer their own name."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        Bench.made = []
        self.folder, self.full = folder, False
        self.pool = Pool(Bench, policy, self._memory)

    def _memory(self, files: AdapterFiles) -> None:
        if self.full:
            raise ResourceError("no memory for a second engine")

    def add(self, name: str) -> Path:
        path = self.folder / f"{name}.gguf"
        path.write_text(f"I am {name}")
        self.pool.register(name, path, hashlib.sha256(path.read_bytes()).hexdigest())
        return path

    def ask(self, name: str | None) -> str:
        return self.pool.complete(question(name)).text


def question(name: str | None) -> Completion:
    return Completion(prompt=(104, 105), sampling=Sampling(max_tokens=64), adapter=name)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, NO_TIMER)
    made.pool.start()
    yield made
    made.pool.stop()


def test_an_adapter_is_loaded_when_first_asked_for(house: House) -> None:
    house.add("a")
    assert house.pool.loaded == frozenset()
    assert house.ask(None) == "base"
    assert house.ask("a") == "I am a"
    assert house.pool.loaded == {"a"}


def test_the_least_recently_used_goes_first(house: House) -> None:
    for name in "abcd":
        house.add(name)
        house.ask(name)
    house.ask("a")
    house.add("e")
    house.ask("e")
    assert house.pool.loaded == {"a", "c", "d", "e"}
    assert house.ask("b") == "I am b"


def test_a_hundred_adapters_under_traffic_are_never_mixed_up_and_none_is_dropped(house: House) -> None:
    names = [f"adapter-{number}" for number in range(100)]
    for name in names:
        house.add(name)
    wrong: list[str] = []

    def client(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(8):
            name = dice.choice(names)
            if house.ask(name) != f"I am {name}":
                wrong.append(name)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    house.pool.stop()
    assert all(engine.stopped_with == 0 for engine in Bench.made if engine.stopped_with is not None)


def test_an_unknown_adapter_is_not_found(house: House) -> None:
    with pytest.raises(NotFoundError, match="ghost is not registered"):
        house.ask("ghost")


def test_two_adapters_of_one_name_are_refused(house: House) -> None:
    house.add("a")
    with pytest.raises(UserError, match="registered with another file"):
        house.pool.register("a", house.folder / "other.gguf", "0" * 64)


def test_a_name_that_was_forgotten_can_be_given_to_another_file(house: House) -> None:
    path = house.add("a")
    assert house.ask("a") == "I am a"
    house.pool.forget("a")
    with pytest.raises(NotFoundError):
        house.ask("a")
    path.write_text("I am new")
    house.pool.register("a", path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert house.ask("a") == "I am new"


def test_two_files_swapped_on_disk_are_refused_and_the_others_go_on(house: House) -> None:
    first, second = house.add("a"), house.add("b")
    house.add("c")
    house.ask("c")
    texts = first.read_text(), second.read_text()
    first.write_text(texts[1])
    second.write_text(texts[0])
    for name in "ab":
        with pytest.raises(ModelFileError, match="not the adapter"):
            house.ask(name)
    assert house.ask("c") == "I am c"


def test_two_adapters_swapped_in_memory_are_caught_quarantined_and_replaced(house: House) -> None:
    house.add("a")
    house.add("b")
    house.ask("a"), house.ask("b")
    engine = Bench.made[-1]
    engine.content["a"], engine.content["b"] = engine.content["b"], engine.content["a"]
    assert house.ask("a") == "I am b"  # what no digest shows
    house.pool.probe()
    assert house.ask("a") == "I am a"
    assert house.ask("b") == "I am b"
    assert engine.stopped_with == 0


def test_an_answer_under_way_in_a_quarantined_engine_is_an_error(house: House) -> None:
    house.add("a")
    house.ask("a")
    engine = Bench.made[-1]
    stream = house.pool.stream(question("a"))
    next(stream)
    engine.content["a"] = "somebody else"
    house.pool.probe()
    with pytest.raises(EngineError, match="quarantined"):
        list(stream)


def test_probes_run_on_a_timer(tmp_path: Path) -> None:
    house = House(tmp_path, Policy(loaded=4, drain_s=5, probe_every_s=0.05))
    house.pool.start()
    house.add("a")
    house.ask("a")
    engine = Bench.made[-1]
    engine.content["a"] = "somebody else"
    deadline = time.monotonic() + 20
    while engine.stopped_with is None and time.monotonic() < deadline:
        time.sleep(0.02)
    house.pool.stop()
    assert engine.stopped_with is not None


def test_without_memory_the_old_engine_goes_on(house: House) -> None:
    house.add("a")
    house.add("b")
    house.ask("a")
    house.full = True
    with pytest.raises(ResourceError, match="no memory"):
        house.ask("b")
    assert house.ask("a") == "I am a"


def test_a_file_removed_while_in_use_harms_nobody(house: House) -> None:
    path = house.add("a")
    house.add("b")
    house.ask("a")
    path.unlink()
    assert house.ask("a") == "I am a"
    assert house.ask("b") == "I am b"
    assert house.pool.loaded == {"b"}


def test_a_stopped_pool_says_so(house: House) -> None:
    house.pool.stop()
    with pytest.raises(EngineError, match="stopped"):
        house.ask(None)
