"""Guardrails before and after the model: what each finds, what is done about it, what is kept and what it costs."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgspec
import openai
import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace

from freehold.cli.main import run
from freehold.gateway.fake_upstream import _words
from freehold.store.deployments import Deployment, RemoteTarget, deploy, history
from freehold.store.guardrails import Guardrail
from freehold.store.keys import Allowance, create

STRANGER = """
import time


class NoRivals:
    def __init__(self, ground, names):
        self.names = names.split(",")

    def __call__(self, text):
        if "crash" in text:
            raise RuntimeError("the text was: " + text)
        while "hang" in text:
            pass
        return any(name in text for name in self.names)
"""


@pytest.fixture
def guarded(house: House, upstream: RunningUpstream) -> Iterator["Guarded"]:
    """A gateway whose `shop` stands for the fake upstream; a test deploys its guardrails."""
    with house.open():
        yield Guarded(house, upstream)


class Guarded:
    def __init__(self, house: House, upstream: RunningUpstream) -> None:
        self.house, self.upstream = house, upstream
        self.target = RemoteTarget(base_url=upstream.url, model="gpt-4o-mini")

    def deploy(self, *guardrails: Guardrail, name: str = "shop") -> None:
        """Deploy and wait until the running gateway follows."""
        deployment = Deployment(name=name, target=self.target, guardrails=guardrails)
        self.house.deploy(deployment)

    def ask(self, text: str, **more: object) -> httpx.Response:
        body = {"model": "shop", "messages": [{"role": "user", "content": text}], **more}
        return httpx.post(f"{self.house.url}/v1/chat/completions", json=body, timeout=30)

    def looks(self) -> list[dict[str, Any]]:
        """What the guardrails of the newest exchange came to."""
        found: list[dict[str, Any]] = msgspec.json.decode(self.house.kept()[0].guardrails or "[]")
        return found


def test_a_blocked_request_reaches_no_model_and_costs_nothing(guarded: Guarded) -> None:
    guarded.deploy(Guardrail(name="no-codes", when="before", check="pattern", settings={"pattern": r"\bX-\d{4}\b"}))
    answer = guarded.ask("what is X-1234?")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "content_filter"
    assert "no-codes" in answer.json()["error"]["message"]
    assert guarded.upstream.app.seen == 0
    assert guarded.ask("what is Y?").status_code == 200
    later, blocked = guarded.house.kept()[:2]
    assert (blocked.status, blocked.model, later.status) == (400, "shop", 200)
    assert [each.exchange for each in guarded.house.attempts()] == [later.id]
    (look,) = guarded.looks()
    assert look.pop("ms") > 0
    assert look == {"guardrail": "no-codes", "when": "before", "outcome": "pass", "why": None}


def test_the_real_clients_see_an_error_of_their_own_kind(guarded: Guarded) -> None:
    guarded.deploy(Guardrail(name="deny", when="before", check="deny", settings={"words": "bomb, poison"}))
    client = openai.OpenAI(base_url=f"{guarded.house.url}/v1", api_key="sk-x", max_retries=0)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="shop", messages=[{"role": "user", "content": "a Bomb?"}], stream=True)
    assert refused.value.code == "content_filter"
    body = {"model": "shop", "max_tokens": 9, "messages": [{"role": "user", "content": "poison"}]}
    said = httpx.post(f"{guarded.house.url}/v1/messages", json=body).json()
    assert said["type"] == "error" and said["error"]["type"] == "invalid_request_error"


def test_what_is_redacted_before_the_model_is_in_neither_the_request_nor_the_store(guarded: Guarded) -> None:
    rule = Guardrail(name="code", when="before", check="pattern", settings={"pattern": r"X-\d{4}"}, action="redact")
    guarded.deploy(rule)
    parts = [
        {"type": "text", "text": "one X-1234"},
        {"type": "text", "text": "two X-99"},
        {"type": "text", "text": "X-5678"},
    ]
    body = {"model": "shop", "messages": [{"role": "system", "content": "X-0000"}, {"role": "user", "content": parts}]}
    assert httpx.post(f"{guarded.house.url}/v1/chat/completions", json=body).status_code == 200
    stored = msgspec.json.decode(guarded.house.kept()[0].request or "")
    for said in (guarded.upstream.app.last["messages"], stored["messages"]):
        assert [each["text"] for each in said[1]["content"]] == ["one [code]", "two X-99", "[code]"]
        assert said[0]["content"] == "X-0000"  # the application's own words, unless `reads` is all


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_answer_is_an_error_and_costs_what_it_cost(guarded: Guarded, stream: bool) -> None:
    guarded.deploy(Guardrail(name="any", when="after", check="length", settings={"most": "3"}))
    answer = guarded.ask("hello", stream=stream)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "content_filter"
    kept = guarded.house.kept()[0]
    assert (kept.status, kept.finished) == (400, True)
    (attempt,) = guarded.house.attempts()
    assert attempt.outcome == "ok" and attempt.cost and not attempt.estimated


def test_a_redacted_stream_waits_and_its_clients_read_it(guarded: Guarded) -> None:
    guarded.upstream.turn(tokens=6)
    guarded.deploy()
    words = guarded.ask("hello").json()["choices"][0]["message"]["content"].split()
    cut = Guardrail(name="cut", when="after", check="deny", settings={"words": words[1]}, action="redact")
    guarded.deploy(cut)
    wanted = " ".join("[cut]" if each == words[1] else each for each in words)
    client = openai.OpenAI(base_url=f"{guarded.house.url}/v1", api_key="sk-x", max_retries=0)
    chat = {"model": "shop", "messages": [{"role": "user", "content": "hello"}]}
    pieces = list(client.chat.completions.create(**chat, stream=True, stream_options={"include_usage": True}))  # type: ignore[call-overload]
    assert "".join(each.choices[0].delta.content or "" for each in pieces if each.choices).strip() == wanted
    assert pieces[-1].usage and pieces[-2].choices[0].finish_reason == "stop"
    assert client.chat.completions.create(**chat).choices[0].message.content == wanted  # type: ignore[call-overload]
    with client.responses.stream(model="shop", input=chat["messages"]) as events:
        text = "".join(each.delta for each in events if each.type == "response.output_text.delta")
        assert "[cut]" in text and events.get_final_response().output_text == text
    assert all("[cut]" in (each.answer or "") for each in guarded.house.kept()[:3])


def test_of_an_answer_that_was_held_nothing_is_kept_when_its_client_hangs_up(guarded: Guarded) -> None:
    guarded.upstream.turn(tokens=60, pause_ms=50)
    guarded.deploy(Guardrail(name="cut", when="after", check="deny", settings={"words": "the"}, action="redact"))
    body = {"model": "shop", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{guarded.house.url}/v1/chat/completions", json=body, timeout=1.0)
    (exchange,) = guarded.house.soon_kept()
    assert (exchange.status, exchange.finished, exchange.answer) == (499, False, None)
    (attempt,) = guarded.house.attempts()
    assert (attempt.outcome, attempt.estimated) == ("hung_up", True)


def test_a_flag_lets_the_stream_go_on_and_stands_with_the_exchange(guarded: Guarded) -> None:
    guarded.upstream.turn(tokens=40, pause_ms=20)
    rule = Guardrail(
        name="long", when="after", check="length", settings={"most": "3"}, action="flag", on_failure="pass"
    )
    guarded.deploy(rule)
    begun = time.perf_counter()
    body = {"model": "shop", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    with httpx.stream("POST", f"{guarded.house.url}/v1/chat/completions", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        first = next(lines) and time.perf_counter() - begun
        *_, last = lines
        whole = time.perf_counter() - begun
    assert first < whole / 2 and last in ("data: [DONE]", "")
    (look,) = guarded.looks()
    assert (
        (look["guardrail"], look["outcome"]) == ("long", "flag")
        and look["why"].endswith("at most 3")
        and look["ms"] > 0
    )
    scraped = httpx.get(f"{guarded.house.url}/metrics").text
    assert 'freehold_guardrail_checks_total{model="shop",guardrail="long",outcome="flag"} 1' in scraped
    assert 'freehold_guardrail_seconds_total{model="shop",guardrail="long"}' in scraped


@pytest.mark.parametrize(
    ("check", "settings", "bad", "good"),
    [
        ("length", {"most": "3", "unit": "words"}, "one two three four", "one two three"),
        ("language", {"allowed": "English, German"}, "je ne sais pas quand il vient dans la maison", "when is it due"),
        ("schema", {"schema": '{"type": "object", "required": ["a"]}'}, '{"b": 1}', '{"a": 1}'),
        ("deny", {"words": "acme\nrival inc"}, "call Rival Inc now", "acmeology"),
        ("pattern", {"pattern": "secret", "ignore_case": "yes"}, "SECRET", "open"),
    ],
)
def test_each_built_in(guarded: Guarded, check: str, settings: dict[str, str], bad: str, good: str) -> None:
    guarded.deploy(Guardrail(name="it", when="before", check=check, settings=settings))
    assert (guarded.ask(bad).status_code, guarded.ask(good).status_code) == (400, 200)


def test_a_classifier_of_the_workspace(guarded: Guarded) -> None:
    from freehold.evaluation.classifier import Classifier

    rude, kind = [f"you are a fool {n}" for n in range(20)], [f"thank you so much {n}" for n in range(20)]
    classifier = Classifier.train([*rude, *kind], ["rude"] * 20 + ["kind"] * 20)
    classifier.save(guarded.house.workspace.root / "models" / "tone")
    settings = {"classifier": classifier.digest[:12], "labels": "rude", "least": "0.6"}
    guarded.deploy(Guardrail(name="tone", when="before", check="classifier", settings=settings))
    assert (guarded.ask("you fool, you are").status_code, guarded.ask("thank you").status_code) == (400, 200)


def test_another_model_is_asked_and_is_on_the_bill(guarded: Guarded) -> None:
    guarded.deploy(name="judge")
    settings = {"model": "judge", "hit": _first_word("you fool"), "pass": _first_word("hello")}
    assert settings["hit"] != settings["pass"]
    guarded.deploy(Guardrail(name="judged", when="before", check="model", settings=settings, timeout_ms=9000))
    key, secret = create(guarded.house.store, "app", Allowance(budget=10**12))
    time.sleep(1.5)
    client = openai.OpenAI(base_url=f"{guarded.house.url}/v1", api_key=secret, max_retries=0)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="shop", max_tokens=20, messages=[{"role": "user", "content": "you fool"}])
    assert client.chat.completions.create(model="shop", max_tokens=20, messages=[{"role": "user", "content": "hello"}])
    rows = guarded.house.attempts()
    assert [each.outcome for each in rows] == ["guardrail", "guardrail", "ok"]
    assert all(each.key == key.id and each.cost for each in rows)
    other = next(each for each in ("a", "b", "c", "d") if _first_word(each) not in settings.values())
    assert guarded.ask(other).status_code == 503  # it says neither the one nor the other


def _first_word(text: str) -> str:
    """What the fake upstream begins its answer to this text with."""
    asked = {"messages": [{"role": "user", "content": text}]}
    word: str = _words(asked, 1)[0]
    return word


def test_a_strangers_check_that_hangs_or_breaks_costs_its_request_only(guarded: Guarded, tmp_path: Path) -> None:
    file = tmp_path / "rivals.py"
    file.write_text(STRANGER)
    rule = Guardrail(
        name="rivals", when="before", check=f"python:{file}:NoRivals", settings={"names": "acme,rival"}, timeout_ms=700
    )
    guarded.deploy(rule)
    assert (guarded.ask("about acme").status_code, guarded.ask("hello").status_code) == (400, 200)
    broken = guarded.ask("crash: canary-8841")
    assert broken.status_code == 503 and broken.json()["error"]["code"] == "guardrail_failed"
    assert guarded.looks()[0]["outcome"] == "failed" and "canary-8841" not in (guarded.house.kept()[0].guardrails or "")
    begun = time.perf_counter()
    assert guarded.ask("hang").status_code == 503
    assert time.perf_counter() - begun < 10
    assert guarded.ask("hello").status_code == 200
    guarded.deploy(replace(rule, on_failure="pass"))
    assert guarded.ask("hang").status_code == 200
    assert guarded.looks()[0]["outcome"] == "failed"


def test_what_goes_to_the_upstream_can_be_guarded(house: House, upstream: RunningUpstream) -> None:
    rule = Guardrail(name="deny", when="before", check="deny", settings={"words": "bomb"})
    target = RemoteTarget(base_url=upstream.url, model="gpt-4o-mini")
    deploy(house.store, Deployment(name="rules", target=target, guardrails=(rule,)), "test")
    house.settings = replace(house.settings, upstream=upstream.url, upstream_guardrails="rules")
    with house.open():
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a bomb"}]}
        assert httpx.post(f"{house.url}/v1/chat/completions", json=body).status_code == 400
        body["messages"] = [{"role": "user", "content": "a cake"}]
        assert httpx.post(f"{house.url}/v1/chat/completions", json=body).status_code == 200


def test_the_command_sets_shows_and_takes_away(
    house: House, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(house.workspace.root))

    def cli(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        code = run(["deploy", *arguments])
        out, errors = capfd.readouterr()
        return code, out + errors

    (tmp_path / "deny.txt").write_text("bomb\npoison\n")
    (tmp_path / "rivals.py").write_text(STRANGER)
    monkeypatch.chdir(tmp_path)
    assert cli("guard", "triage", "deny", "--before", "deny", "--set", "words=@deny.txt", "--reason", "legal")[0] == 0
    assert cli("guard", "triage", "rivals", "--after", "python:rivals.py:NoRivals", "--set", "names=acme")[0] == 0
    assert cli("guard", "triage", "deny", "--before", "deny", "--set", "words=@deny.txt", "--action", "flag")[0] == 0
    first, second = msgspec.json.decode(cli("guard", "triage", "--json")[1], type=list[Guardrail])
    assert (first.name, first.action, first.settings) == ("deny", "flag", {"words": "bomb\npoison\n"})
    assert second.check == f"python:{tmp_path}/rivals.py:NoRivals"
    assert history(house.store, "triage")[2].reason == "legal"
    for wrong, said in (
        (("--before", "patern", "--set", "pattern=x"), "did you mean pattern"),
        (("--before", "pattern", "--set", "patern=x"), "pattern, ignore_case"),
        (("--before", "pattern", "--set", "pattern=("), "regular expression"),
        (("--before", "language", "--set", "allowed=Germn"), "German"),
        (("--before", "model", "--set", "model=plaim"), "did you mean plain"),
        (("--before", "model", "--set", "model=triage"), "its own guardrail"),
        (("--before", "length", "--after", "length"), "one of"),
        (("--before", "deny", "--set", "words=@gone.txt"), "no file"),
        (("--before", "python:rivals.py:Nobody"), "Nobody"),
    ):
        code, out = cli("guard", "triage", "it", *wrong)
        assert (code, said in out) == (2, True), out
    assert cli("guard", "triage", "deny", "--off")[0] == 0 and cli("guard", "triage", "deny", "--off")[0] == 2
    assert cli("cache", "triage", "--on", "--max-mib", "2", "--shared")[0] == 0
    assert "2 MiB" in cli("cache", "triage")[1]
    assert cli("cache", "triage", "--off")[0] == 0 and "nothing from memory" in cli("cache", "triage")[1]
