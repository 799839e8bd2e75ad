"""Splitting by time: what is held out is newer than what is trained on."""

from datetime import UTC, datetime

import pytest
from data_room import Room, pairs

from freehold.data.moment import moment
from freehold.errors import DataError
from freehold.records import Split


def timed(count: int, session: bool = False) -> str:
    """Pairs whose times run against the order of the lines."""
    header, *lines = pairs(count).splitlines()
    rows = []
    for at, line in enumerate(lines):
        when = datetime.fromtimestamp(1_700_000_000 + 3600 * (count - at), UTC).isoformat()
        rows.append(f"{line},{when},{'both' if at in (0, count - 1) else at}" if session else f"{line},{when},")
    return "\n".join([f"{header},when,session", *rows]) + "\n"


def test_the_newest_are_held_out_and_the_next_validate(room: Room) -> None:
    room.file("m.csv", timed(100))
    dataset = room.build({"source": "m.csv", "time": "when"})
    lines = {split: [int(e.origin.split(":")[1]) for e in room.examples() if e.split is split] for split in Split}
    assert lines[Split.HELD_OUT] == list(range(2, 22))
    assert lines[Split.VALIDATION] == list(range(22, 32))
    assert dataset.counts[Split.TRAIN] == 70


def test_an_older_row_of_a_held_out_session_leaves_training(room: Room) -> None:
    room.file("m.csv", timed(100, session=True))
    dataset = room.build({"source": "m.csv", "time": "when"})
    assert dataset.counts[Split.HELD_OUT] == 20 and dataset.dropped == {"session_of_held_out": 1}


def test_a_limit_is_still_drawn_by_the_seed(room: Room) -> None:
    room.file("m.csv", timed(100))
    dataset = room.build({"source": "m.csv", "time": "when", "limit": 21})
    trained = [int(e.origin.split(":")[1]) for e in room.examples() if e.split is Split.TRAIN]
    assert dataset.counts[Split.TRAIN] == 21 and max(trained) - min(trained) > 30


@pytest.mark.parametrize(
    "value", ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "1700000000", 1_700_000_000, 1.7e9]
)
def test_one_moment_in_every_spelling(value: object) -> None:
    assert moment(value, "when", "f:1") == 1_700_000_000


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("2023-11-14T22:13:20", "f:1: when is '2023-11-14T22:13:20', which has no zone"),
        ("yesterday", "f:1: when is 'yesterday'; a time is ISO 8601"),
        ("", "f:1: has no time"),
        (None, "f:1: has no time"),
    ],
)
def test_what_is_no_moment_is_refused(value: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        moment(value, "when", "f:1")
