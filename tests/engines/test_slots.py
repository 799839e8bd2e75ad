"""Who is decoded where and when."""

import threading
import time
from contextlib import ExitStack
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.engines.slots import FULL, GROUPS, LATER_S, OVERTAKEN, PASSED, Slot, Slots, Turns, _Waiting
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


def test_two_groups_at_a_time_and_no_third() -> None:
    table = slots()
    with ExitStack() as held:
        for name in "aabb":
            held.enter_context(table.one(name, 1))
        with pytest.raises(EngineError, match="busy"):
            held.enter_context(table.one("z", 0.05))
        assert GROUPS == 2


def test_requests_of_one_adapter_are_let_in_together() -> None:
    assert let_in(slots(each=4), "abcabcabc") == "aaabbbccc"


def test_nobody_who_waits_is_passed_over_without_end() -> None:
    assert PASSED <= let_in(slots(each=2), "ab" + 2 * PASSED * "a").index("b") <= PASSED + FULL


def test_a_group_leaves_slots_to_others_while_they_wait() -> None:
    table = slots(each=16)
    for name in "abcd":
        use(table, name)
    assert let_in(table, "a" * 10 + "b").index("b") == 4  # a quarter of 16 slots
    assert let_in(table, "a" * 10) == "a" * 10


def test_the_next_group_waits_whole_while_one_is_decoded_and_none_dribbles_in() -> None:
    table = slots(each=32)
    waiting = [_Waiting("a", None) for _ in range(40)]
    table._waiting.extend(waiting)
    table._let_in()
    assert table.in_flight == 2 * FULL
    first = [slot for slot in table._slots[0] if slot.busy][:FULL]
    for slot in first[:-1]:
        table._give(slot)
        assert table.in_flight == 2 * FULL - first.index(slot) - 1
    table._give(first[-1])
    assert table.in_flight == 2 * FULL


def test_engines_that_take_turns_let_in_full_groups_the_oldest_request_first() -> None:
    turns, order = Turns(1), list[str]()
    tables = {name: Slots(1, 16, lambda child: True, turns) for name in "abc"}
    waiting = {
        name: [_Waiting(None, None, since=3 * at + place) for at in range(20)] for place, name in enumerate("abc")
    }
    for name, table in tables.items():
        table._waiting.extend(waiting[name])
        table._let_in()
    for _ in range(60):
        busy = [
            (table, slot, name) for name, table in tables.items() for each in table._slots for slot in each if slot.busy
        ]
        assert len({name for _, _, name in busy}) == 1, "one turn"
        table, slot, name = busy[0]
        order.append(name)
        table._give(slot)
    runs = [(name, len(list(run))) for name, run in groupby(order)]
    whole = [("b", 6), ("c", 6), ("b", 6), ("c", 6), ("a", 6), ("b", 6), ("c", 6)]
    assert runs == [("a", 12), *whole, ("a", 2), ("b", 2), ("c", 2)]
    assert {name: order.count(name) for name in "abc"} == {"a": 20, "b": 20, "c": 20}
    assert not any(table.in_flight for table in tables.values())


def test_an_adapter_stays_with_the_child_that_is_its_home() -> None:
    table = slots(children=2, each=8)
    with table.one("a", 1) as first, table.one("b", 1) as second:
        homes = {"a": first.child, "b": second.child}
    assert set(homes.values()) == {0, 1}
    with table.one("a", 1), table.one("a", 1) as third:
        assert third.child != homes["a"]  # rather than let a child stand idle
    assert {use(table, "b").child for _ in range(4)} == {homes["b"]}


@pytest.mark.parametrize(("longer", "comes"), [(2 * LATER_S, True), (LATER_S / 2, False)])
def test_whoever_waits_much_longer_at_a_busier_child_comes_over(longer: float, comes: bool) -> None:
    table = slots(children=2, each=8)
    with ExitStack() as held:
        busy, home = (held.enter_context(table.one(name, 1)).child for name in "ab")
        now = time.monotonic()
        older, own = _Waiting("c", None, since=now - longer), _Waiting("b2", None, since=now)
        table._homes |= {"c": busy, "b2": home}
        chosen = table._opens(home, [older, own], [home, busy])
        assert chosen is (older if comes else own)


def let_in(table: Slots, names: str) -> str:
    """The order in which these are let in, when all wait from the beginning and each slot is given back in turn."""
    waiting = [_Waiting(name, None) for name in names]
    table._waiting.extend(waiting)
    table._let_in()
    order: list[_Waiting] = []
    while len(order) < len(waiting):
        order += sorted(
            (each for each in waiting if each.slot is not None and each not in order),
            key=lambda each: each.slot.used if each.slot else 0,
        )
        table._give(next(each.slot for each in order if each.slot is not None and each.slot.busy))
    return "".join(each.adapter or "" for each in order)


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
