"""`freehold engines` and `freehold bench`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.engines.bench import measure
from freehold.engines.fake import Fake
from freehold.engines.registry import ENGINES, Kind

Freehold = Callable[..., int]


def test_engines_say_what_is_missing(
    freehold: Freehold, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "odd", Kind("no.such:Thing", "no-such-package", "pip install no-such-package", "odd"))
    assert freehold("engines", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["llamacpp"]["installed"]
    assert rows["odd"]["installed"] is None
    assert freehold("engines") == 0
    assert "no: pip install no-such-package" in capsys.readouterr().out


def test_a_bench_of_the_real_engine(freehold: Freehold, capsys: pytest.CaptureFixture[str], smollm2: Path) -> None:
    assert freehold("bench", smollm2, "--clients", "1,2", "--seconds", "0.2", "--json") == 0
    found, *_native = json.loads(capsys.readouterr().out)
    assert [level["clients"] for level in found["levels"]] == [1, 2]
    for level in found["levels"]:
        assert level["tokens_per_second"] > 0
        assert 0 < level["first_token_p50_ms"] <= level["first_token_p95_ms"]
    assert list(Path(".freehold/bench").glob("*.json"))


def test_every_request_of_a_bench_is_counted_once() -> None:
    fake = Fake(lambda prompt: "call the manager")
    fake.start()
    (level,) = measure(fake, [3], 0.05)
    assert level.requests >= 3
    assert level.tokens_per_second / level.requests_per_second == pytest.approx(len("call the manager") + 1)


@pytest.mark.parametrize("clients", ["", "0", "many", "1,9999"])
def test_wrong_numbers_of_clients_are_refused(
    freehold: Freehold, capsys: pytest.CaptureFixture[str], clients: str
) -> None:
    assert freehold("bench", "--clients", clients) == 2
    assert "such as 1,4,16" in capsys.readouterr().err


def test_an_unknown_base_is_refused(freehold: Freehold, capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("bench", "ghost") == 2
    assert "freehold pull ghost" in capsys.readouterr().err
