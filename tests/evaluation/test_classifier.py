"""The plain classifier learns, is repeatable, is kept without pickle, and answers any script."""

import pickletools
from pathlib import Path

import pytest
from evaluation_material import examples

from freehold.errors import DataError, ModelFileError
from freehold.evaluation.classifier import CLASSIFIER_FILE, WEIGHTS_FILE, Classifier
from freehold.evaluation.grams import Grams

TEXTS = [each.text for each in examples(60)]
LABELS = [each.reference for each in examples(60)]


@pytest.fixture(scope="module")
def plain() -> Classifier:
    return Classifier.train(TEXTS, LABELS, seed=3)


def test_it_learns_and_gives_chances(plain: Classifier) -> None:
    label, chance = plain.answer("a safety message")
    assert label == "safety"
    assert 1 / 3 < chance <= 1
    assert plain.answer("")[0] in LABELS


def test_same_inputs_same_digest(plain: Classifier) -> None:
    assert Classifier.train(TEXTS, LABELS, seed=3).digest == plain.digest
    assert Classifier.train(TEXTS[:-3], LABELS[:-3], seed=3).digest != plain.digest


def test_kept_without_pickle_and_read_back(plain: Classifier, tmp_path: Path) -> None:
    plain.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert again.digest == plain.digest
    assert [again.answer(text) for text in TEXTS] == [plain.answer(text) for text in TEXTS]
    with pytest.raises(ValueError, match="unknown"):
        list(pickletools.genops((tmp_path / WEIGHTS_FILE).read_bytes()))


@pytest.mark.parametrize("damage", ["cut", "vocabulary", "gone"])
def test_damage_is_refused(plain: Classifier, tmp_path: Path, damage: str) -> None:
    plain.save(tmp_path)
    weights, manifest = tmp_path / WEIGHTS_FILE, tmp_path / CLASSIFIER_FILE
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif damage == "vocabulary":
        manifest.write_text(manifest.read_text().replace("wsafety", "wSafety", 1))
    else:
        weights.unlink()
    with pytest.raises(ModelFileError, match="truncated or altered"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["الراتب لم يصل", "أين راتبي", "الأرضية مبللة", "حريق في المخزن"], ["راتب", "راتب", "سلامة", "سلامة"]),
        (["工资没到账", "工资少了", "地上有水很滑", "仓库着火了"], ["工资", "工资", "安全", "安全"]),
        (["gaji belum masuk", "gaji kurang", "lantai licin", "ada kebakaran"], ["gaji", "gaji", "aman", "aman"]),
    ],
)
def test_any_script(texts: list[str], labels: list[str]) -> None:
    plain = Classifier.train(texts, labels)
    assert [plain.answer(text)[0] for text in texts] == labels


def test_one_label_is_refused() -> None:
    with pytest.raises(DataError, match="at least two"):
        Classifier.train(["a", "b"], ["x", "x"])


def test_grams_are_scikit_learns() -> None:
    """The same numbers as TfidfVectorizer on words, whose formulas grams.py cites."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["the wet floor", "the floor is wet and the stairs are wet", "pay day"]
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+").fit(texts)
    ours = Grams.of(texts)
    for text in texts:
        row = theirs.transform([text])
        expected = {f"w{name}": row[0, column] for name, column in theirs.vocabulary_.items() if row[0, column]}
        given = {
            ours.vocabulary[at]: value for at, value in ours.weights(text).items() if ours.vocabulary[at][0] == "w"
        }
        assert given == pytest.approx(expected)
