"""The gateway on the terminal: names, JSON fields and exit codes are a contract."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_house import House, RunningUpstream

from freehold.cli.amounts import amount, exact
from freehold.cli.main import run
from freehold.errors import UserError
from freehold.gateway.prices import PICO
from freehold.store.deployments import current
from freehold.store.exchanges import Attempt, Entry, Exchange, record
from freehold.store.keys import every

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(house: House, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """`cli("usage", "--json")` in the house's workspace → exit code, output, errors."""
    monkeypatch.setenv("FREEHOLD_HOME", str(house.workspace.root))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, errors = capfd.readouterr()
        return code, out, errors

    return call


def keep(house: House, number: int, **fields: Any) -> None:  # noqa: ANN401
    """One recorded exchange with one attempt."""
    id = f"{number:032x}"
    exchange = Exchange(id=id, at=number, endpoint="chat.completions", model="gpt-4o-mini", answered_by="u")
    known: dict[str, Any] = {"input_tokens": 10, "output_tokens": 5, "cost": 4_500_000, "currency": "USD"}
    attempt = Attempt(exchange=id, attempt=1, at=number, model="gpt-4o-mini", target="u", **{**known, **fields})
    record(house.store, [Entry(exchange, (attempt,))])


def test_exchanges_are_listed_newest_first(house: House, cli: Cli) -> None:
    for number in range(3):
        keep(house, number)
    code, out, _ = cli("exchanges", "--json", "--limit", 2)
    assert code == 0
    assert [each["id"] for each in json.loads(out)] == [f"{2:032x}", f"{1:032x}"]
    assert json.loads(cli("exchanges", "--count", "--json")[1]) == {"count": 3}
    assert cli("exchanges", "--count", "--model", "other")[1] == "0\n"
    assert "gpt-4o-mini" in cli("exchanges")[1]


def test_usage_adds_up_and_keeps_currencies_and_the_unknown_apart(house: House, cli: Cli) -> None:
    keep(house, 1)
    keep(house, 2, tags='{"team":"billing"}')
    keep(house, 3, currency="EUR", cost=1)
    keep(house, 4, currency=None, cost=None, estimated=True)
    code, out, _ = cli("usage", "--by", "model", "--json")
    assert code == 0
    by_currency = {line["currency"]: line for line in json.loads(out)}
    assert by_currency["USD"]["cost"] == "0.000009"
    assert by_currency["USD"]["requests"] == 2
    assert by_currency["USD"]["input_tokens"] == 20
    assert by_currency["EUR"]["cost"] == "0.000000000001"
    assert (by_currency[None]["cost"], by_currency[None]["unpriced"], by_currency[None]["estimated"]) == (None, 1, 1)
    for field in ("key", "model", "requests", "input_tokens", "output_tokens", "cost", "currency"):
        assert field in by_currency["USD"]
    tagged = json.loads(cli("usage", "--by", "tag,day", "--json")[1])
    assert {(line["tag"], line["day"]) for line in tagged} >= {("team=billing", "1970-01-01")}
    header, *rows = cli("usage", "--csv")[1].splitlines()
    assert header.startswith("key,model,requests") and len(rows) == 3
    assert "unknown" in cli("usage")[1]


def test_usage_by_something_else_is_refused(cli: Cli) -> None:
    code, _, errors = cli("usage", "--by", "key,colour")
    assert (code, "'colour'" in errors) == (2, True)


def test_a_keys_life(house: House, cli: Cli) -> None:
    code, out, _ = cli("keys", "create", "app", "--budget", "5 EUR", "--models", "a, b", "--requests", 60, "--json")
    made = json.loads(out)
    assert code == 0 and made["key"].startswith("fh_")
    assert made["key"] not in str(every(house.store))
    (listed,) = json.loads(cli("keys", "list", "--json")[1])
    assert listed["allowance"]["budget"] == 5 * PICO
    assert listed["allowance"]["models"] == ["a", "b"]
    assert "5.00 EUR a month" in cli("keys", "list")[1]
    assert cli("keys", "create", "app")[0] == 2
    assert cli("keys", "revoke", "ap")[0] == 2
    assert cli("keys", "revoke", "app")[0] == 0
    assert "revoked" in cli("keys", "list")[1]


@pytest.mark.parametrize("text", ["", "five", "5 DOLLARS", "-1 USD", "NaN USD", "5 12"])
def test_an_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="50 USD"):
        amount(text, "--budget")


def test_amounts_are_exact() -> None:
    assert exact(1) == "0.000000000001"
    assert exact(120 * PICO) == "120"


def test_deployments_are_changed_on_the_terminal(house: House, cli: Cli) -> None:
    assert cli("deploy", "remote", "old", "http://127.0.0.1:1/v1", "gpt-4o-mini", "--api-key", "${KEY}")[0] == 0
    assert cli("deploy", "remote", "bad", "http://127.0.0.1:1/v1", "m", "--api-key", "sk-literal")[0] == 2
    for address in (
        "not an address",
        "api.openai.com/v1",
        "ftp://x/v1",
        "http://",
        "http://x:port/v1",
        "http://[::1/v1",
    ):
        assert cli("deploy", "remote", "bad", address, "m")[0] == 2
        assert cli("serve", "--port", "1", "--upstream", address)[0] == 2
    assert cli("serve", "--port", "1", "--upstream-key", "sk-literal")[0] == 2
    for name in ("", "two\nlines", "x" * 257):
        assert cli("deploy", "remote", name, "http://127.0.0.1:1/v1", "m")[0] == 2
    assert cli("deploy", "set", "old", "--to", "triage", "--canary", "10%")[0] == 0
    assert cli("deploy", "set", "old", "--to", "plain", "--shadow", "0.5", "--fallback", "triage,plain")[0] == 0
    deployment = current(house.store, "old")
    assert deployment.shares[0].share == 0.1
    assert deployment.shadow and deployment.shadow.share == 0.5
    assert len(deployment.fallbacks) == 2
    assert "10% base tiny" in cli("deploy", "list")[1]
    assert {each["name"] for each in json.loads(cli("deploy", "list", "--json")[1])} == {"old", "plain", "triage"}
    assert cli("deploy", "set", "old", "--weights", "triage=30%, plain=20%")[0] == 0
    assert [each.share for each in current(house.store, "old").shares] == [0.3, 0.2]
    assert cli("deploy", "set", "old", "--canary", "0%")[0] == 0
    assert current(house.store, "old").shares == ()
    for wrong in (
        ["--canary", "120%"],
        ["--canary", "some"],
        ["--canary", "5%"],
        [],
        ["--to", "nope", "--canary", "1%"],
        ["--weights", "triage=60%,plain=50%"],
        ["--weights", "triage"],
        ["--weights", "nope=10%"],
        ["--weights", "triage=10%", "--canary", "5%", "--to", "plain"],
    ):
        assert cli("deploy", "set", "old", *wrong)[0] == 2


def test_ask_goes_through_the_gateway_that_runs(gateway: House, cli: Cli) -> None:
    gateway.engines[0].words = ("saf", "ety")
    code, out, _ = cli("ask", "triage", "the freezer alarm is going again", "--json")
    assert (code, json.loads(out)["answer"]) == (0, "safety")
    assert [each.model for each in gateway.kept()] == ["triage"]
    assert cli("ask", "traige", "x")[0] == 2


def test_ask_needs_no_gateway_and_minds_none_that_was_killed(house: House, cli: Cli) -> None:
    (house.workspace.root / "gateway.json").write_text(json.dumps({"url": house.url}))
    code, _, errors = cli("ask", "triage", "x")
    assert (code, "weights.gguf" in errors) == (2, True), "it started the engine itself, which has no weights here"


def test_serve_refuses_what_it_cannot_do(house: House, cli: Cli) -> None:
    assert cli("serve", "--host", "0.0.0.0", "--port", 9)[0] == 3
    assert cli("serve", "--machine-hour", "cheap")[0] == 2
    (house.workspace.root / "prices.json").write_text('[{"model": 1}]')
    code, _, errors = cli("serve", "--port", house.settings.port)
    assert (code, "prices.json" in errors) == (2, True)


def batch_of(path: Path, models: list[str]) -> Path:
    lines = [
        {
            "custom_id": f"r{at}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": []},
        }
        for at, model in enumerate(models)
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def test_a_batch_is_answered_and_goes_on_where_it_was(
    house: House, cli: Cli, tmp_path: Path, upstream: RunningUpstream
) -> None:
    source, target = batch_of(tmp_path / "in.jsonl", ["gpt-4o-mini"] * 30), tmp_path / "out.jsonl"
    code, out, _ = cli("batch", source, target, "--upstream", upstream.url, "--json")
    assert (code, json.loads(out)) == (0, {"answered": 30, "before": 0, "failed": 0})
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    assert {each["custom_id"] for each in answers} == {f"r{at}" for at in range(30)}
    assert all(each["response"]["body"]["choices"][0]["message"]["content"] for each in answers)
    with target.open("r+") as file:  # as a crash leaves it: some lines, the last one torn
        file.truncate(sum(len(line) + 1 for line in target.read_text().splitlines()[:20]) + 17)
    asked = upstream.app.seen
    code, out, _ = cli("batch", source, target, "--upstream", upstream.url, "--json")
    assert (code, json.loads(out)) == (0, {"answered": 10, "before": 20, "failed": 0})
    assert upstream.app.seen == asked + 10
    assert len({json.loads(line)["custom_id"] for line in target.read_text().splitlines()}) == 30
    assert len(house.kept()) == 40


def test_what_fails_in_a_batch_stands_beside_and_is_asked_again(
    house: House, cli: Cli, tmp_path: Path, upstream: RunningUpstream
) -> None:
    source, target = batch_of(tmp_path / "in.jsonl", ["gpt-4o-mini", "gpt-4o-mini"]), tmp_path / "out.jsonl"
    upstream.turn(errors=1.0, status=403)
    code, _, errors = cli("batch", source, target, "--upstream", upstream.url)
    assert (code, "2 failed" in errors) == (1, True)
    assert (tmp_path / "out.jsonl.failed").read_text().count('"status_code":403') == 2
    upstream.turn()
    assert cli("batch", source, target, "--upstream", upstream.url)[0] == 0
    assert not (tmp_path / "out.jsonl.failed").exists()


def test_a_batch_through_a_running_gateway(gateway: House, cli: Cli, tmp_path: Path) -> None:
    source = batch_of(tmp_path / "in.jsonl", ["plain"])
    source.write_text(
        source.read_text().replace('"messages": []', '"messages": [{"role": "user", "content": "my pay"}]')
    )
    code, out, _ = cli("batch", source, tmp_path / "out.jsonl", "--gateway", f"{gateway.url}/v1", "--json")
    assert (code, json.loads(out)["answered"]) == (0, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json\n", ":1: is not a line"),
        ('{"custom_id":"a","url":"/v1/x"}\n', "body"),
        ('{"custom_id":"a","url":"http://x","body":{}}\n', "posts to /v1/"),
        ('{"custom_id":"a","url":"/v1/x","body":{}}\n{"custom_id":"a","url":"/v1/x","body":{}}\n', "stands twice"),
    ],
)
def test_a_batch_that_is_not_one_is_refused_before_anything_is_asked(
    cli: Cli, tmp_path: Path, text: str, words: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(text)
    code, _, errors = cli("batch", source, tmp_path / "out.jsonl", "--gateway", "http://127.0.0.1:1")
    assert (code, words in errors) == (2, True)
    assert not (tmp_path / "out.jsonl").exists()
    assert cli("batch", tmp_path / "absent", tmp_path / "out.jsonl")[0] == 2


def test_the_machine_time_of_an_owned_model_is_priced(house: House) -> None:
    from decimal import Decimal

    from msgspec.structs import replace

    house.settings = replace(house.settings, machine_hour=Decimal("3.60"), currency="EUR")
    with house.open():
        house.engines[0].pause_s = 0.1
        client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="k", max_retries=0)
        client.chat.completions.create(model="triage", messages=[{"role": "user", "content": "x"}])
    (row,) = house.attempts()
    assert row.currency == "EUR"
    assert row.cost is not None and 0.2 * 1e9 <= row.cost <= 0.6 * 1e9, "0.2 s at 0.001 EUR a second"
