"""The plain classifier: n-grams and logistic regression. An honest tool says when no language model is needed.

It is tuned by cross-validation on training examples only, kept without pickle, and can be deployed: loading and
answering need numpy and safetensors, not scikit-learn.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from freehold.errors import DataError, ModelFileError
from freehold.evaluation.grams import Grams
from freehold.records import Record, canonical, digest
from freehold.store.workspace import read_record, write_atomically, write_record

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

CLASSIFIER_FILE = "classifier.json"
WEIGHTS_FILE = "classifier.safetensors"
STRENGTHS = (1.0, 10.0, 100.0)
_FOLDS = 3
_TUNE_ON_AT_MOST = 2000


class ClassifierManifest(Record, frozen=True, kw_only=True):
    """What a classifier is: written last, after its weights."""

    digest: str
    labels: tuple[str, ...]
    vocabulary: tuple[str, ...]
    idf: tuple[float, ...]
    strength: float
    seed: int
    examples: int
    weights_sha256: str


class Classifier:
    """Answers a text with a label and its probability."""

    def __init__(self, manifest: ClassifierManifest, weights: bytes) -> None:
        from safetensors.numpy import load

        self.manifest = manifest
        self._bytes = weights
        tensors = load(weights)
        self._weights: NDArray[float32] = tensors["weights"]
        self._bias: NDArray[float32] = tensors["bias"]
        self._grams = Grams(manifest.vocabulary, manifest.idf)

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def parameters(self) -> int:
        return int(self._weights.size + self._bias.size)

    @classmethod
    def train(cls, examples: Sequence[str], labels: Sequence[str], seed: int = 0) -> "Classifier":
        """Fit texts to labels; the regularisation comes from cross-validation over `STRENGTHS`.

        Raises `DataError` where there are fewer than two labels to tell apart.
        """
        names = sorted(set(labels))
        if len(names) < 2:
            raise DataError(f"the training examples hold {len(names)} label(s); a classifier needs at least two")
        strength = _strength(examples, labels, seed)
        grams = Grams.of(examples)
        weights, bias = _fit(grams.matrix(examples), [names.index(label) for label in labels], strength, seed)
        return cls._made(names, grams, (weights, bias), strength, seed, len(examples))

    def answer(self, text: str) -> tuple[str, float]:
        """The likeliest label and its probability in 0..1; an unseen text gets the commonest label's share."""
        import numpy as np

        found = self._grams.weights(text)
        logits = self._bias.astype(float)
        if found:
            logits = logits + np.fromiter(found.values(), dtype=float) @ self._weights[list(found)]
        chances = np.exp(logits - logits.max())
        best = int(chances.argmax())
        return self.manifest.labels[best], float(chances[best] / chances.sum())

    def save(self, folder: Path) -> None:
        """Keep it in a folder: the weights first, the manifest last."""
        write_atomically(folder / WEIGHTS_FILE, self._bytes)
        write_record(folder / CLASSIFIER_FILE, self.manifest)

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Read one back; raises `ModelFileError` where a file is not the one that was kept."""
        manifest = read_record(folder / CLASSIFIER_FILE, ClassifierManifest)
        path = folder / WEIGHTS_FILE
        weights = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256 or _digest(manifest) != manifest.digest:
            raise ModelFileError(f"{folder}: the classifier is truncated or altered; `freehold run` trains it again")
        return cls(manifest, weights)

    @classmethod
    def _made(
        cls,
        names: Sequence[str],
        grams: Grams,
        fitted: "tuple[NDArray[float32], NDArray[float32]]",
        strength: float,
        seed: int,
        examples: int,
    ) -> "Classifier":
        from safetensors.numpy import save

        weights = save({"weights": fitted[0], "bias": fitted[1]})
        manifest = ClassifierManifest(
            digest="",
            labels=tuple(names),
            vocabulary=grams.vocabulary,
            idf=grams.idf,
            strength=strength,
            seed=seed,
            examples=examples,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
        )
        return cls(replace(manifest, digest=_digest(manifest)), weights)


def _digest(manifest: ClassifierManifest) -> str:
    return digest(replace(manifest, digest=""))


def _strength(texts: Sequence[str], labels: Sequence[str], seed: int) -> float:
    """The strength whose cross-validated accuracy is best; the weakest of equals."""
    order = _shuffled(texts, labels, seed)[:_TUNE_ON_AT_MOST]
    right = dict.fromkeys(STRENGTHS, 0)
    for fold in range(_FOLDS):
        train = [at for place, at in enumerate(order) if place % _FOLDS != fold]
        test = [at for place, at in enumerate(order) if place % _FOLDS == fold]
        names = sorted({labels[at] for at in train})
        if len(names) < 2 or not test:
            continue
        grams = Grams.of([texts[at] for at in train])
        known, asked = grams.matrix([texts[at] for at in train]), grams.matrix([texts[at] for at in test])
        for strength in STRENGTHS:
            weights, bias = _fit(known, [names.index(labels[at]) for at in train], strength, seed)
            chosen = (asked @ weights + bias).argmax(axis=1)
            right[strength] += sum(names[int(best)] == labels[at] for best, at in zip(chosen, test, strict=True))
    return max(STRENGTHS, key=lambda strength: (right[strength], -strength))


def _shuffled(texts: Sequence[str], labels: Sequence[str], seed: int) -> list[int]:
    """A draw in which every label comes round in turn, so that folds and subsets keep each label's share."""
    keyed = sorted((hashlib.sha256(canonical([seed, text])).digest(), at) for at, text in enumerate(texts))
    turn: dict[str, int] = {}
    placed = []
    for key, at in keyed:
        turn[labels[at]] = turn.get(labels[at], 0) + 1
        placed.append((turn[labels[at]], key, at))
    return [at for _, _, at in sorted(placed)]


def _fit(
    matrix: "csr_matrix", targets: Sequence[int], strength: float, seed: int
) -> "tuple[NDArray[float32], NDArray[float32]]":
    """Weights (features × labels) and biases of a multinomial logistic regression.

    By SAGA (Defazio, Bach and Lacoste-Julien 2014), which on sparse text is some twenty times as fast as L-BFGS here.
    """
    import warnings

    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few more steps do not change which label is likeliest
        model = LogisticRegression(C=strength, solver="saga", tol=1e-3, max_iter=100, random_state=seed).fit(
            matrix, targets
        )
    weights, bias = model.coef_.T, model.intercept_
    if weights.shape[1] == 1:  # two labels: scikit-learn keeps only the second one's odds
        weights, bias = np.hstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
    return np.ascontiguousarray(weights, dtype=np.float32), bias.astype(np.float32)
