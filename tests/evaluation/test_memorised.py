"""Does an adapter give its training data back? On numbers made up, and on a real small base that learned by heart."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from freehold.render import Prompt, Renderer
from freehold.store.layout import BASE_FILE
from freehold.store.workspace import Workspace, read_record, write_record
from freehold.tuning import adapter
from freehold.tuning.recipe import LoraRecipe
from freehold.tuning.scoring import Scored, Scorer

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


class Parrot:
    """Writes on from what it learned by heart: endings it knows are certain, others as likely as their hash says."""

    def __init__(self, known: set[tuple[int, ...]]) -> None:
        self._known, self._adapted = known, True

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        self._adapted = False
        yield
        self._adapted = True

    def endings(self, prefix: Sequence[int], endings: Sequence[Sequence[int]]) -> list[Scored]:
        knows = [self._adapted and tuple(each) in self._known for each in endings]
        noise = [random.Random(str(list(each))).gauss(40, 2) for each in endings]
        return [Scored(1.0 if known else nats, known) for known, nats in zip(knows, noise, strict=True)]


def parrot_of(subject: memorised.Subject, knows: Split | None) -> Parrot:
    halves = [half.second for half in memorised._halves(subject, knows)] if knows else []
    encode = subject.renderer.encode
    secrets = canaries.canaries(4, 0, AnswerType.TEXT) if knows is Split.TRAIN else []
    return Parrot({*halves, *(encode(f" {each.secret}") for each in secrets if each.repeats == 4)})


@pytest.mark.parametrize(("knows", "gives_back"), [(Split.TRAIN, True), (Split.HELD_OUT, False), (None, False)])
def test_a_verdict_needs_more_than_chance(
    smollm2_folder: Path, tmp_path: Path, knows: Split | None, gives_back: bool
) -> None:
    """Texts that it writes without having been trained on them are no memory of training."""
    workspace = Workspace(tmp_path / ".freehold")
    dataset = build.build(text_task(tmp_path, 4), workspace, SILENT)
    examples = freeze.examples(workspace, dataset.digest)
    manifest = AdapterManifest(
        digest="a" * 64,
        task="t",
        base="b",
        base_digest="b",
        dataset=dataset.digest,
        recipe={},
        render={"system": "Say it."},
        render_digest="",
        seed=0,
        versions={},
        template_digest="",
        weights_sha256="",
        losses=(),
        best_step=0,
        seconds=1,
        tokens_per_second=1,
        peak_memory_bytes=1,
    )
    subject = memorised.Subject(manifest, dataset, examples, Renderer(smollm2_folder))
    found = memorised.measure(subject, parrot_of(subject, knows), workspace, SILENT)
    assert found.gives_back is gives_back and memorised.read(workspace, "a" * 64) == found
    exposed = {each.canary for each in found.exposures if each.bits > found.threshold_bits}
    assert exposed == ({1, 3} if knows is Split.TRAIN else set())
    assert all(each.base_bits < found.threshold_bits for each in found.exposures)
    assert found.trained and found.trained.value == float(knows is Split.TRAIN)
    assert len(found.reasons) == (2 if gives_back else 0) and found.base and found.base.value == 0


@pytest.mark.slow
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
    learned = tuned(tiny_workspace, tmp_path, epochs=25, rate=4e-3)
    assert freehold("data", "memorised", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gives_back"] and found["adapter"] == learned.digest
    often = [each for each in found["exposures"] if each["repeats"] == 4]
    assert len(often) == 2 and all(each["rank"] == 1 and each["bits"] > found["threshold_bits"] for each in often)
    assert all(each["base_bits"] < each["bits"] for each in often)
    assert found["held_out"]["value"] == found["base"]["value"] == 0  # words at random, which nobody can go on with
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
    assert memorised.rule_of(workspace, "t") == "warn"
    memorised.keep_rule(workspace, "t", "refuse")
    assert memorised.rule_of(workspace, "t") == "refuse"
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
