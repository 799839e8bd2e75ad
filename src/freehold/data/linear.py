"""A quick linear model over words: good enough to doubt a label or to draw a learning curve, in seconds on one core.

TF-IDF over single words and pairs of neighbours, and a linear support vector machine, one against the rest. It never
becomes a candidate; the plain classifier that does is in `evaluation`.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from freehold.data.words import words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from scipy.sparse import csr_matrix

_COST = 0.5


def features(texts: Sequence[str]) -> "csr_matrix":
    """TF-IDF of words and word pairs, one row a text."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        tokenizer=words, token_pattern=None, lowercase=False, sublinear_tf=True, ngram_range=(1, 2)
    )
    return vectorizer.fit_transform(texts).tocsr()


def scores(
    matrix: "csr_matrix", labels: "npt.NDArray[np.int64]", train: "npt.NDArray[np.int64]", test: "npt.NDArray[np.int64]"
) -> "npt.NDArray[np.float64]":
    """Decision values of the test rows, one column a label that the training rows hold, in ascending order."""
    import numpy as np
    from sklearn.svm import LinearSVC

    model = LinearSVC(C=_COST, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes")  # many labels, few rows: as given
        model.fit(matrix[train], labels[train])
    values: npt.NDArray[np.float64] = model.decision_function(matrix[test])
    return np.stack([-values, values], axis=1) if values.ndim == 1 else values


def folds(labels: "npt.NDArray[np.int64]", count: int, seed: int) -> "npt.NDArray[np.int64]":
    """The fold of every row: each label dealt out in turn, in an order drawn by the seed."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    dealt = np.empty(len(labels), dtype=np.int64)
    dealt[order] = np.arange(len(labels)) % count
    return dealt
