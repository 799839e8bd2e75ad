"""Whose request it is goes on to the upstream as it came, and is recorded as a pseudonym only."""

from typing import Any

import msgspec
import openai
import pytest
from gateway_house import House, RunningUpstream
from hypothesis import given
from hypothesis import strategies as st

from freehold.data.subject import Subjects
from freehold.gateway.person import anonymous
from freehold.store.exchanges import Entry, Exchange, listed, record

ASK: Any = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("fields", "person"),
    [
        ({"user": "anna"}, "anna"),
        ({"safety_identifier": "anna"}, "anna"),
        ({"metadata": {"user_id": "anna", "n": 1}}, "anna"),
        ({"user": "anna", "safety_identifier": "berta"}, "anna"),
        ({"user": ""}, None),
        ({"user": 7}, None),
        ({"metadata": ["user_id"]}, None),
        ({"messages": [{"content": 'the "user" is anna'}]}, None),
    ],
)
def test_who_it_is(fields: dict[str, Any], person: str | None) -> None:
    content = msgspec.json.encode({"model": "m", **fields})
    hidden, found = anonymous(content, lambda name: f"<{name}>")
    assert found == (f"<{person}>" if person else None)
    if person is None:
        assert hidden == content
    else:
        assert b'"anna"' not in hidden


@given(st.binary())
def test_what_is_no_json_names_nobody(content: bytes) -> None:
    assert anonymous(b'"user"' + content, str.upper) == (b'"user"' + content, None)


def test_the_upstream_gets_the_id_and_the_store_a_pseudonym(passing: House, upstream: RunningUpstream) -> None:
    client = openai.OpenAI(base_url=f"{passing.url}/v1", api_key="k", max_retries=0)
    client.chat.completions.create(model="gpt-4o-mini", messages=ASK, user="anna-4711")
    assert upstream.app.last["user"] == "anna-4711"
    (exchange,) = passing.kept()
    assert exchange.subject == Subjects(passing.workspace).pseudonym("anna-4711")
    assert "anna-4711" not in (exchange.request or "")
    files = [path for path in passing.workspace.root.rglob("*") if path.is_file()]
    assert not [path for path in files if b"anna-4711" in path.read_bytes()]


def test_ids_that_were_recorded_before_become_pseudonyms_when_the_gateway_starts(house: House) -> None:
    known = Subjects(house.workspace).pseudonym("berta")
    for id, subject in (("x1", "anna"), ("x2", known), ("x3", None)):
        entry = Exchange(id=id, at=1, endpoint="chat.completions", model="m", answered_by="u", subject=subject)
        record(house.store, [Entry(entry, ())])
    with house.open():
        subjects = {each.id: each.subject for each in listed(house.store, 10)}
    assert subjects == {"x1": Subjects(house.workspace).pseudonym("anna"), "x2": known, "x3": None}
