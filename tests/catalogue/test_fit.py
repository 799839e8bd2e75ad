"""Memory within 20 % of what was measured, speeds scaled from a calibration, and a plain no where nothing fits."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.catalogue import fit, model, shape
from freehold.catalogue.fit import MIB, Calibration, Machine, Pace, Setting
from freehold.catalogue.shape import Shape
from freehold.errors import ResourceError, UndeterminedError, UserError
from freehold.store.workspace import Workspace

SMOLLM = Shape(
    parameters=134_515_008, layers=30, width=576, feed_forward=1536, heads=9, kv_bytes=23_040, vocabulary=49_152,
    window=0, file_bytes=98_362_432, measured=True,
)  # fmt: skip
GEMMA = Shape(
    parameters=268_098_176, layers=18, width=640, feed_forward=2048, heads=4, kv_bytes=18_432, vocabulary=262_144,
    window=512, file_bytes=253_113_024, measured=True,
)  # fmt: skip

# Peak resident memory in MiB, measured on 2026-11-23 (xllamacpp 2026.10.11549; freehold's trainer, torch 2.13.0, bf16).
SERVED = [
    (SMOLLM, fit.AS_SHIPPED, Setting(slots=8, context=1024), 351),
    (SMOLLM, fit.AS_SHIPPED, Setting(slots=1, context=1024), 186),
    (SMOLLM, fit.AS_SHIPPED, Setting(slots=4, context=4096), 526),
    (SMOLLM, "Q8_0", Setting(slots=8, context=1024), 395),
    (SMOLLM, "Q4_0", Setting(slots=8, context=1024), 401),
    (GEMMA, fit.AS_SHIPPED, Setting(slots=1, context=1024), 396),
    (GEMMA, fit.AS_SHIPPED, Setting(slots=8, context=1024), 674),
]
TUNED = [
    (SMOLLM, Setting(batch_tokens=768, shared_tokens=0, example_tokens=31, answer_tokens=4), 1902),
    (SMOLLM, Setting(batch_tokens=3072, shared_tokens=150, example_tokens=31, answer_tokens=4), 6503),
    (GEMMA, Setting(batch_tokens=768, shared_tokens=0, example_tokens=31, answer_tokens=4), 3199),
]
PACES = tuple(
    Pace(encoding=encoding, prompt_per_second=prompt, answer_per_second=answer, peak_bytes=1, weights_bytes=weights)
    for encoding, prompt, answer, weights in [
        (fit.AS_SHIPPED, 127, 30, 98_362_432), ("Q8_0", 253, 34, 145_000_000), ("Q4_0", 562, 45, 76_000_000)
    ]
)  # fmt: skip
MEASURED = Calibration(machine="m", base="b", parameters=134_515_008, measured_at="2026-11-23", paces=PACES)


@pytest.mark.parametrize(("found", "encoding", "setting", "measured"), SERVED)
def test_serving_memory_is_within_a_fifth_of_the_measured(
    found: Shape, encoding: str, setting: Setting, measured: int
) -> None:
    assert fit.serving_memory(found, encoding, setting) == pytest.approx(measured * MIB, rel=0.2)


@pytest.mark.parametrize(("found", "setting", "measured"), TUNED)
def test_tuning_memory_is_within_a_fifth_of_the_measured(found: Shape, setting: Setting, measured: int) -> None:
    assert fit.tuning_memory(found, setting) == pytest.approx(measured * MIB, rel=0.2)


def test_the_real_engine_takes_what_was_estimated(pulled: Callable[[str], Path]) -> None:
    from freehold.evaluation.calibration import _pace

    weights = pulled("smollm2-135m-instruct") / "weights.gguf"
    assert shape.read(weights) == SMOLLM
    pace = _pace(weights, fit.AS_SHIPPED)
    estimate = fit.serving_memory(SMOLLM, fit.AS_SHIPPED, Setting(slots=1, context=1024))
    assert estimate == pytest.approx(pace.peak_bytes, rel=0.2)
    assert pace.prompt_per_second > 0 and pace.answer_per_second > 0


@pytest.mark.slow
def test_a_calibration_is_kept_and_used(pulled: Callable[[str], Path], tmp_path: Path) -> None:
    from freehold.evaluation.calibration import calibrate
    from freehold.progress import SILENT
    from freehold.records import Base
    from freehold.store.layout import BASE_FILE
    from freehold.store.workspace import read_record

    folder = pulled("smollm2-135m-instruct")
    workspace = Workspace(folder.parent.parent)
    measured = calibrate(read_record(folder / BASE_FILE, Base), workspace, SILENT)
    assert fit.calibration(workspace) == measured
    assert {pace.encoding for pace in measured.paces} == set(fit.ENCODINGS)
    rows = fit.estimates(model.find("smollm2-135m-instruct"), fit.this_machine(workspace), Setting(), workspace)
    assert all(row.latency_ms for row in rows)
    assert not list(workspace.models.glob(".calibration*"))


def test_speed_scales_with_weights_and_parameters(tmp_path: Path) -> None:
    workspace, machine = Workspace(tmp_path), Machine(memory=10**12, calibration=MEASURED)
    small = {row.encoding: row for row in fit.estimates(model.find("smollm2-135m"), machine, Setting(), workspace)}
    large = {row.encoding: row for row in fit.estimates(model.find("llama-2-7b"), machine, Setting(), workspace)}
    assert small["Q8_0"].prompt_per_second == pytest.approx(253)
    ratio = model.find("llama-2-7b").parameters.value / 134_515_008  # type: ignore[union-attr]
    for field in ("prompt_per_second", "answer_per_second"):
        assert getattr(small["Q8_0"], field) / getattr(large["Q8_0"], field) == pytest.approx(ratio, rel=0.01)
    assert large["BF16"].latency_ms is None  # never measured in that encoding: unknown, not guessed


def test_the_cheapest_that_is_fast_enough(tmp_path: Path) -> None:
    machine = Machine(memory=10**12, calibration=MEASURED)
    rows = fit.estimates(model.find("smollm2-135m"), machine, Setting(), Workspace(tmp_path))
    assert fit.cheapest(rows, 10_000) == min(
        (row for row in rows if row.latency_ms is not None), key=lambda row: row.serving_bytes
    )
    best = fit.cheapest(rows, 1000)
    assert best is not None and best.encoding == "Q4_0"
    assert fit.cheapest(rows, 1) is None


@given(st.integers(1, 64), st.integers(64, 32768), st.sampled_from([SMOLLM, GEMMA]), st.sampled_from(list(fit.BITS)))
def test_more_slots_or_context_never_take_less(slots: int, context: int, found: Shape, encoding: str) -> None:
    least = fit.serving_memory(found, encoding, Setting(slots=slots, context=context))
    assert fit.serving_memory(found, encoding, Setting(slots=slots + 1, context=context)) >= least
    assert fit.serving_memory(found, encoding, Setting(slots=slots, context=context * 2)) >= least


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(
        ResourceError, match=r"gemma3-270m needs about .* GB .* smollm2-135m-instruct \(0\.\d GB\) would fit"
    ):
        fit.require("gemma3-270m", available=750_000_000)
    with pytest.raises(ResourceError, match="no model that can be pulled would fit"):
        fit.require("smollm2-135m-instruct", available=1_000_000)
    fit.require("smollm2-135m-instruct", available=10**10)


def test_an_unknown_size_stays_unknown(tmp_path: Path) -> None:
    with pytest.raises(UndeterminedError, match="number of parameters is not known"):
        fit.estimates(model.find("rwkv-5-world"), Machine(memory=1), Setting(), Workspace(tmp_path))


def test_the_command(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("fit", "llama-2-7b", "--memory", "24G", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["encoding"]: row for row in document["estimates"]}
    assert rows["Q4_0"]["serving_fits"] and not rows["BF16"]["tuning_fits"]
    assert document["calibration"] is None and rows["Q4_0"]["latency_ms"] is None
    described = ("--memory", "24G", "--bandwidth", "900GB/s", "--operations", "80T")
    assert freehold("fit", "llama-2-7b", *described, "--latency-ms", "200") == 0
    out = capsys.readouterr().out
    assert "upper bounds" in out and "cheapest within 200 ms" in out and "rough:" in out
    assert freehold("fit", "llama-2-7b", "--memory", "lots") == 2
    with pytest.raises(UserError):
        fit.described(0, 1, 1)
