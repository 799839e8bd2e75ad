"""One contract for every store: what is kept comes back the same from SQLite and from PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from freehold.errors import NotFoundError, UserError
from freehold.records import AnswerType
from freehold.render import Prompt, Shot
from freehold.store import batches, decisions, deployments, exchanges, keys, stages, traffic, usage
from freehold.store.answers import Answered, Answers
from freehold.store.batches import Batch, File
from freehold.store.database import Store
from freehold.store.deployments import AdapterTarget, BaseTarget, ClassifierTarget, Deployment, RemoteTarget, Share
from freehold.store.documents import Documents
from freehold.store.exchanges import Attempt, Entry, Exchange, Feedback, Query
from freehold.store.keys import Allowance
from freehold.store.workspace import Workspace

ANY_SCRIPT = "راتبي لم يصل · 我的工资没到 · gaji saya belum masuk · 🧾"
DAY_US = 86_400_000_000


# -- stages ----------------------------------------------------------------------------------------------------------


def test_a_stage_is_kept_and_replaced(store: Store) -> None:
    stages.finish(store, "triage", "data", "a" * 64, "b" * 64, 1.5)
    stages.finish(store, "triage", "data", "c" * 64, "d" * 64, 2.5)
    stages.finish(store, "other", "data", "e" * 64, "f" * 64, 3.5)
    found = stages.finished(store, "triage")
    assert list(found) == ["data"]
    assert found["data"][:3] == ("data", "c" * 64, "d" * 64)
    assert found["data"].seconds == 2.5
    assert stages.tasks(store) == ["other", "triage"]


def test_the_longest_names_fit(store: Store) -> None:
    task, base = "t" * 64, "b" * 64
    stages.finish(store, task, f"tune {base}", "a" * 64, "b" * 64, 0.0)
    assert f"tune {base}" in stages.finished(store, task)
    deployments.deploy(store, Deployment(name=f"{task}:prompted-{base}", target=BaseTarget(base=base)), "measured")
    assert deployments.current(store, f"{task}:prompted-{base}").target == BaseTarget(base=base)


# -- answers ---------------------------------------------------------------------------------------------------------


def _answer(prompt: str, text: str, constrained: bool = True, error: str | None = None) -> Answered:
    return Answered(
        prompt=prompt * 64,
        constrained=constrained,
        text=text,
        input_tokens=3,
        output_tokens=1,
        latency_ms=0.25,
        error=error,
    )


def test_answers_come_back_by_prompt_and_constraint(store: Store) -> None:
    kept = [_answer("a", ANY_SCRIPT), _answer("a", "free", constrained=False), _answer("b", "")]
    answers = Answers(store)
    answers.keep("c" * 64, kept)
    answers.keep("c" * 64, [])
    assert answers.of("c" * 64) == {(each.prompt, each.constrained): each for each in kept}
    assert answers.of("d" * 64) == {}


def test_a_failed_answer_is_asked_again_and_replaced(store: Store) -> None:
    answers = Answers(store)
    answers.keep("c" * 64, [_answer("a", "", error="timed out")])
    assert answers.of("c" * 64) == {}
    answers.keep("c" * 64, [_answer("a", "payroll")])
    assert [each.text for each in answers.of("c" * 64).values()] == ["payroll"]


# -- documents and decisions -----------------------------------------------------------------------------------------


def test_documents_are_listed_once_in_order(store: Store) -> None:
    documents = Documents(store)
    for digest in ("a" * 64, "b" * 64, "a" * 64):
        documents.add("report", digest, "triage")
    documents.add("report", "c" * 64, "other")
    documents.add("decision", "d" * 64, "triage")
    assert [each.digest[0] for each in documents.all("report", "triage")] == ["a", "b"]
    newest = documents.newest("report")
    assert newest is not None and newest.digest == "c" * 64
    assert documents.newest("decision", "other") is None


def test_a_listed_decision_without_its_file_is_said(store: Store, tmp_path: Path) -> None:
    Documents(store).add("decision", "a" * 64, "triage")
    with pytest.raises(NotFoundError, match=r"no such record; `freehold status`"):
        decisions.every(Workspace(tmp_path), store)


# -- deployments -----------------------------------------------------------------------------------------------------

TARGETS = (
    AdapterTarget(base="smollm2", adapter="a" * 64, prompt=Prompt(system=ANY_SCRIPT)),
    BaseTarget(base="smollm2", prompt=Prompt(system="s", shots=(Shot(input="i", answer="o"),))),
    ClassifierTarget(digest="b" * 64, folder="classifiers/x"),
    RemoteTarget(base_url="https://api.example.com/v1", model="m", api_key="${KEY}"),
)


def test_the_newest_row_of_a_name_holds_and_none_is_edited(store: Store) -> None:
    assert deployments.revision(store) == 0
    whole = Deployment(
        name="triage",
        target=TARGETS[0],
        answer_type=AnswerType.LABEL,
        labels=("راتب", "安全"),
        evidence={"report": "c" * 64},
        shares=(Share(target=TARGETS[1], share=0.1),),
        fallbacks=(TARGETS[3],),
        shadow=Share(target=TARGETS[2], share=1.0),
    )
    first = deployments.deploy(store, Deployment(name="triage", target=TARGETS[3]), "first")
    second = deployments.deploy(store, whole, "second")
    assert second > first
    assert deployments.current(store, "triage") == whole
    assert whole.targets == (TARGETS[0], TARGETS[1], TARGETS[3], TARGETS[2])
    assert deployments.revision(store) == second
    with store.connect() as connection:
        rows = connection.execute(text("SELECT reason FROM deployments ORDER BY id")).scalars().all()
    assert rows == ["first", "second"]


def test_an_unknown_deployment_names_a_near_one(store: Store) -> None:
    deployments.deploy(store, Deployment(name="triage", target=TARGETS[2]), "x")
    with pytest.raises(NotFoundError, match=r"no model is deployed as triaje; did you mean triage\?"):
        deployments.current(store, "triaje")


# -- exchanges, feedback, usage --------------------------------------------------------------------------------------


def _entry(name: str, at: int, *costs: int | None, model: str = "gpt", currency: str = "USD") -> Entry:
    attempts = tuple(
        Attempt(
            exchange=name,
            attempt=number,
            at=at,
            model=model,
            target="https://api.example.com",
            key="k" * 16,
            tags='{"team":"支付"}',
            input_tokens=10,
            output_tokens=2,
            cost=cost,
            currency=None if cost is None else currency,
        )
        for number, cost in enumerate(costs, start=1)
    )
    exchange = Exchange(
        id=name, at=at, endpoint="chat", model=model, answered_by="u", request=f'{{"q":"{ANY_SCRIPT}"}}', answer="{}"
    )
    return Entry(exchange, attempts)


def test_an_entry_that_is_there_already_is_left_alone(store: Store) -> None:
    entry = _entry("one", 5, 7)
    exchanges.record(store, [entry])
    exchanges.record(store, [entry, _entry("two", 6, 8)])
    exchanges.record(store, [])
    assert exchanges.count(store) == 2
    assert [each.id for each in exchanges.listed(store, 10)] == ["two", "one"]
    assert exchanges.listed(store, 1, "gpt")[0].id == "two"
    assert exchanges.count(store, "other") == 0
    assert exchanges.found(store, "one") == (entry.exchange, list(entry.attempts), [])


def test_feedback_belongs_to_an_exchange_and_its_last_word_holds(store: Store) -> None:
    exchanges.record(store, [_entry("one", 5, 7), _entry("two", 6, 8)])
    exchanges.say(store, Feedback(exchange="one", verdict="rejected"))
    exchanges.say(store, Feedback(exchange="one", verdict="corrected", correction=ANY_SCRIPT))
    said = {each.id: word for each, word in exchanges.captured(store, Query(models=("gpt",)))}
    assert said == {"one": Feedback(exchange="one", verdict="corrected", correction=ANY_SCRIPT), "two": None}
    assert [word and word.verdict for _, _, word in traffic.costed(store)] == ["corrected", None]
    with pytest.raises(NotFoundError, match="no exchange three"):
        exchanges.say(store, Feedback(exchange="three", verdict="accepted"))
    with pytest.raises(UserError, match="verdict is 'fine'"):
        exchanges.say(store, Feedback(exchange="one", verdict="fine"))
    with pytest.raises(UserError, match="a correction comes with the verdict corrected"):
        exchanges.say(store, Feedback(exchange="one", verdict="corrected"))
    with pytest.raises(NotFoundError, match="no exchange three"):
        exchanges.found(store, "three")


def test_a_bill_equals_the_sum_of_its_rows(store: Store) -> None:
    big = 9_000_000_000_000_000  # pico-units: 9,000 of a currency in one attempt, beyond a float's exact integers
    exchanges.record(
        store,
        [
            _entry("one", 5, big + 1, big + 2),
            _entry("two", DAY_US + 5, 3, None),
            _entry("three", DAY_US + 6, 4, currency="EUR"),
            _entry("four", DAY_US + 7, 5, model="other"),
        ],
    )
    for by in ([], ["model"], ["day"], ["key", "tag"], ["key", "model", "day", "tag"]):
        lines = usage.lines(store, by)  # type: ignore[arg-type]
        assert sum(line.cost for line in lines if line.currency == "USD") == 2 * big + 11
        assert sum(line.cost for line in lines if line.currency == "EUR") == 4
        assert sum(line.attempts for line in lines) == 6
        assert sum(line.unpriced for line in lines) == 1
    assert {line.day for line in usage.lines(store, ["day"])} == {"1970-01-01", "1970-01-02"}
    assert {line.tag for line in usage.lines(store, ["tag"])} == {"team=支付"}
    assert sum(line.requests for line in usage.lines(store, [], since_us=DAY_US)) == 4


def test_the_cost_of_an_exchange_is_unknown_where_one_attempt_has_no_price(store: Store) -> None:
    exchanges.record(store, [_entry("one", 5, 3, 4), _entry("two", 6, 3, None), _entry("three", 7)])
    spent = {exchange.id: (each.attempts, each.cost) for exchange, each, _ in traffic.costed(store)}
    assert spent == {"one": (2, 7), "two": (2, None), "three": (1, None)}


# -- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_is_kept_as_its_hash_and_lives_until_revoked(store: Store) -> None:
    allowance = Allowance(models=("triage",), budget=10**15, period="day", requests_per_minute=5)
    key, secret = keys.create(store, "shop-floor", allowance)
    assert keys.every(store) == [key]
    assert key.allowance == allowance and key.sha256 == keys.hashed(secret)
    with store.connect() as connection:
        assert secret not in str(connection.execute(text("SELECT * FROM keys")).all())
    with pytest.raises(UserError, match="a key named shop-floor already"):
        keys.create(store, "shop-floor", Allowance())
    keys.revoke(store, "shop-floor")
    assert keys.every(store)[0].revoked_at is not None
    with pytest.raises(NotFoundError, match="no living key shop-floor"):
        keys.revoke(store, "shop-floor")
    keys.create(store, "shop-floor", Allowance())


def test_what_a_key_spent_is_counted_by_currency_and_time(store: Store) -> None:
    exchanges.record(store, [_entry("one", 5, 3), _entry("two", 50, 4), _entry("three", 60, 9, currency="EUR")])
    assert keys.spent(store, "k" * 16, "USD", 0) == 7
    assert keys.spent(store, "k" * 16, "USD", 50) == 4
    assert keys.spent(store, "nobody", "USD", 0) == 0


# -- batches ---------------------------------------------------------------------------------------------------------


def _batch(id: str, owner: str = "key:a", at: int = 0) -> Batch:
    return Batch(
        id=id,
        owner=owner,
        endpoint="/v1/responses",
        input_file="file-in",
        details="00",
        created_at=at,
        expires_at=at + DAY_US,
    )


def _file(id: str, owner: str = "key:a", at: int = 0, expires_at: int = DAY_US) -> File:
    return File(id=id, owner=owner, purpose="batch", size=3, details="00", created_at=at, expires_at=expires_at)


def test_files_and_batches_are_their_owners(store: Store) -> None:
    for at, id in enumerate("abc"):
        batches.add_batch(store, _batch(id, at=at))
        batches.add_file(store, _file(f"file-{id}", at=at))
    batches.add_batch(store, _batch("other", "own:x", 9))
    assert [each.id for each in batches.list_batches(store, "key:a", 2, None)] == ["c", "b"]
    assert [each.id for each in batches.list_batches(store, "key:a", 2, "b")] == ["a"]
    assert batches.list_batches(store, "key:a", 2, "unknown") == []
    assert [each.id for each in batches.list_files(store, "key:a", 9, None, "batch")] == ["file-c", "file-b", "file-a"]
    assert batches.list_files(store, "key:a", 9, None, "batch_output") == []
    assert batches.find_batch(store, "key:a", "other") is None and batches.find_file(store, "own:x", "file-a") is None
    assert batches.find_batch(store, "key:a", "b") == _batch("b", at=1)
    batches.remove_file(store, "file-a")
    assert batches.find_file(store, "key:a", "file-a") is None


def test_a_batch_moves_on_and_ends_once(store: Store) -> None:
    batches.add_batch(store, _batch("a"))
    assert batches.move(store, "a", "in_progress", total=2)
    assert batches.progress(store, "a", 1, 1) == "in_progress"
    assert batches.move(store, "a", "cancelling")
    assert not batches.move(store, "a", "finalizing"), "who asked for the end is heard"
    assert [each.id for each in batches.still_open(store)] == ["a"]
    assert batches.move(store, "a", "cancelled", output_file="file-out")
    assert not batches.move(store, "a", "completed") and not batches.move(store, "a", "cancelling")
    found = batches.find_batch(store, "key:a", "a")
    assert found is not None and (found.status, found.total, found.completed, found.failed) == ("cancelled", 2, 1, 1)
    times = [found.reached(status) for status in ("in_progress", "cancelling", "cancelled")]
    assert None not in times and found.reached("completed") is None
    assert batches.still_open(store) == [] and not batches.move(store, "unknown", "completed")


def test_a_file_whose_time_is_over_goes_unless_a_batch_reads_it(store: Store) -> None:
    batches.add_batch(store, _batch("a"))
    for id, at, expires_at in (("file-in", 0, 5), ("file-old", 0, 5), ("file-new", 7, 50)):
        batches.add_file(store, _file(id, at=at, expires_at=expires_at))
    assert batches.expired_files(store, 10, 0) == ["file-old"]
    assert set(batches.expired_files(store, 10, 8)) == {"file-old", "file-new"}
    batches.move(store, "a", "cancelled")
    assert set(batches.expired_files(store, 10, 0)) == {"file-old", "file-in"}


# -- many at once ----------------------------------------------------------------------------------------------------


def test_writers_at_once_lose_nothing(store: Store) -> None:
    entries = [_entry(f"e{number}", number, 1) for number in range(60)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda entry: exchanges.record(store, [entry]), entries))
    assert exchanges.count(store) == 60
    assert sum(line.cost for line in usage.lines(store, [])) == 60
