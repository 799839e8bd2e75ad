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
from freehold.engines.generation import Maker, Makers
from freehold.engines.pool import Policy, Pool
from freehold.engines.probes import Shelf
from freehold.errors import EngineError, ModelFileError, NotFoundError, ResourceError, UserError

NO_TIMER = Policy(loaded=4, drain_s=5, probe_every_s=0, settle_s=0)


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

    def __init__(self, folder: Path, policy: Policy, copies: bool = False, shelf: Shelf | None = None) -> None:
        Bench.made = []
        self.folder, self.full = folder, False
        together, alone, copy = (Maker(Bench, self._memory) for _ in range(3))
        self.pool = Pool(Makers(together, alone, copy if copies else None), policy, shelf)

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


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
    house.pool.settle()
    engine = Bench.made[-1]
    engine.content["a"], engine.content["b"] = engine.content["b"], engine.content["a"]
    assert house.ask("a") == "I am b"  # what no digest shows
    house.pool.probe()
    assert house.ask("a") == "I am a"
    assert house.ask("b") == "I am b"
    wait_until(lambda: engine.stopped_with == 0)


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
    house = House(tmp_path, Policy(loaded=4, drain_s=5, probe_every_s=0.05, settle_s=0))
    house.pool.start()
    house.add("a")
    house.ask("a")
    engine = Bench.made[-1]
    engine.content["a"] = "somebody else"
    wait_until(lambda: engine.stopped_with is not None)
    house.pool.stop()


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
    assert house.pool.loaded == {"a", "b"}
    house.pool.settle()
    assert house.ask("a") == "I am a", "from memory, beside the others' engine"
    assert set(Bench.made[-1].content) == {"b"}


def test_a_stopped_pool_says_so(house: House) -> None:
    house.pool.stop()
    with pytest.raises(EngineError, match="stopped"):
        house.ask(None)


def test_a_newcomer_answers_from_an_engine_of_its_own_until_all_are_put_together(house: House) -> None:
    for name in "abc":
        house.add(name)
        assert house.ask(name) == f"I am {name}"
    assert [set(engine.content) for engine in Bench.made] == [set(), {"a"}, {"b"}, {"c"}], "and none twice"
    house.pool.settle()
    assert len(house.pool.engines) == 1
    assert set(Bench.made[-1].content) == {"a", "b", "c"}
    assert len(Bench.made) == 5, "its fingerprint was taken when it came"
    wait_until(lambda: all(engine.stopped_with == 0 for engine in Bench.made[:-1]))
    assert [house.ask(name) for name in "abc"] == ["I am a", "I am b", "I am c"]


def test_they_are_put_together_when_no_other_has_come_for_a_while(tmp_path: Path) -> None:
    house = House(tmp_path, Policy(loaded=4, drain_s=5, probe_every_s=0, settle_s=0.05))
    house.pool.start()
    for name in "ab":
        house.add(name)
        house.ask(name)
    wait_until(lambda: len(house.pool.engines) == 1)
    assert house.pool.loaded == {"a", "b"}
    house.pool.stop()


def test_a_newcomer_that_comes_while_the_others_are_put_together_stays(house: House) -> None:
    house.add("a")
    house.ask("a")
    house.add("b")
    make = house.pool._makers.together.make

    def slowly(files: AdapterFiles) -> Bench:
        if "a" in files.paths:
            house.ask("b")  # comes meanwhile
        return make(files)  # type: ignore[return-value]

    object.__setattr__(house.pool._makers.together, "make", slowly)
    house.pool.settle()
    assert house.pool.loaded == {"a", "b"}
    assert (house.ask("a"), house.ask("b")) == ("I am a", "I am b")


def test_a_newcomers_engine_that_a_probe_catches_is_replaced_and_no_other_is_touched(house: House) -> None:
    for name in "ab":
        house.add(name)
        house.ask(name)
    caught, other = Bench.made[-2:]
    caught.content["a"] = "somebody else"
    house.pool.probe()
    assert house.ask("a") == "I am a"
    assert other.stopped_with is None
    wait_until(lambda: caught.stopped_with == 0)


def test_each_is_merged_into_a_copy_of_its_own_and_the_base_keeps_none(tmp_path: Path) -> None:
    house = House(tmp_path, NO_TIMER, copies=True)
    for name in "ab":
        house.add(name)
    house.pool.start()
    assert set(Bench.made[-1].content) == {"a", "b"}, "at first they are beside the base"
    house.pool.settle()
    assert [set(engine.content) for engine in house.pool.engines] == [set(), {"a"}, {"b"}]  # type: ignore[attr-defined]
    assert [house.ask(name) for name in (None, "a", "b")] == ["base", "I am a", "I am b"]
    made = len(Bench.made)
    house.pool.settle()
    assert len(Bench.made) == made, "once"
    house.pool.stop()


def test_a_copy_that_does_not_say_what_its_adapter_says_does_not_serve(tmp_path: Path) -> None:
    house = House(tmp_path, NO_TIMER, copies=True)
    house.add("a")
    house.pool.start()

    def wrong(files: AdapterFiles) -> Bench:
        engine = Bench(files)
        engine.content = dict.fromkeys(engine.content, "badly merged")
        return engine

    object.__setattr__(house.pool._makers.copy, "make", wrong)
    with pytest.raises(EngineError, match="its fingerprint is off by"):
        house.pool.settle()
    assert house.ask("a") == "I am a"
    house.pool.stop()


def test_fingerprints_outlive_the_pool_and_catch_what_changed_meanwhile(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "goldens", lambda: "this base")
    for _ in range(2):
        house = House(tmp_path, NO_TIMER, shelf=shelf)
        house.add("a")
        house.pool.start()
        assert house.ask("a") == "I am a"
        house.pool.stop()
    assert len(Bench.made) == 1, "none was made for a fingerprint"
    for path in (tmp_path / "goldens").glob("*.json"):
        path.write_text("damaged")
    house = House(tmp_path, NO_TIMER, shelf=Shelf(tmp_path / "goldens", lambda: "this base"))
    house.add("a")
    house.pool.start()
    house.pool.stop()
    for path in (tmp_path / "goldens").glob("*.json"):
        path.write_text(path.read_text().replace(":-1.0", ":-9.0"))
    house = House(tmp_path, NO_TIMER, shelf=Shelf(tmp_path / "goldens", lambda: "this base"))
    with pytest.raises(EngineError, match="its fingerprint is off by"):
        house.pool.start()


def test_those_that_come_while_others_settle_are_settled_too(tmp_path: Path) -> None:
    house = House(tmp_path, Policy(loaded=8, drain_s=5, probe_every_s=0, settle_s=0.02), copies=True)
    make, names = house.pool._makers.copy.make, list("abcd")  # type: ignore[union-attr]

    def one_comes(files: AdapterFiles) -> Bench:
        if names:
            house.add(name := names.pop())
            house.ask(name)
        return make(files)  # type: ignore[return-value]

    object.__setattr__(house.pool._makers.copy, "make", one_comes)
    house.pool.start()
    house.add("z")
    house.ask("z")
    wait_until(lambda: not names and not house.pool._unsettled())
    assert house.pool.loaded == set("abcdz")
    house.pool.stop()
