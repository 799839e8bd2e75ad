"""What `freehold fit` says of serving, and why."""

from pathlib import Path

import pytest

from freehold.engines import environments
from freehold.engines.bench import Bench, Level
from freehold.engines.native import NATIVE, WHEEL
from freehold.engines.serving import serving_plan
from freehold.store.workspace import write_record


@pytest.mark.parametrize(("rate", "chosen"), [(18.8, "engine: the native server"), (9.0, "engine: xllamacpp's wheel")])
def test_the_engine_that_was_measured_faster_is_chosen(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float, chosen: str
) -> None:
    monkeypatch.setenv("FREEHOLD_ENGINES", str(tmp_path))
    environments.built_server().parent.mkdir()
    environments.built_server().write_text("")
    assert next(serving_plan(smollm2, 1, 512, tmp_path / "bench")).startswith("engine: xllamacpp's wheel; no native")
    for engine, each in ((WHEEL, 12.2), (NATIVE, rate)):
        level = Level(clients=16, requests=9, requests_per_second=each, tokens_per_second=each,
                      first_token_p50_ms=1.0, first_token_p95_ms=1.0, cached=0.5)  # fmt: skip
        kept = Bench(engine=engine, version="", weights="w", cores=2, levels=(level,))
        write_record(tmp_path / "bench" / f"{len(engine)}.json", kept)
    lines = list(serving_plan(smollm2, 16, 512, tmp_path / "bench"))
    assert lines[0].startswith(chosen)
    assert f"{rate / 12.2:.2f} times" in lines[0]
    assert "merged copies would take 1,501 MB" in lines[2]


def test_slots_are_as_many_as_memory_holds(smollm2: Path, tmp_path: Path) -> None:
    lines = list(serving_plan(smollm2, 16, 10_000_000, tmp_path))
    assert "4 slots a child (of 32: half of the memory holds no more)" in lines[1]
