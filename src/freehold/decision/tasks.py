"""Splitting captured traffic into the tasks that it is made of.

Three passes, each on what the one before could not place: requests with the same system prompt (up to inserted names,
dates and numbers) are one task; those with none, or a general one, are split by the template that their messages begin
with; what is left is grouped by meaning. The embedding is latent semantic analysis of the messages themselves
(Deerwester et al. 1990, JASIS 41:391), so that nothing is downloaded and no model is run. Groups too small to be a task
are told together as `other`.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.decision.traffic import Seen

if TYPE_CHECKING:
    from numpy import bool_, float64
    from numpy.typing import NDArray

OTHER = "other"
_GENERAL_WORDS = 8  # a system prompt of fewer words ("You are a helpful assistant.") says nothing of the task
_TEMPLATE_WORDS, _TEMPLATE_SHARE = 5, 0.05
_NAMED_BY = 500
_SMALLEST = 10
_SMALLEST_SHARE = 0.01
_ALIKE = 0.7
_SAMPLE = 5000
# Measured on 1,500 messages of Banking77 and the 80 questions of MT-Bench: from 0.3 to 0.35 a bank stays one task.
_EMBEDDED_AT_MOST, _NEAR = 20_000, 0.35
# Measured on Banking77, MT-Bench and six subjects of MMLU, mixed: at 0.3 a bank stays one task, subjects part from it.
_DIMENSIONS, _TOPICS, _SHARED_WORDS = 10, 12, 0.3

_SLOT = re.compile(
    r"https?://\S+|\S+@\S+\.\S+|[0-9a-f]{8}-[0-9a-f-]{27}|\[[A-Z_]+(?:_\d+)?\]|<[^<>\s]{1,40}>|\d[\d.,:/-]*",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")


Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts to unit vectors, one each."""


@dataclass(frozen=True)
class Group:
    """One task found in the traffic: how it was told apart, and its requests."""

    name: str
    by: str
    seen: tuple[Seen, ...]


def split(seen: Sequence[Seen], embed: Embed | None = None) -> list[Group]:
    """The tasks in the traffic, the largest first; every request is in exactly one. `embed` tells meanings apart."""
    by_system, rest = _by_system(seen)
    by_template, rest = _by_template(rest, len(seen))
    by_meaning, rest = _by_meaning(rest, len(seen), embed if len(rest) <= _EMBEDDED_AT_MOST else None)
    found = [
        *(("system prompt", members) for members in by_system),
        *(("template", members) for members in by_template),
        *(("meaning", members) for members in by_meaning),
    ]
    found.sort(key=lambda each: (-len(each[1]), each[1][0].id))
    names = _names([members for _, members in found])
    groups = [Group(name, by, tuple(members)) for name, (by, members) in zip(names, found, strict=True)]
    return [*groups, Group(OTHER, "what is left", tuple(rest))] if rest else groups


def skeleton(text: str) -> str:
    """A text with what varies (numbers, dates, addresses, placeholders) replaced by one mark."""
    return " ".join(_SLOT.sub("#", unicodedata.normalize("NFKC", text)).casefold().split())


def _by_system(seen: Sequence[Seen]) -> tuple[list[list[Seen]], list[Seen]]:
    groups: dict[str, list[Seen]] = defaultdict(list)
    rest = []
    for each in seen:
        words = _WORD.findall(each.system)
        if len(words) < _GENERAL_WORDS:
            rest.append(each)
        else:
            groups[skeleton(each.system)].append(each)
    merged = _merged(groups)
    smallest = _smallest(len(seen))
    rest += [each for members in merged if len(members) < smallest for each in members]
    return [members for members in merged if len(members) >= smallest], rest


def _merged(groups: Mapping[str, list[Seen]]) -> list[list[Seen]]:
    """Groups whose prompts share most of their words are one: a name or a list was filled in."""
    kept: list[tuple[frozenset[str], list[Seen]]] = []
    for prompt, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        words = frozenset(_WORD.findall(prompt))
        home = next((each for each in kept if _jaccard(words, each[0]) >= _ALIKE), None)
        if home is None:
            kept.append((words, list(members)))
        else:
            home[1].extend(members)
    return [members for _, members in kept]


def _by_template(seen: Sequence[Seen], whole: int) -> tuple[list[list[Seen]], list[Seen]]:
    """Messages that begin with the same words, as a program's do and a person's do not."""
    groups: dict[str, list[Seen]] = defaultdict(list)
    for each in seen:
        groups[" ".join(skeleton(each.user).split()[:_TEMPLATE_WORDS])].append(each)
    smallest = max(_smallest(whole), int(len(seen) * _TEMPLATE_SHARE))
    taken = {begin for begin, members in groups.items() if begin and len(members) >= smallest and " " in begin}
    rest = [each for begin, members in groups.items() if begin not in taken for each in members]
    return [groups[begin] for begin in sorted(taken)], rest


def _by_meaning(seen: Sequence[Seen], whole: int, embed: Embed | None) -> tuple[list[list[Seen]], list[Seen]]:
    smallest = _smallest(whole)
    if len(seen) < 2 * smallest:
        return ([list(seen)], []) if len(seen) >= smallest else ([], list(seen))
    try:
        labels = _clusters([each.user for each in seen], embed)
    except ValueError:  # scikit-learn's, where no word stands in two messages: there is nothing to tell them apart by
        labels = [0] * len(seen)
    groups: dict[int, list[Seen]] = defaultdict(list)
    for label, each in zip(labels, seen, strict=True):
        groups[label].append(each)
    rest = [each for members in groups.values() if len(members) < smallest for each in members]
    return [members for members in groups.values() if len(members) >= smallest], rest


def _clusters(texts: Sequence[str], embed: Embed | None) -> list[int]:
    """Topics of the texts (k-means on their embedding), joined to tasks where they lie near one another.

    Topics alone are finer than tasks: a bank's customers ask of cards and of transfers in one task.
    """
    import numpy as np
    from sklearn.cluster import KMeans

    points = np.asarray(embed(texts), dtype=np.float64) if embed else _embedded(texts)
    size = min(_TOPICS, len(texts) // _SMALLEST)
    model = KMeans(size, n_init=2, random_state=0).fit(points[:: max(1, len(texts) // _SAMPLE)])
    topics = [int(topic) for topic in model.predict(points)]
    linked = _cosines(model.cluster_centers_) >= _NEAR if embed else _overlap(texts, topics, size) >= _SHARED_WORDS
    homes = _joined(linked)
    return [homes[topic] for topic in topics]


def _overlap(texts: Sequence[str], topics: Sequence[int], size: int) -> "NDArray[float64]":
    """How alike the vocabularies of the topics are: the cosine of the roots of their words' document frequencies."""
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer(stop_words="english", min_df=2, binary=True).fit_transform(texts)
    of = np.asarray(topics)
    shares = [np.asarray(words[of == topic].sum(axis=0)).ravel() / max(1, (of == topic).sum()) for topic in range(size)]
    return _cosines(np.sqrt(np.stack(shares)) + 1e-12)


def _cosines(vectors: "NDArray[float64]") -> "NDArray[float64]":
    """Of every vector with every other."""
    import numpy as np

    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(units @ units.T, dtype=np.float64)


def _joined(linked: "NDArray[bool_]") -> list[int]:
    """Topics that are linked, if through others, each named by one of them."""
    homes = list(range(len(linked)))
    for one in range(len(linked)):
        for other in range(one):
            if linked[one, other]:
                old, new = homes[one], homes[other]
                homes = [new if home == old else home for home in homes]
    return homes


def _embedded(texts: Sequence[str]) -> "NDArray[float64]":
    """Unit vectors by latent semantic analysis; a text without a known word lies apart from all others."""
    import numpy as np
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(sublinear_tf=True, min_df=2, max_df=0.5, stop_words="english").fit_transform(texts)
    size = min(_DIMENSIONS, min(vectors.shape) - 1)
    dense = TruncatedSVD(size, random_state=0).fit_transform(vectors) if size > 1 else vectors.toarray()
    dense = np.hstack([dense, np.full((len(dense), 1), 1e-9)])
    return np.asarray(dense / np.linalg.norm(dense, axis=1, keepdims=True), dtype=np.float64)


def _names(groups: Sequence[Sequence[Seen]]) -> list[str]:
    """A short name each: the words that the group uses and the others do not, as they follow one another."""
    documents = [Counter(word for each in members[:_NAMED_BY] for word in _name_words(each)) for members in groups]
    spread = Counter(word for counted in documents for word in counted)
    names: list[str] = []
    for counted, members in zip(documents, groups, strict=True):
        weight = {
            word: count / min(len(members), _NAMED_BY) * math.log((1 + len(groups)) / spread[word])
            for word, count in counted.items()
        }
        best = sorted(weight, key=lambda word: (-weight[word], word))[:2]
        name = "-".join(sorted(best, key=list(counted).index)) or "task"
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def _name_words(seen: Seen) -> list[str]:
    """The words of its system prompt, or of the message where there is none, each once, in their order."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    text = seen.system if len(_WORD.findall(seen.system)) >= _GENERAL_WORDS else seen.user
    words = _WORD.findall(skeleton(text)[:300])
    return [w for w in dict.fromkeys(words) if len(w) > 3 and w.isascii() and w not in ENGLISH_STOP_WORDS]


def _smallest(whole: int) -> int:
    return max(_SMALLEST, int(whole * _SMALLEST_SHARE))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0
