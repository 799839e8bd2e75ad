"""What `freehold fit` says of serving, and why."""

import os
from pathlib import Path

import pytest

from freehold.engines import environments
from freehold.engines.bench import Bench, Level
from freehold.engines.copies import Copies
from freehold.engines.native import NATIVE, WHEEL
from freehold.engines.serving import serving_plan
from freehold.engines.ways import COPIES, ONE, TOGETHER, Rate, Ways, served
from freehold.store.layout import PASSED_FILE, WEIGHTS_FILE, Passed
from freehold.store.workspace import write_record


@pytest.mark.parametrize(("rate", "chosen"), [(18.8, "engine: the native server"), (9.0, "engine: xllamacpp's wheel")])
def test_the_engine_that_was_measured_faster_is_chosen(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float, chosen: str
) -> None:
    monkeypatch.setenv("FREEHOLD_ENGINES", str(tmp_path))
    environments.built_server().parent.mkdir()
    environments.built_server().write_text("")
    first = next(serving_plan(smollm2.parent, 1, 512, tmp_path / "bench"))
    assert first.startswith("engine: xllamacpp's wheel, weights.gguf; no native server was measured")
    for engine, each in ((WHEEL, 12.2), (NATIVE, rate)):
        level = Level(clients=16, requests=9, requests_per_second=each, tokens_per_second=each,
                      first_token_p50_ms=1.0, first_token_p95_ms=1.0, cached=0.5)  # fmt: skip
        kept = Bench(engine=engine, version="", weights="w", cores=2, levels=(level,))
        write_record(tmp_path / "bench" / f"{len(engine)}.json", kept)
    lines = list(serving_plan(smollm2.parent, 16, 512, tmp_path / "bench"))
    assert lines[0].startswith(chosen)
    assert f"{rate / 12.2:.2f} times" in lines[0]
    assert "merged copies would take 1,501 MB" in lines[2]


def test_slots_are_as_many_as_memory_holds(smollm2: Path, tmp_path: Path) -> None:
    lines = list(serving_plan(smollm2.parent, 16, 10_000_000, tmp_path))
    assert "4 slots a child (of 64: half of the memory holds no more)" in lines[1]


def measured(smollm2: Path, benches: Path, copies: float, cores: int | None = None) -> None:
    def rate(engine: str, encoding: str, way: str, each: float, adapters: int = 1) -> Rate:
        return Rate(engine=engine, encoding=encoding, way=way, adapters=adapters, requests_per_second=each, requests=9)

    rates = (
        rate(WHEEL, "BF16", ONE, 9.0),
        rate(WHEEL, "Q8_0", ONE, 14.0),
        rate(NATIVE, "BF16", ONE, 38.0),
        rate(NATIVE, "Q8_0", ONE, 23.0),
        rate(NATIVE, "BF16", TOGETHER, 36.0, 16),
        rate(NATIVE, "BF16", COPIES, copies, 16),
    )
    found = Ways(weights="w", cores=cores or os.cpu_count() or 1, clients=64, rates=rates)
    write_record(benches / "ways" / f"{smollm2.parent.name}.json", found)


@pytest.fixture
def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FREEHOLD_ENGINES", str(tmp_path))
    environments.built_server().parent.mkdir()
    environments.built_server().write_text("")
    return environments.built_server()


def test_the_quickest_engine_and_encoding_serve_and_fit_says_why(smollm2: Path, tmp_path: Path, native: Path) -> None:
    folder, benches = tmp_path / smollm2.parent.name, tmp_path / "bench"
    folder.mkdir()
    for name in (WEIGHTS_FILE, "weights.bf16.gguf", "weights.q8_0.gguf"):
        (folder / name).symlink_to(smollm2)
    assert served(folder, benches).weights.name == "weights.bf16.gguf", "nothing is compared, and nothing measured"
    write_record(folder / PASSED_FILE, Passed(encodings=("Q8_0", "BF16"), reason="compared"))
    assert served(folder, benches).weights.name == "weights.q8_0.gguf", "nothing is measured"
    measured(smollm2, benches, copies=37.0)
    found = served(folder, benches)
    assert (found.weights.name, found.program, found.merges) == ("weights.bf16.gguf", str(native), False)
    lines = list(serving_plan(folder, 16, 512, benches))
    assert (
        "weights as BF16: the quickest measured here of llamacpp (native) BF16 38.0, llamacpp (native) Q8" in lines[0]
    )
    assert lines[2].startswith("adapters: beside the base, requests grouped by adapter; copies are not worth 1,501 MB")
    assert "37.0 requests/s as merged copies, 36.0 beside the base, measured with 16" in lines[2]
    native.unlink()
    assert served(folder, benches).weights.name == "weights.q8_0.gguf", "the engine that was measured is gone"


def test_copies_that_were_measured_quicker_are_served(smollm2: Path, tmp_path: Path, native: Path) -> None:
    benches = tmp_path / "bench"
    measured(smollm2, benches, copies=45.0)
    found = served(smollm2.parent, benches)
    assert found.copies(smollm2.parent) == Copies(smollm2, "BF16")
    assert list(serving_plan(smollm2.parent, 16, 512, benches))[2].startswith("adapters: merged into copies as far as")
    measured(smollm2, benches, copies=45.0, cores=999)
    assert served(smollm2.parent, benches).copies(smollm2.parent) is None, "of another machine"


def test_an_encoding_that_adapters_did_not_pass_does_not_serve_however_quick(
    smollm2: Path, tmp_path: Path, native: Path
) -> None:
    folder, benches = tmp_path / smollm2.parent.name, tmp_path / "bench"
    folder.mkdir()
    for name in (WEIGHTS_FILE, "weights.bf16.gguf", "weights.q8_0.gguf"):
        (folder / name).symlink_to(smollm2)
    measured(smollm2, benches, copies=37.0)
    write_record(folder / PASSED_FILE, Passed(encodings=("Q8_0",), reason="compared"))
    found = served(folder, benches)
    assert (found.weights.name, found.program, found.encoding) == ("weights.q8_0.gguf", str(native), "Q8_0")
