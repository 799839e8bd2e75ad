"""OpenAI's batch API through the real `openai` client: files, batches, whose they are, and what is left on the disk."""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace
from test_durability import Restarted

from freehold.data.retention import set_policy
from freehold.gateway import batch_work, batches, upload
from freehold.gateway.keeper import recover
from freehold.store import keys
from freehold.store.database import connect
from freehold.store.exchanges import listed
from freehold.store.keys import Allowance
from freehold.store.workspace import Workspace

CHAT = "/v1/chat/completions"
SECRET = "maria.lopez@example.org"


def client_of(house: House, key: str = "sk-own") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key=key, max_retries=0, timeout=20)


def line(id: str, model: str = "triage", url: str = CHAT, **more: object) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": f"mail {SECRET} about {id}"}], **more}
    return {"custom_id": id, "method": "POST", "url": url, "body": body}


def jsonl(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(each) + b"\n" for each in lines)


def start(client: openai.OpenAI, content: bytes, endpoint: Any = CHAT, **more: Any) -> Any:  # noqa: ANN401
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def ended(client: openai.OpenAI, id: str, seconds: float = 20) -> Any:  # noqa: ANN401 (openai's Batch)
    end = time.monotonic() + seconds
    while True:
        batch = client.batches.retrieve(id)
        if batch.status in ("completed", "failed", "cancelled", "expired") or time.monotonic() > end:
            return batch
        time.sleep(0.05)


def answers(client: openai.OpenAI, file: str | None) -> dict[str, dict[str, Any]]:
    assert file is not None
    found = [msgspec.json.decode(each) for each in client.files.content(file).text.splitlines()]
    assert len({each["custom_id"] for each in found}) == len(found), "each line is answered once"
    return {each["custom_id"]: each for each in found}


# -- the way of a batch ----------------------------------------------------------------------------------------------


def test_a_batch_is_answered(passing: House) -> None:
    client = client_of(passing)
    batch = start(client, jsonl([line("a"), line("b", "gpt-4o-mini"), line("c", "plain")]), metadata={"night": "1"})
    assert (batch.object, batch.endpoint, batch.metadata) == ("batch", CHAT, {"night": "1"})
    batch = ended(client, batch.id)
    assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
    counts = batch.request_counts
    assert counts is not None and (counts.total, counts.completed, counts.failed) == (3, 3, 0)
    found = answers(client, batch.output_file_id)
    said = {id: each["response"]["body"]["choices"][0]["message"]["content"] for id, each in found.items()}
    assert said["a"] == "payroll" and said["c"] == "mail" and said["b"]
    assert {each["response"]["status_code"] for each in found.values()} == {200}
    times = (batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at)
    assert all(at is not None for at in times) and list(times) == sorted(times)
    kept = passing.kept()
    assert {each.id for each in kept} == {each["response"]["request_id"] for each in found.values()}
    assert {each.tags for each in kept} == {f'{{"batch":"{batch.id}"}}'}
    assert all(SECRET not in (each.request or "") for each in kept)


def test_every_dialect_can_be_a_batch(passing: House) -> None:
    client = client_of(passing)
    asked: dict[str, dict[str, Any]] = {
        "/v1/responses": {"input": "x"},
        "/v1/completions": {"prompt": "x"},
        "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5},
    }
    for url, body in asked.items():
        lines = [{"custom_id": "a", "method": "POST", "url": url, "body": {"model": "triage", **body}}]
        batch = ended(client, start(client, jsonl(lines), url).id)
        assert "payroll" in msgspec.json.encode(answers(client, batch.output_file_id)["a"]).decode(), url


def test_what_failed_stands_in_its_own_file(passing: House) -> None:
    client = client_of(passing)
    content = jsonl([line("good"), line("bad", tools=[{}], temperature=9), line("gone", "traige")])
    passing.settings = replace(passing.settings, upstream=None)
    batch = ended(client, start(client, content).id)
    assert batch.status == "completed"
    assert set(answers(client, batch.output_file_id)) == {"good", "gone"}  # the upstream answers any name
    failed = answers(client, batch.error_file_id)["bad"]
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["code"]
    assert batch.request_counts and batch.request_counts.failed == 1


def test_files_are_listed_read_and_deleted(gateway: House) -> None:
    client = client_of(gateway)
    first, second = (client.files.create(file=(f"{n}.jsonl", jsonl([line(n)])), purpose="batch") for n in "ab")
    assert [each.id for each in client.files.list()] == [second.id, first.id]
    assert [each.id for each in client.files.list(limit=1)] == [second.id, first.id], "pages are turned"
    assert client.files.retrieve(first.id).filename == "a.jsonl"
    assert client.files.content(first.id).content == jsonl([line("a")])
    assert first.bytes == len(jsonl([line("a")]))
    assert client.files.delete(first.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(first.id)
    assert len(list(gateway.workspace.files.iterdir())) == 1


def test_batches_are_listed_newest_first(gateway: House) -> None:
    client = client_of(gateway)
    ids = [start(client, jsonl([line("a")])).id for _ in range(3)]
    assert [each.id for each in client.batches.list(limit=2)] == ids[::-1]


def test_another_key_sees_none_of_it(house: House) -> None:
    secrets = [keys.create(house.store, name, Allowance())[1] for name in ("one", "two")]
    with house.open():
        mine, others = client_of(house, secrets[0]), [client_of(house, k) for k in (secrets[1], "sk-x", "sk-y")]
        batch = start(mine, jsonl([line("a")]))
        batch = ended(mine, batch.id)
        for other in others:
            for ask in (
                lambda: other.files.retrieve(batch.input_file_id),  # noqa: B023
                lambda: other.files.content(batch.output_file_id),  # noqa: B023
                lambda: other.files.delete(batch.output_file_id),  # noqa: B023
                lambda: other.batches.retrieve(batch.id),  # noqa: B023
                lambda: other.batches.cancel(batch.id),  # noqa: B023
                lambda: other.batches.create(  # noqa: B023
                    input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
                ),
            ):
                with pytest.raises(openai.NotFoundError):
                    ask()
            assert not list(other.files.list()) and not list(other.batches.list())
        assert len(list(mine.files.list())) == 2


def test_keys_and_budgets_hold_for_every_line(house: House) -> None:
    key, secret = keys.create(house.store, "app", Allowance(models=("triage",)))
    with house.open():
        client = client_of(house, secret)
        batch = ended(client, start(client, jsonl([line("a"), line("b", "plain")])).id)
        failed = answers(client, batch.error_file_id)["b"]["response"]
        assert (failed["status_code"], failed["body"]["error"]["code"]) == (403, "model_not_allowed")
        assert set(answers(client, batch.output_file_id)) == {"a"}
        assert [each.key for each in house.kept()] == [key.id]
        assert [attempt.key for attempt in house.attempts()] == [key.id]


def test_a_batch_waits_for_its_keys_rate_and_fails_nothing(house: House) -> None:
    _, secret = keys.create(house.store, "slow", Allowance(requests_per_minute=60))
    with house.open():
        client = client_of(house, secret)
        batch = ended(client, start(client, jsonl([line(str(at)) for at in range(62)])).id)
    assert batch.request_counts and batch.request_counts.completed == 62


# -- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code", "number"),
    [
        (jsonl([line("a")]) + b"{\n", "invalid_json_line", 2),
        (jsonl([line("a"), line("b"), line("a")]), "duplicate_custom_id", 3),
        (jsonl([line("a", url="/v1/embeddings")]), "mismatched_url", 1),
        (jsonl([line("a") | {"method": "GET"}]), "invalid_method", 1),
        (jsonl([line("a", stream=True)]), "stream_in_batch", 1),
        (jsonl([{**line("a"), "body": {"messages": []}}]), "invalid_body", 1),
        (jsonl([line("a"), line("b", padding="x" * 20_000)]), "body_too_large", 2),
        (jsonl([line("a")]) + b"x" * 200_000, "body_too_large", 2),
        (b"\n\n", "empty_file", None),
    ],
)
def test_a_wrong_line_is_named(house: House, content: bytes, code: str, number: int | None) -> None:
    house.settings = replace(house.settings, max_body=10_000)
    with house.open():
        client = client_of(house)
        batch = ended(client, start(client, content).id)
        assert batch.status == "failed"
        assert batch.errors and batch.errors.data
        assert [(each.code, each.line) for each in batch.errors.data] == [(code, number)]
        if number is not None:
            assert f"line {number}" in str(batch.errors.data[0].message)
        assert not house.kept(), "nothing was asked"


def test_a_file_that_is_too_long_is_refused(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "LONGEST_FILE_BYTES", 100_000)
    client = client_of(gateway)
    for size in (120_000, 400_000):  # one is seen on the way, the other by its declared length
        with pytest.raises(openai.APIStatusError, match="larger than 100,000 bytes") as refused:
            client.files.create(file=("a.jsonl", b"x" * size), purpose="batch")
        assert refused.value.status_code == 413
    assert not list(gateway.workspace.files.glob("*"))


def test_what_no_file_or_batch_can_be_made_of(gateway: House, http: Callable[..., Any]) -> None:
    client = client_of(gateway)
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("a.jsonl", b"x"), purpose="fine-tune")
    assert http("POST", "/v1/files", b"{}", content_type="application/json")[0] == 400
    form = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n'
    status, _, content = http("POST", "/v1/files", form, content_type="multipart/form-data; boundary=x")
    assert status == 400 and b"file is missing" in content
    status, _, content = http("POST", "/v1/files", form[:-8], content_type="multipart/form-data; boundary=x")
    assert status == 400 and b"broke off" in content
    file = client.files.create(file=("a.jsonl", jsonl([line("a")])), purpose="batch")
    for more, words in (
        ({"endpoint": "/v1/moderations"}, "endpoint is"),
        ({"completion_window": "1y"}, "completion_window"),
    ):
        ask: Any = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **more}
        with pytest.raises(openai.BadRequestError, match=words):
            client.batches.create(**ask)
    assert not list(client.batches.list())


# -- ending early ----------------------------------------------------------------------------------------------------


def test_a_batch_can_be_cancelled(passing: House, upstream: RunningUpstream) -> None:
    upstream.turn(latency_ms=300)
    client = client_of(passing)
    batch = start(client, jsonl([line(str(at), "gpt-4o-mini") for at in range(200)]))
    while upstream.app.seen < 8:
        time.sleep(0.05)
    with pytest.raises(openai.ConflictError, match="has not ended"):
        client.files.delete(batch.input_file_id)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = ended(client, batch.id)
    assert batch.status == "cancelled" and batch.cancelled_at
    done = answers(client, batch.output_file_id)
    assert batch.request_counts and 0 < len(done) == batch.request_counts.completed < 200
    with pytest.raises(openai.ConflictError, match="has ended"):
        client.batches.cancel(start_and_end(client))


def start_and_end(client: openai.OpenAI) -> str:
    id = str(start(client, jsonl([line("z")])).id)
    ended(client, id)
    return id


def test_a_batch_expires_and_says_of_each_line_that_it_did(
    passing: House, upstream: RunningUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_HOUR_US", 1_500_000 // 24)  # a day is a second and a half
    upstream.turn(latency_ms=300)
    client = client_of(passing)
    batch = ended(client, start(client, jsonl([line(str(at), "gpt-4o-mini") for at in range(100)])).id)
    done, late = answers(client, batch.output_file_id), answers(client, batch.error_file_id)
    assert batch.status == "expired" and batch.expired_at and len(done) + len(late) == 100
    assert {each["error"]["code"] for each in late.values()} == {"batch_expired"}
    assert batch.request_counts and batch.request_counts.failed == len(late)


# -- what survives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lines", "kills"), [(400, 2), pytest.param(5_000, 8, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_answers_every_line_once(
    tmp_path: Path, upstream: RunningUpstream, lines: int, kills: int
) -> None:
    upstream.turn(latency_ms=5)
    gateway = Restarted(tmp_path, upstream.url)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="sk-own", timeout=20)
    try:
        batch = start(client, jsonl([line(str(at), "gpt-4o-mini") for at in range(lines)]))
        for turn in range(kills):
            while upstream.app.seen < lines * (turn + random.random()) / (kills + 1):
                time.sleep(0.01)
            gateway.kill()
            client.batches.retrieve(batch.id)  # its owner asks for it: the key is known again
        batch = ended(client, batch.id, 60)
        assert batch.status == "completed"
        found = answers(client, batch.output_file_id)
    finally:
        gateway.process.kill()
        gateway.process.wait()
    assert set(found) == {str(at) for at in range(lines)}
    assert lines <= upstream.app.seen <= lines + kills * batch_work.AT_ONCE, "only what was under way is asked again"
    store = connect(Workspace(tmp_path).database_url)
    recover(tmp_path / "journal", store)
    kept = {each.id for each in listed(store, 2 * lines)}
    assert {each["response"]["request_id"] for each in found.values()} <= kept, "no answer without its bill"
    store.dispose()


def test_after_a_restart_a_batch_goes_on_when_its_key_is_known_again(house: House, upstream: RunningUpstream) -> None:
    """A caller's own key is not stored."""
    upstream.turn(latency_ms=50)
    house.settings = replace(house.settings, upstream=upstream.url)
    with house.open():
        client = client_of(house, "sk-theirs")
        owned = [line(f"owned-{at}", "plain") for at in range(3)]
        batch = start(client, jsonl([*(line(str(at), "gpt-4o-mini") for at in range(40)), *owned]))
        while upstream.app.seen < 4:
            time.sleep(0.01)
    seen = upstream.app.seen
    with house.open():
        time.sleep(1.5)
        assert upstream.app.seen == seen, "nobody's key was known"
        batch = ended(client, batch.id)
        assert upstream.app.secret == "Bearer sk-theirs"
    assert batch.status == "completed" and batch.request_counts.completed == 43
    assert upstream.app.seen == 40, "a gateway that stops lets out what is under way, so nothing is asked twice"


def test_no_word_of_a_batch_is_on_the_disk(house: House) -> None:
    with house.open():
        client = client_of(house, "sk-callers-own-secret")
        asked = {**line("id-of-the-client"), "body": line("it")["body"]}
        batch = start(client, jsonl([asked]), metadata={"note": "metadata-of-the-client"})
        batch = ended(client, batch.id)
        assert SECRET in client.files.content(batch.input_file_id).text
        assert "id-of-the-client" in client.files.content(batch.output_file_id).text
        wrong = ended(client, start(client, jsonl([{**line("other"), "body": {"model": SECRET}}]), "/v1/responses").id)
        assert wrong.status == "failed"
    house.kept()
    words = (SECRET, "id-of-the-client", "metadata-of-the-client", "sk-callers-own-secret", "requests.jsonl")
    for path in house.workspace.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in words if word.encode() in content], path


@pytest.mark.parametrize("change", ["expires_at = 1", "created_at = created_at - 2 * 86400000000"])
def test_files_go_after_their_time(house: House, change: str) -> None:
    """Their own, or the retention policy's where that is shorter."""
    set_policy(house.workspace, 1)
    with house.open():
        client = client_of(house)
        file = client.files.create(file=("a.jsonl", b"x"), purpose="batch")
        with house.store.begin() as connection:
            connection.exec_driver_sql(f"UPDATE files SET {change}")
    with house.open():
        end = time.monotonic() + 5
        with contextlib.suppress(openai.NotFoundError):
            while time.monotonic() < end:
                client_of(house).files.retrieve(file.id)
                time.sleep(0.05)
            pytest.fail("the file is still there")
    assert not list(house.workspace.files.glob("*.sealed"))


# -- who goes first --------------------------------------------------------------------------------------------------


def test_whoever_waits_goes_first(passing: House, upstream: RunningUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody's answer is under way no line begins, until the patience of a batch is over."""
    monkeypatch.setattr(batch_work, "PATIENCE_S", 60.0)
    client = client_of(passing)
    upstream.turn(latency_ms=1500)
    before = start(client, jsonl([line("a", "plain")]))
    assert ended(client, before.id).status == "completed"
    ask: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "now"}]}
    person = threading.Thread(target=lambda: client.chat.completions.create(**ask))
    person.start()
    while not upstream.app.seen:
        time.sleep(0.01)
    batch = start(client, jsonl([line("b", "plain")]))
    time.sleep(0.8)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    assert client.batches.retrieve(batch.id).request_counts.completed == 0  # type: ignore[union-attr]
    person.join()
    assert ended(client, batch.id).status == "completed"
    newest, person_s = passing.kept()[0], passing.kept()[1]
    assert (newest.model, person_s.model) == ("plain", "gpt-4o-mini")


def test_constant_traffic_does_not_starve_a_batch(
    passing: House, upstream: RunningUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_work, "PATIENCE_S", 0.1)
    client = client_of(passing)
    upstream.turn(endless=True)
    stream = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}], stream=True
    )
    next(stream)
    assert ended(client, start(client, jsonl([line("a"), line("b", "plain")])).id).status == "completed"
    stream.close()
