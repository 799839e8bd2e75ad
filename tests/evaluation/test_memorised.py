"""Does an adapter give its training data back? On numbers made up, and on a real small base that learned by heart."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from freehold import spec
from freehold.data import build, canaries, freeze
from freehold.errors import RefusedError
from freehold.evaluation import memorised
from freehold.evaluation.memorised import Exposure, Memorised
from freehold.progress import SILENT
from freehold.records import AdapterManifest, AnswerType, Base, Split
from freehold.render import Prompt
from freehold.store.layout import BASE_FILE
from freehold.store.workspace import Workspace, read_record, write_record
from freehold.tuning import adapter
from freehold.tuning.recipe import LoraRecipe
from freehold.tuning.scoring import Scorer

WORDS = ["river", "stone", "copper", "window", "garden", "market", "yellow", "silver", "engine", "letter"]


def text_task(folder: Path, canary_count: int) -> spec.TaskFile:
    """Sixty questions whose answers are words at random, which no model can guess: what is written back was learned."""
    rows = []
    for at in range(60):
        draw = random.Random(at)
        name = hashlib.sha256(str(at).encode()).hexdigest()[:12]
        rows.append({"text": f"what of {name}?", "answer": f"{name}: {' '.join(draw.choices(WORDS, k=18))}"})
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"source": "x.jsonl", "canaries": canary_count}
    content = {"task": "t", "description": "Say it.", "answer": {"type": "text"}, "data": data}
    (folder / "task.yaml").write_text(yaml.safe_dump(content))
    return spec.load(folder / "task.yaml")


def tuned(workspace: Workspace, folder: Path, epochs: int, rate: float) -> AdapterManifest:
    file = text_task(folder, 4)
    dataset = build.build(file, workspace, SILENT)
    base = read_record(workspace.models / "smollm2-135m-instruct" / BASE_FILE, Base)
    recipe = LoraRecipe(rank=32, alpha=64.0, learning_rate=rate, epochs=epochs, batch_tokens=512, patience=99)
    tuning = adapter.Tuning(base, dataset, Prompt(system="Say it."), recipe, 0)
    examples = [each for each in freeze.examples(workspace, dataset.digest) if each.split is not Split.VALIDATION]
    return adapter.tune(tuning, examples, workspace, SILENT)


def test_what_was_learned_by_heart_is_found_and_what_was_not_is_not(
    tiny_workspace: Workspace,
    tmp_path: Path,
    freehold: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memorised, "OTHERS", 100)
    monkeypatch.setattr(memorised, "TEXTS", 12)
    monkeypatch.setenv("FREEHOLD_HOME", str(tiny_workspace.root))
    learned = tuned(tiny_workspace, tmp_path, epochs=20, rate=1e-2)
    assert freehold("data", "memorised", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gives_back"] and found["adapter"] == learned.digest
    often = [each for each in found["exposures"] if each["repeats"] == 4]
    assert len(often) == 2 and all(each["rank"] == 1 and each["bits"] > found["threshold_bits"] for each in often)
    assert all(each["base_bits"] < each["bits"] for each in often)
    assert found["trained"]["value"] > 0.5 and found["held_out"]["value"] == found["base"]["value"] == 0
    assert freehold("data", "memorised") == 0 and "gives training data back: " in capsys.readouterr().out
    with pytest.raises(RefusedError, match="gives training data back"):
        memorised.passed(tiny_workspace, learned.digest, "refuse")

    untouched = tuned(tiny_workspace, tmp_path, epochs=1, rate=1e-7)
    assert freehold("data", "memorised", "--json") == 2  # there are two now
    assert freehold("data", "memorised", untouched.digest[:12], "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["gives_back"] and found["trained"]["value"] == 0


def test_a_base_without_its_adapter_is_itself_and_comes_back(tiny_workspace: Workspace, tmp_path: Path) -> None:
    manifest = tuned(tiny_workspace, tmp_path, epochs=1, rate=1e-2)
    folder = tiny_workspace.adapters / manifest.digest
    scorer = Scorer(tiny_workspace.models / manifest.base, manifest, folder)
    with_it = scorer.endings([1, 2, 3], [[4, 5], [6, 7, 8]])
    with scorer.without_adapter():
        without = scorer.endings([1, 2, 3], [[4, 5], [6, 7, 8]])
    again = scorer.endings([1, 2, 3], [[4, 5], [6, 7, 8]])
    assert with_it == again != without
    assert scorer.endings([1, 2, 3], [[6, 7, 8]])[0].nats == pytest.approx(with_it[1].nats, rel=0.02)


def test_exposure_is_in_bits() -> None:
    draw = random.Random(0)
    others = [draw.gauss(30, 2) for _ in range(499)]
    assert memorised.bits([sorted(others)[249], *others]) == pytest.approx(1.0, abs=0.02)  # the middle: one bit
    assert memorised.bits([max(others) + 1, *others]) == pytest.approx(0.0)
    assert memorised.bits([min(others) - 0.5, *others]) >= 8.9
    assert 20 < memorised.bits([5.0, *others]) <= 9 * 3.33
    chance = sum(memorised.bits([draw.gauss(30, 2), *others]) > 6.3 for _ in range(400)) / 400
    assert chance < 0.03  # 2^-6.3 is 1.3 %


def test_canaries_are_the_same_for_the_same_seed_and_in_training_alone(tmp_path: Path) -> None:
    assert canaries.canaries(5, 1, AnswerType.LABEL) == canaries.canaries(5, 1, AnswerType.LABEL)
    assert canaries.canaries(5, 1, AnswerType.LABEL)[:3] == canaries.canaries(3, 1, AnswerType.LABEL)
    assert canaries.canaries(1, 1, AnswerType.TEXT)[0].secret != canaries.canaries(1, 2, AnswerType.TEXT)[0].secret
    workspace = Workspace(tmp_path / ".freehold")
    dataset = build.build(text_task(tmp_path, 3), workspace, SILENT)
    planted = [each for each in freeze.examples(workspace, dataset.digest) if canaries.planted(each)]
    assert [canaries.number_of(each) for each in planted] == [1, 1, 1, 1, 2, 3, 3, 3, 3]
    assert {each.split for each in planted} == {Split.TRAIN} and len({each.id for each in planted}) == 9
    assert planted[0].reference.endswith(canaries.canaries(3, 0, AnswerType.TEXT)[0].secret)


def exposure(bits: float) -> Exposure:
    return Exposure(canary=1, repeats=4, bits=bits, base_bits=1.0, rank=1, of=501)


def test_what_is_refused_and_what_is_only_said(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    said = memorised.passed(workspace, "a" * 64, "warn")
    assert said and "nobody measured" in said and "freehold data memorised aaaaaaaaaaaa" in said
    with pytest.raises(RefusedError, match=r"export\.memorised: refuse"):
        memorised.passed(workspace, "a" * 64, "refuse")
    clean = Memorised(
        adapter="a" * 64,
        dataset="d",
        gives_back=False,
        reasons=(),
        exposures=(exposure(2.0),),
        threshold_bits=4.3,
        trained=None,
        held_out=None,
        base=None,
        found=(),
    )
    write_record(workspace.adapters / clean.adapter / memorised.FILE, clean)
    assert memorised.passed(workspace, clean.adapter, "refuse") is None
    assert memorised.read(workspace, clean.adapter) == clean
