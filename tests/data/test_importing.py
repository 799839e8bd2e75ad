"""Import: every format gives the same exchange; broken rows stop it or are counted; it goes on where it stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_room import Room

from freehold.data import files, importing, intake
from freehold.data.exchange import to_row
from freehold.data.formats import FORMATS, recognised
from freehold.errors import DataError, UserError
from freehold.progress import SILENT
from freehold.records import Message, Provenance

TURNS = [{"role": "system", "content": "Sort."}, {"role": "user", "content": "Where is my wage?"}]
REPLY = {"role": "assistant", "content": "pay"}
CHOICES = {"choices": [{"message": REPLY, "finish_reason": "stop"}]}

RECORDS: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {"messages": [*TURNS, REPLY]},
        {"request": {"model": "m", "messages": TURNS}, "response": CHOICES, "session": "s", "subject": "u"},
    ],
    "anthropic": [
        {
            "request": {"model": "claude", "system": "Sort.", "messages": [{"role": "user", "content": [
                {"type": "text", "text": "Where is "}, {"type": "text", "text": "my wage?"}]}]},
            "response": {"content": [{"type": "text", "text": "pay"}], "stop_reason": "end_turn"},
        }
    ],
    "sharegpt": [
        {"conversations": [{"from": "system", "value": "Sort."}, {"from": "human", "value": "Where is my wage?"},
                           {"from": "gpt", "value": "pay"}]}
    ],
    "alpaca": [{"instruction": "Sort.", "input": "Where is my wage?", "output": "pay"}],
    "litellm": [{"model": "m", "messages": TURNS, "response": CHOICES, "end_user": "u", "status": "success"}],
    "langfuse": [
        {"input": TURNS, "output": REPLY, "sessionId": "s"},
        {"input": {"messages": TURNS}, "output": "pay", "userId": "u"},
    ],
    "helicone": [{"request_body": {"messages": TURNS}, "response_body": CHOICES, "request_user_id": "u"}],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "record"), [(kind, each) for kind, records in RECORDS.items() for each in records])
def test_every_format_gives_the_same_exchange(kind: str, record: dict[str, Any]) -> None:
    assert recognised(record) == kind
    row, _ = to_row(FORMATS[kind](record), 0, "f:1", Provenance.INCUMBENT)
    assert row.messages == tuple(Message(**turn) for turn in TURNS)
    assert row.answer == "pay"


def test_every_format_is_tested() -> None:
    assert set(RECORDS) == set(FORMATS)


def test_an_older_anthropic_prompt_is_read() -> None:
    record = {"prompt": "\n\nHuman: Where is my wage?\n\nAssistant:", "completion": " pay"}
    assert recognised(record) == "anthropic"
    row, _ = to_row(FORMATS["anthropic"](record), 0, "f:1", Provenance.INCUMBENT)
    assert (row.text, row.answer) == ("Where is my wage?", "pay")


def test_what_is_imported_can_be_built_and_what_must_not_be_learned_is_counted(room: Room) -> None:
    rows = [{"messages": [{"role": "user", "content": f"{at * 7919:x} {'abcdefgh'[at % 8] * 9}"},
                          {"role": "assistant", "content": ("pay", "rota")[at % 2]}]} for at in range(40)]  # fmt: skip
    rows.append({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]})
    source = room.jsonl("logs.jsonl", rows)
    done = importing.import_rows(intake.Records(source, None), room.folder / "x.jsonl", False, SILENT)
    assert (done.format, done.rows, done.kept, done.faults) == ("openai", 41, 41, {"no_answer": 1})
    dataset = room.build({"source": "x.jsonl", "provenance": "incumbent"})
    assert (dataset.sources[0].rows, dataset.dropped) == (41, {"no_answer": 1})


def test_broken_rows_stop_the_import_or_are_skipped_as_asked(room: Room) -> None:
    good = json.dumps(RECORDS["openai"][0]).encode()
    content = b"\n".join([good, b'{"messages": [', b"\xff\xfe", b'{"messages": []}', b'{"other": 1}', good, b""])
    source = room.file("logs.jsonl", content)
    with pytest.raises(DataError, match=r"logs\.jsonl:2: is not JSON"):
        importing.import_rows(intake.Records(source, None), room.folder / "x.jsonl", False, SILENT)
    assert not (room.folder / "x.jsonl").exists()
    done = importing.import_rows(intake.Records(source, None), room.folder / "x.jsonl", True, SILENT)
    assert (done.rows, done.kept, done.broken) == (6, 2, 4)
    assert done.first_broken[1] == "logs.jsonl:3: byte 0xFF is not UTF-8; save the whole file as UTF-8"


def test_one_line_that_is_far_too_long_is_one_broken_row(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 12)
    good = json.dumps(RECORDS["openai"][0]).encode()
    source = room.file("logs.jsonl", good + b"\n" + b"x" * 50_000 + b"\n" + good + b"\n")
    done = importing.import_rows(intake.Records(source, None), room.folder / "x.jsonl", True, SILENT)
    assert (done.rows, done.kept, done.broken) == (3, 2, 1)
    with pytest.raises(DataError, match=r"logs\.jsonl:2: is longer than"):
        list(files.read(source))


def test_an_interrupted_import_goes_on_and_gives_the_same_file(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"messages": [{"role": "user", "content": f"row {at}"}, REPLY]} for at in range(95)]
    source = room.jsonl("logs.jsonl", rows)
    monkeypatch.setattr(importing, "_EVERY", 10)
    whole, out = room.folder / "whole.jsonl", room.folder / "x.jsonl"
    importing.import_rows(intake.Records(source, None), whole, False, SILENT)
    convert, seen = FORMATS["openai"], 0

    def dying(record: Any) -> dict[str, Any]:  # noqa: ANN401
        nonlocal seen
        seen += 1
        if seen == 47:
            raise KeyboardInterrupt
        return convert(record)

    monkeypatch.setitem(FORMATS, "openai", dying)
    with pytest.raises(KeyboardInterrupt):
        importing.import_rows(intake.Records(source, None), out, False, SILENT)
    assert not out.exists()
    done = importing.import_rows(intake.Records(source, None), out, False, SILENT)
    assert seen == 47 + 55  # rows 41 to 95, after the note at 40
    assert out.read_bytes() == whole.read_bytes() and (done.rows, done.kept) == (95, 95)
    assert not Path(f"{out}.part").exists() and not Path(f"{out}.resume").exists()


def test_an_existing_file_and_an_unknown_format_are_refused(room: Room) -> None:
    source = room.jsonl("logs.jsonl", RECORDS["openai"])
    with pytest.raises(UserError, match="no such format; did you mean langfuse"):
        intake.Records(source, "langfus")
    with pytest.raises(UserError, match="exists already"):
        importing.import_rows(intake.Records(source, None), source, False, SILENT)


def test_the_command(freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs.jsonl").write_text(json.dumps(RECORDS["alpaca"][0]) + "\n")
    assert freehold("data", "import", "logs.jsonl", "x.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["format"] == "alpaca"
    assert freehold("data", "import", "logs.jsonl", "y.jsonl", "--format", "openai") == 2
    assert "logs.jsonl:1: is not of the format openai: there is no 'messages'" in capsys.readouterr().err
