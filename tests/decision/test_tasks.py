"""Traffic is split into the tasks it is made of, and ranked by what is known."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.decision.planner import prospects
from freehold.decision.ranges import exactly
from freehold.decision.tasks import OTHER, Group, split
from freehold.decision.traffic import Seen, accepted, days, jobs_a_month, turns
from freehold.engines.llamacpp_embedder import embedder_of
from freehold.records import Plan
from freehold.store.database import connect
from freehold.store.exchanges import Attempt, Entry, Exchange, Feedback, record, say
from freehold.store.workspace import Workspace

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
DAY = 86_400_000_000
PLAN = Plan(metric="accuracy", margin=0.05, confidence=0.95, seed=0)
CARDS = ["my card was declined", "when does my new card arrive", "activate the card please", "card stolen, block it"]
SKY = ["which planet has rings", "how far is the moon", "why do stars twinkle at night", "name the nearest planet"]


def seen(at: int, **facts: Any) -> Seen:  # noqa: ANN401
    return Seen(**{"id": f"x{at:06}", "at": at, "model": "m", "system": "", "user": f"message {at}", **facts})


def test_system_prompts_that_differ_in_what_was_filled_in_are_one_task() -> None:
    prompt = "You sort the messages of customers of {} into one of the 12 queues we have, as of 2026-11-{}."
    mixed = [seen(at, system=prompt.format(["Acme", "Beta"][at % 2], at % 28 + 1)) for at in range(40)]
    mixed += [
        seen(
            at + 100,
            system="Write a friendly reply to this letter in the name of the company, in two short paragraphs.",
        )
        for at in range(20)
    ]
    found = split(mixed)
    assert [(group.by, len(group.seen)) for group in found] == [("system prompt", 40), ("system prompt", 20)]
    assert len({group.name for group in found}) == 2


def test_a_general_system_prompt_is_no_task_and_templates_part_what_it_holds() -> None:
    general = "You are a helpful assistant."
    mixed = [
        seen(at, system=general, user=f"Translate this text into French: {CARDS[at % 4]} {at}") for at in range(30)
    ]
    mixed += [seen(at + 50, system=general, user=f"List the order lines in this e-mail: {at}") for at in range(25)]
    assert [(group.by, len(group.seen)) for group in split(mixed)] == [("template", 30), ("template", 25)]


def test_what_has_neither_is_parted_by_meaning() -> None:
    mixed = [seen(at, user=f"{CARDS[at % 4]} {'thanks' * (at % 3)}") for at in range(40)]
    mixed += [seen(at + 100, user=f"{SKY[at % 4]} {'please' * (at % 3)}") for at in range(40)]
    groups = {each.id: group.name for group in split(mixed) for each in group.seen}
    cards, sky = (Counter(groups[f"x{at + start:06}"] for at in range(40)) for start in (0, 100))
    assert not set(cards) & set(sky)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data beside the checkout")
def test_an_embedding_model_finds_assorted_questions_that_words_do_not(minilm_folder: Path) -> None:
    with (SHARED / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        bank = [row["text"] for row in csv.DictReader(file)][::25]
    asked = [json.loads(line)["turns"][0] for line in (SHARED / "mt_bench.jsonl").read_text().splitlines()]
    embedder = embedder_of(minilm_folder)
    embedder.start()
    try:
        requests = [seen(at, user=text) for at, text in enumerate([*bank, *asked])]
        groups = split(requests, lambda texts: [each.vector for each in embedder.embed(texts, cut=True)])
    finally:
        embedder.stop()
    home = {each.id: group.name for group in groups for each in group.seen}
    questions = Counter(home[f"x{at:06}"] for at in range(len(bank), len(requests)))
    name, found = questions.most_common(1)[0]
    strays = sum(home[f"x{at:06}"] == name for at in range(len(bank)))
    assert found >= 0.9 * len(asked) and strays <= 0.1 * len(bank)


texts = st.sampled_from(["", "the", "مرحبا كيف حالك", "我想转账", "why 17?", "Translate this: x", *CARDS])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(texts, texts), max_size=60))
def test_every_request_is_in_exactly_one_group(requests: list[tuple[str, str]]) -> None:
    given_ids = [f"x{at:06}" for at in range(len(requests))]
    groups = split([seen(at, system=system, user=user) for at, (system, user) in enumerate(requests)])
    assert sorted(each.id for group in groups for each in group.seen) == given_ids
    assert len({group.name for group in groups}) == len(groups)


def prospect(count: int, machine: int | None = 1, **facts: Any) -> Any:  # noqa: ANN401
    members = tuple(seen(at, answer="yes", cost=10**10, currency="USD", **facts) for at in range(count))
    (found,) = prospects([Group("it", "template", members)], PLAN, exactly(machine) if machine is not None else None)
    return found


@pytest.mark.parametrize(
    ("count", "machine", "facts", "advice"),
    [
        (2000, 1, {"verdict": "accepted"}, "yes"),
        (2000, 1, {}, "collect feedback"),
        (700, 1, {"verdict": "accepted"}, "collect feedback: 700 of about 1,240"),
        (100, 0, {"verdict": "accepted"}, "collect more traffic"),
        (2000, 500, {"verdict": "accepted"}, "no: a machine costs more than is spent"),
        (2000, None, {"verdict": "accepted"}, "unknown: give a machine's price with --machine"),
        (2000, 1, {"verdict": "accepted", "cost": None}, "unknown: what it costs today has no price"),
    ],
)
def test_advice_names_what_stands_most_in_the_way(
    count: int, machine: int | None, facts: dict[str, Any], advice: str
) -> None:
    members = tuple(seen(at, **{"answer": "yes", "cost": 10**10, "currency": "USD", **facts}) for at in range(count))
    price = exactly(machine) if machine is not None else None
    (found,) = prospects([Group("it", "template", members)], PLAN, price)
    assert found.advice == advice
    assert found.first == (advice == "yes")


def test_a_saving_without_feedback_is_unknown() -> None:
    assert prospect(2000).saving is None
    saving = prospect(2000, verdict="accepted").saving
    assert saving.value == 19  # 2,000 requests at 0.01 a day, less 1
    assert saving.low < saving.value < saving.high


def test_mixed_currencies_are_not_added_up() -> None:
    members = tuple(seen(at, cost=5, currency=["USD", "EUR"][at % 2]) for at in range(20))
    (found,) = prospects([Group("it", "template", members)], PLAN, None)
    assert (found.spend, found.currency) == (None, None)


@pytest.mark.parametrize(
    ("answer", "kind"), [(lambda at: "ab"[at % 2], "label"), (lambda at: f'{{"n": {at}}}', "json"), (str, "text")]
)
def test_answers_tell_their_type(answer: Callable[[int], str], kind: str) -> None:
    members = tuple(seen(at, answer=answer(at)) for at in range(200))
    (found,) = prospects([Group(OTHER, "what is left", members)], PLAN, None)
    assert found.answer == kind
    assert found.advice == "no: not one task"


def test_a_clock_that_jumps_makes_no_days() -> None:
    assert days([seen(at) for at in range(200)] + [seen(40 * DAY)] + [seen(-9 * DAY)]) == 1
    assert days([seen(at % 2 * DAY + at) for at in range(200)]) == 2
    assert days([]) == 0


def test_turns_run_until_an_answer_was_accepted() -> None:
    session = [seen(at, session="s", verdict="accepted" if at in (1, 4) else None) for at in range(6)]
    found = turns([*session, seen(10, session="t")])
    assert found is not None
    assert found.value == Decimal("1.75")  # jobs of 2, 3 and 1 requests, and one of 1
    assert found.low < found.value < found.high
    jobs = jobs_a_month(session)
    assert jobs is not None
    assert jobs.value == 90


def test_feedback_gives_the_accepted_share_with_its_interval() -> None:
    share = accepted([seen(at, verdict=["accepted", "rejected"][at % 4 == 0]) for at in range(40)])
    assert share is not None
    assert share.low < share.value == Decimal("0.75") < share.high
    assert accepted([seen(0)]) is None


@pytest.fixture
def traffic(tmp_path: Path) -> None:
    """Two tasks in the store: one with feedback, one retried and without."""
    workspace = Workspace(tmp_path / ".freehold")
    store = connect(workspace.database_url)
    entries = []
    for at in range(40):
        kind = at % 2
        system = ["Sort the message into exactly one of the twelve queues that are listed here.", "You are helpful."][
            kind
        ]
        user = [f"queue {at}", f"Extract the order lines from: {at}"][kind]
        request = {"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]}
        answer = {"choices": [{"message": {"role": "assistant", "content": "billing"}}]}
        exchange = Exchange(
            id=f"e{at:03}",
            at=at,
            endpoint="chat",
            model="gpt-4o-mini",
            answered_by="https://up",
            request=json.dumps(request),
            answer=json.dumps(answer),
        )
        attempts = tuple(
            Attempt(
                exchange=exchange.id,
                attempt=number,
                at=at,
                model="gpt-4o-mini",
                target="https://up",
                input_tokens=100,
                output_tokens=4,
                cost=10**9,
                currency="USD",
            )
            for number in range(1, 2 + kind)
        )
        entries.append(Entry(exchange, attempts))
    record(store, entries)
    for at in range(0, 40, 2):
        say(store, Feedback(exchange=f"e{at:03}", verdict="rejected"))
        say(store, Feedback(exchange=f"e{at:03}", verdict="accepted"))  # the last word counts


def test_tasks_on_the_command_line(
    traffic: None, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("tasks", "--machine", "0.0001-0.0002", "--json") == 0
    found = {each["by"]: each for each in json.loads(capsys.readouterr().out)}
    assert {by: each["requests"] for by, each in found.items()} == {"system prompt": 20, "template": 20}
    assert found["system prompt"]["spend"]["value"] == "0.020000000"
    assert found["template"]["spend"]["value"] == "0.040000000"
    assert found["system prompt"]["saving"]["value"] == "0.016400000"
    assert found["template"]["saving"] is None
    assert freehold("tasks") == 0
    assert "40 requests over 1 day " in capsys.readouterr().out


def test_costs_measure_the_traffic_of_a_task(
    traffic: None, freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "costs.yaml").write_text(
        "currency: USD\noptions:\n  incumbent: {prices: [{form: tokens, input: 10, output: 0}]}\n"
    )
    assert freehold("tasks", "--json") == 0
    names = {each["by"]: each["task"] for each in json.loads(capsys.readouterr().out)}
    assert freehold("decision", "cost", "--of", names["template"], "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert {line["item"]: line["amount"]["value"] for line in found["lines"]} == {"tokens": "0.6", "retries": "0.6"}
    assert freehold("decision", "cost", "--of", "moon") == 2
    assert f"it holds {names['system prompt']}, {names['template']}" in capsys.readouterr().err


@pytest.mark.parametrize("machine", ["-1", "x", "0.2-0.1", "1-2-3", "nan"])
def test_a_wrong_machine_price_is_a_sentence(
    machine: str, traffic: None, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("tasks", f"--machine={machine}") == 2
    assert "write what an hour costs" in capsys.readouterr().err


def test_no_traffic_yet_makes_no_workspace(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("tasks") == 2
    assert "no traffic was captured yet" in capsys.readouterr().err
    assert not (tmp_path / ".freehold").exists()
