"""Who is decoded where and when."""

import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.engines.slots import MIXED, OVERTAKEN, Slot, Slots
from freehold.errors import EngineError


def slots(children: int = 1, each: int = 8) -> Slots:
    return Slots(children, each, lambda child: True)


def use(table: Slots, adapter: str | None) -> Slot:
    with table.one(adapter, 1) as slot:
        return slot


def test_an_adapter_returns_to_its_own_slot() -> None:
    table = slots()
    first = {name: use(table, name).number for name in "abcdefgh"}
    assert sorted(first.values()) == list(range(8))
    assert {name: use(table, name).number for name in "hgfedcba"} == first


def test_a_newcomer_takes_the_longest_unused_slot() -> None:
    table = slots(each=2)
    use(table, "a")
    b = use(table, "b").number
    use(table, "a")
    assert use(table, "c").number == b


def test_one_adapter_may_use_every_slot_at_once() -> None:
    table = slots()
    with ExitStack() as held:
        taken = {held.enter_context(table.one("a", 1)).number for _ in range(8)}
        assert taken == set(range(8))
        with pytest.raises(EngineError, match="busy"):
            held.enter_context(table.one("a", 0.05))


def test_different_adapters_are_let_in_a_few_at_a_time() -> None:
    table = slots()
    with ExitStack() as held:
        for name in "abcdefgh"[:MIXED]:
            held.enter_context(table.one(name, 1))
        with pytest.raises(EngineError, match="busy"):
            held.enter_context(table.one("z", 0.05))


def test_requests_go_to_the_child_with_the_least_to_do() -> None:
    table = slots(children=2, each=4)
    with ExitStack() as held:
        taken = [held.enter_context(table.one("a", 1)).child for _ in range(4)]
    assert sorted(taken) == [0, 0, 1, 1]


def test_a_child_that_is_not_ready_is_passed_over() -> None:
    table = Slots(2, 4, lambda child: child == 1)
    assert {use(table, name).child for name in "abcd"} == {1}


def test_nobody_is_overtaken_without_end() -> None:
    table = slots()
    with table.one("slow", 1):
        for _ in range(OVERTAKEN):
            use(table, "quick")
        with pytest.raises(EngineError, match="busy"), table.one("quick", 0.05):
            pass
    use(table, "quick")


def test_first_come_first_served() -> None:
    table, order = slots(each=1), []
    with table.one("a", 1):
        threads = []
        for name in "bcde":
            threads.append(threading.Thread(target=lambda name=name: order.append(use_and_note(table, name))))
            threads[-1].start()
            time.sleep(0.03)
    for thread in threads:
        thread.join()
    assert order == list("bcde")


def use_and_note(table: Slots, name: str) -> str:
    with table.one(name, 5):
        return name


def test_draining_waits_for_what_is_in_flight() -> None:
    table = slots()
    with table.one("a", 1):
        assert not table.drained(0.05)
    assert table.drained(0.05)


@given(st.lists(st.sampled_from("abcdefghijkl"), max_size=60), st.integers(1, 3), st.integers(1, 5))
def test_a_slot_is_never_given_twice(names: list[str], children: int, each: int) -> None:
    table = slots(children, each)
    with ExitStack() as held:
        taken: list[tuple[int, int]] = []
        for name in names:
            try:
                slot = held.enter_context(table.one(name, 0))
            except EngineError:
                break
            taken.append((slot.child, slot.number))
        assert len(set(taken)) == len(taken) == table.in_flight
    assert table.in_flight == 0
