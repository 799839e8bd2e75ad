"""What can be imported beside JSONL: tables with nested cells, folders of documents, captures by query; odd rows."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from data_room import Room

from freehold.data import importing, intake
from freehold.data.importing import Imported
from freehold.errors import DataError
from freehold.progress import SILENT
from freehold.store import exchanges
from freehold.store.database import connect
from freehold.store.exchanges import Entry, Exchange, Feedback, Query

TURNS = [{"role": "system", "content": "Sort."}, {"role": "user", "content": "Where is my wage?"}]
REPLY = {"role": "assistant", "content": "pay"}
CHOICES = {"choices": [{"message": REPLY, "finish_reason": "stop"}]}


def imported(room: Room, taken: intake.Intake, skip: bool = False) -> tuple[Imported, list[dict[str, Any]]]:
    out = room.folder / "out.jsonl"
    out.unlink(missing_ok=True)
    done = importing.import_rows(taken, out, skip, SILENT)
    return done, [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]


def test_a_table_with_json_in_its_cells_is_read_as_the_log_that_it_is(room: Room) -> None:
    path = room.folder / "traces.csv"
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "input", "output", "startTime"])
        writer.writerow(["g1", json.dumps(TURNS), json.dumps(REPLY), "2026-11-23T10:00:00Z"])
        writer.writerow(["g2", "plain text", "rota", "2026-11-23T11:00:00+01:00"])
    done, rows = imported(room, intake.Records(path, None))
    assert (done.format, done.kept) == ("langfuse", 2)
    assert rows[0]["request"]["messages"] == TURNS and rows[1]["request"]["messages"][0]["content"] == "plain text"
    assert rows[0]["at"] == rows[1]["at"] == 1795428000.0


def test_alpacas_cells_are_text_whatever_they_look_like(room: Room) -> None:
    path = room.file("a.csv", 'instruction,input,output\nAdd.,"[1, 2]","{3}"\n')
    assert imported(room, intake.Records(path, None))[1][0]["request"]["messages"][1]["content"] == "[1, 2]"


def test_parquet_with_nested_types_is_read(room: Room) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "request_body": [{"model": "m", "messages": TURNS}],
            "response_body": [CHOICES],
            "request_id": ["r1"],
            "extra": pa.array([{"a": [1, 2]}]),
        }
    )
    pq.write_table(table, room.folder / "h.parquet")
    done, rows = imported(room, intake.Records(room.folder / "h.parquet", None))
    assert done.format == "helicone" and rows[0]["id"] == "r1"
    assert [turn["content"] for turn in rows[0]["request"]["messages"]] == ["Sort.", "Where is my wage?"]


def test_nested_parquet_is_a_source_of_a_task_too(room: Room) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def turns(at: int) -> list[dict[str, str]]:
        said = f"{at * 7919:x} {'abcdefgh'[at % 8] * 9}"
        return [{"role": "user", "content": said}, {"role": "assistant", "content": ("pay", "rota")[at % 2]}]

    pq.write_table(pa.table({"messages": [turns(at) for at in range(40)]}), room.folder / "x.parquet")
    assert room.build({"source": "x.parquet", "provenance": "incumbent"}).sources[0].rows == 40
    pq.write_table(pa.table({"text": [{"a": 1}], "answer": ["pay"]}), room.folder / "bad.parquet")
    with pytest.raises(DataError, match=r"bad\.parquet:1: column text holds an object, not text"):
        room.build({"source": "bad.parquet"})


def test_a_schema_that_changes_midway_is_named(room: Room) -> None:
    changed = {"request_body": {"messages": TURNS}, "response_body": CHOICES}
    path = room.jsonl("x.jsonl", [{"messages": [*TURNS, REPLY]}] * 2 + [changed])
    with pytest.raises(DataError, match=r"x\.jsonl:3: .*'messages'; from here on it looks like helicone: split"):
        imported(room, intake.Records(path, None))
    assert imported(room, intake.Records(path, None), skip=True)[0].broken == 1


def test_a_time_without_its_zone_is_refused(room: Room) -> None:
    row = {"request_body": {"messages": TURNS}, "response_body": CHOICES, "request_created_at": "2026-11-23 10:00:00"}
    path = room.jsonl("h.jsonl", [row])
    with pytest.raises(DataError, match=r"h\.jsonl:1: .*no zone; write Z or an offset"):
        imported(room, intake.Records(path, None))


def test_an_id_that_comes_again_is_the_same_row_or_an_error(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_EVERY", 1)
    row = {"id": "g1", "messages": [*TURNS, REPLY]}
    other = {"id": "g1", "messages": [*TURNS, {"role": "assistant", "content": "rota"}]}
    done, rows = imported(room, intake.Records(room.jsonl("x.jsonl", [row, row, row]), None))
    assert (done.rows, done.kept, done.duplicates, len(rows)) == (3, 1, 2, 1)
    path = room.jsonl("y.jsonl", [row, row, other])
    for _ in range(2):  # the second time it goes on from the note after row 2, and knows the id still
        with pytest.raises(DataError, match=r"y\.jsonl:3: the id 'g1' stands earlier with another content"):
            imported(room, intake.Records(path, None))
        assert (room.folder / "out.jsonl.resume").exists()


def test_a_dataset_drops_what_came_twice_and_says_so(room: Room) -> None:
    rows: list[dict[str, Any]] = [
        {"id": f"r{at}", "messages": [{"role": "user", "content": f"{at * 7919:x} {'abcdefgh'[at % 8] * 9}"}, REPLY]}
        for at in range(39)
    ]
    rows[1]["messages"] = [rows[1]["messages"][0], {"role": "assistant", "content": "rota"}]
    room.jsonl("x.jsonl", [*rows, rows[0]])
    assert room.build({"source": "x.jsonl", "provenance": "incumbent"}).dropped["duplicate_id"] == 1


def test_a_session_that_runs_in_a_circle_is_one_session(room: Room) -> None:
    def row(at: int, **links: str) -> dict[str, Any]:
        said = f"{at * 7919:x} {'abcdefgh'[at % 8] * 9}"
        answer = {"role": "assistant", "content": ("pay", "rota")[at % 2]}
        return {"id": f"r{at}", "messages": [{"role": "user", "content": said}, answer], **links}

    links = [{"parent": "r2"}, {"parent": "r0"}, {"parent": "r1"}, {"parent": "r3"}, {"parent": "gone"}]
    rows = [row(at, **(links[at] if at < 5 else {})) for at in range(50)] + [row(50, parent="r0", session="s")]
    room.jsonl("x.jsonl", rows)
    room.build({"source": "x.jsonl", "provenance": "incumbent"})
    sessions = {each.origin.rpartition(":")[2]: (each.session, each.split) for each in room.examples()}
    circle = {sessions[line] for line in ("1", "2", "3", "51") if line in sessions}
    assert len(circle) == 1 and next(iter(circle))[0] == "s"
    assert sessions["4"][0] is None and sessions["5"][0] is None


def test_a_folder_of_documents_becomes_one_line_each(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = room.folder / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text("# Title\n\nFirst.\n\nSecond.\n")
    (folder / "deep" / "b.html").write_text(
        "<head><title>no</title></head><body><h1>Hi</h1><script>x()</script><p>A &amp; b</p></body>"
    )
    (folder / "copy.txt").write_text("# Title\n\nFirst.\n\nSecond.\n")
    done, rows = imported(room, intake.Documents(folder))
    assert (done.format, done.kept, done.duplicates) == ("documents", 2, 1)
    assert [(row["origin"], row["text"]) for row in rows] == [
        ("a.md", "# Title\n\nFirst.\n\nSecond.\n"),
        ("deep/b.html", "Hi\nA & b"),
    ]
    (folder / "bad.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"bad\.txt:1: byte 0xE9 is not UTF-8"):
        imported(room, intake.Documents(folder))
    assert imported(room, intake.Documents(folder), skip=True)[0].broken == 1
    monkeypatch.setattr(intake, "_LONGEST_PIECE", 16)
    pieces = [row["text"] for row in imported(room, intake.Documents(folder), skip=True)[1]]
    assert pieces[:2] == ["# Title\n\nFirst.", "Second.\n"]


def captures(room: Room) -> None:
    request = json.dumps({"model": "m", "messages": TURNS})
    rows = [
        Exchange(
            id=f"x{at}",
            at=1_795_428_000_000_000 + at * 1_000_000,
            endpoint="chat",
            model=("m", "n")[at % 2],
            answered_by="up",
            tags=json.dumps({"task": "orders", "team": "blue"} if at < 3 else {}),
            request=request,
            answer=json.dumps(CHOICES),
        )
        for at in range(6)
    ]
    store = connect(room.workspace.database_url)
    exchanges.record(store, [Entry(each, ()) for each in rows])
    exchanges.say(store, Feedback(exchange="x1", verdict="rejected"))
    exchanges.say(store, Feedback(exchange="x1", verdict="accepted"))
    store.dispose()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), "012345"),
        (Query(models=("m",)), "024"),
        (Query(task="orders"), "012"),
        (Query(task="n"), "35"),
        (Query(tags={"team": "blue"}, models=("n",)), "1"),
        (Query(since=1_795_428_002_000_000, until=1_795_428_004_000_000), "23"),
        (Query(verdict="accepted"), "1"),
        (Query(verdict="rejected"), ""),
        (Query(verdict="none"), "02345"),
    ],
)
def test_captures_are_imported_by_query(room: Room, query: Query, expected: str) -> None:
    captures(room)
    done, rows = imported(room, intake.Captured(room.workspace, query))
    assert "".join(row["id"].removeprefix("x") for row in rows) == expected and done.kept == len(expected)


def test_the_query_on_the_command_line(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(tmp_path)
    captures(room)
    monkeypatch.setenv("FREEHOLD_HOME", str(room.workspace.root))
    options = ["--since", "2026-11-23T10:00:01Z", "--tag", "team=blue", "--feedback", "none", "--json"]
    assert freehold("data", "import", "captured", "c.jsonl", *options) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 1
    for options, said in (
        (["captured", "d.jsonl", "--since", "2026-11-23T10:00:01"], "no zone"),
        (["captured", "d.jsonl", "--tag", "blue"], "write NAME=VALUE"),
        (["c.jsonl", "d.jsonl", "--model", "m"], "--model goes with"),
    ):
        assert freehold("data", "import", *options) == 2
        assert said in capsys.readouterr().err
