"""The nouns of Freehold, frozen and content-addressed.

A digest is the SHA-256 over a record's canonical JSON (sorted keys, no spaces, UTF-8). Clock times and latencies live
beside a digest, never under it, so that the same inputs, seed and versions give the same digest (invariant 7).
"""

import hashlib
import math
from enum import StrEnum
from typing import Any, TypeVar

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """A frozen noun: compared by value, written as JSON, read back typed."""


R = TypeVar("R")


def canonical(value: Any) -> bytes:  # noqa: ANN401 (any JSON-able value)
    """The one spelling of a value that digests are taken over."""
    return msgspec.json.encode(value, order="sorted")


def digest(value: Any) -> str:  # noqa: ANN401
    """SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def from_json(data: bytes | str, kind: type[R]) -> R:
    """Read a record back; raises `msgspec.ValidationError` on anything that is not exactly one."""
    return msgspec.json.decode(data, type=kind)


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held_out"


class Provenance(StrEnum):
    """Whose answer a reference is. `incumbent` can never support a switch (DESIGN.md, Truth)."""

    HUMAN = "human"
    CORRECTED = "corrected"
    ACCEPTED = "accepted"
    INCUMBENT = "incumbent"

    @property
    def independent(self) -> bool:
        return self is not Provenance.INCUMBENT


class AnswerType(StrEnum):
    LABEL = "label"
    JSON = "json"
    TEXT = "text"


class CandidateKind(StrEnum):
    PROMPTED = "prompted"
    TUNED = "tuned"
    CLASSIFIER = "classifier"
    REMOTE = "remote"
    INCUMBENT = "incumbent"


class Message(Record, frozen=True, kw_only=True):
    """One turn of a conversation, in OpenAI's words."""

    role: str
    content: str


class Affixes(Record, frozen=True, kw_only=True):
    """What texts of one kind begin and end with."""

    prefix: str = ""
    suffix: str = ""


class Pruning(Record, frozen=True, kw_only=True):
    """The part of recorded requests that says the same in each: a model that was tuned without it is asked without it.

    `render.pruned` is the one place that cuts it, in training and serving alike.
    """

    system: Affixes = Affixes()
    user: Affixes = Affixes()


class Example(Record, frozen=True, kw_only=True):
    """What came in, and the reference an answer is scored against.

    `id` is the salted hash of the content. Erasing an example keeps the id as a tombstone and drops everything else,
    so the dataset's digest, taken over ids, stays what it was. `asked` is the SHA-256 of the request as recorded, where
    something was cut from it.
    """

    id: str
    salt: str
    split: Split
    messages: tuple[Message, ...]
    reference: str
    provenance: Provenance
    origin: str
    incumbent_answer: str | None = None
    session: str | None = None
    subject: str | None = None
    asked: str | None = None

    @property
    def text(self) -> str:
        """What the user wrote: the last user turn."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


class Source(Record, frozen=True, kw_only=True):
    """A file (or query) that examples were read from."""

    name: str
    sha256: str
    rows: int


class Dataset(Record, frozen=True, kw_only=True):
    """Examples frozen under one digest. The examples themselves lie beside it, one JSON line each.

    `dropped` counts rows by reason; `conflicts` counts pairs of like inputs whose answers differ (both are kept).
    `repeated` inputs came more than once, and `disputed` of these were answered differently. `pruning` is what was cut
    from every request.
    """

    digest: str
    task: str
    answer_type: AnswerType
    labels: tuple[str, ...]
    json_schema: dict[str, Any] | None
    counts: dict[Split, int]
    provenance: dict[Provenance, int]
    dropped: dict[str, int]
    sources: tuple[Source, ...]
    seed: int
    conflicts: int = 0
    redacted: bool = False
    repeated: int = 0
    disputed: int = 0
    pruning: Pruning | None = None


class BaseFile(Record, frozen=True, kw_only=True):
    """One file of a base, by the digest it must have."""

    name: str
    sha256: str
    size: int
    source: str


class Base(Record, frozen=True, kw_only=True):
    """An open model as published, resolved to exact files on this disk."""

    name: str
    digest: str
    architecture: str
    parameters: int
    context_length: int
    licence: str
    weights: BaseFile
    template_digest: str


class LossPoint(Record, frozen=True, kw_only=True):
    step: int
    train: float
    validation: float | None


class AdapterManifest(Record, frozen=True, kw_only=True):
    """What an adapter was made from. Written last: an adapter without one is not finished.

    `digest` covers everything but the measurements (`seconds`, `tokens_per_second`, `peak_memory_bytes`).
    """

    digest: str
    task: str
    base: str
    base_digest: str
    dataset: str
    recipe: dict[str, Any]
    render: dict[str, Any]
    render_digest: str
    seed: int
    versions: dict[str, str]
    template_digest: str
    weights_sha256: str
    gguf_sha256: str | None = None
    losses: tuple[LossPoint, ...]
    best_step: int
    seconds: float
    tokens_per_second: float
    peak_memory_bytes: int


class Candidate(Record, frozen=True, kw_only=True):
    """Anything that could take the task over."""

    name: str
    kind: CandidateKind
    digest: str
    base: str | None = None
    adapter: str | None = None
    parameters: int | None = None


class Row(Record, frozen=True, kw_only=True):
    """One candidate's answer to one held-out example.

    `answer` is constrained while decoding (only a permitted label, only valid JSON); `free_answer` is not, and is None
    for candidates that cannot answer outside the permitted set. `score` and `free_score` are the report's metric in
    0..1. Tokens are those of the answer that counts (constrained). `faults` says why a scorer gave no score.
    """

    candidate: str
    example: str
    answer: str
    score: float
    free_answer: str | None = None
    free_score: float | None = None
    scores: dict[str, float] = {}
    faults: dict[str, str] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    latency_ms: float = 0.0
    error: str | None = None


class Interval(Record, frozen=True, kw_only=True):
    """A figure with what it stands on. `method` names the source of the interval."""

    value: float
    low: float
    high: float
    n: int
    method: str


class LabelFigures(Record, frozen=True, kw_only=True):
    label: str
    precision: float
    recall: float
    f1: float
    support: int


class CandidateFigures(Record, frozen=True, kw_only=True):
    """What one candidate reached on the held-out examples.

    `confusion` has a row for each of `labels` as the reference, a column for each as the answer, and a last column for
    any other answer. `secondary` holds the scores shown next to the metric. Latencies are 0 where none was measured.
    """

    candidate: Candidate
    metric: Interval
    free: Interval | None
    labels: tuple[LabelFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    tokens_per_request: float
    latency_p50_ms: float
    latency_p95_ms: float
    errors: int
    secondary: dict[str, Interval] = {}


class Kept(StrEnum):
    """What tuning should not take away."""

    GENERAL = "general questions"
    HARMFUL = "harmful asks refused"
    HARMLESS = "harmless asks answered"
    LANGUAGE = "perplexity"


class Change(Record, frozen=True, kw_only=True):
    """One figure of a tuned candidate beside its base's, on the same prompts.

    `lost` is how much worse it became: the share that was lost (0..1), or for perplexity the relative rise.
    """

    candidate: str
    what: Kept
    before: Interval
    after: Interval
    lost: Interval


class PinCheck(Record, frozen=True, kw_only=True):
    """How one candidate does on the pinned cases. `unmeasured` ones have no row: the dataset has moved on."""

    candidate: str
    holds: int
    broken: tuple[str, ...]
    unmeasured: int


class Report(Record, frozen=True, kw_only=True):
    """Candidates and incumbent measured on the same held-out examples. The digest leaves latencies out.

    `dropped` counts what was left out of the data and why; `leaks` counts held-out examples with a near-duplicate in
    training, checked anew on the frozen dataset (None: not checked). `changes` are there where the task file has a
    `guard`, `pins` where cases are pinned.
    """

    digest: str
    task: str
    dataset: str
    metric: str
    references: dict[Provenance, int]
    figures: tuple[CandidateFigures, ...]
    rows_sha256: str
    dropped: dict[str, int] = {}
    leaks: int | None = None
    confidence: float = 0.95
    changes: tuple[Change, ...] = ()
    pins: tuple[PinCheck, ...] = ()


class Plan(Record, frozen=True, kw_only=True):
    """What was fixed before any result was seen.

    `margin` is the loss that would still be accepted and `disagreement` the share of pairs expected to be scored
    differently, both as shares of 1; every test is one-sided at level 1 − `confidence`; `power` is the chance to show
    non-inferiority where both are equally good. `may_lose` is how much tuning may take of what it should not; empty
    where the task file has no `guard`.
    """

    metric: str
    margin: float
    confidence: float
    seed: int
    power: float = 0.8
    disagreement: float = 0.1
    stopping: str = "one look, when every held-out example has been scored"
    may_lose: dict[Kept, float] = {}


class Verdict(StrEnum):
    SWITCH = "switch"
    KEEP = "keep"
    NEED_MORE_DATA = "need-more-data"


class Comparison(Record, frozen=True, kw_only=True):
    """One candidate against another on the same examples.

    `difference` is the candidate's mean score minus the other's; each of its bounds holds at `level`, one-sided, so
    `non_inferior` is exactly `difference.low > −margin`. `better` and `worse` count the pairs where the candidate
    scored higher and lower, `variance` is that of one pair's difference (0..1: the disagreement, for right or wrong).
    """

    candidate: str
    against: str
    difference: Interval
    level: float
    better: int
    worse: int
    variance: float
    non_inferior: bool


class Decision(Record, frozen=True, kw_only=True):
    """Switch, keep, or need more data. Never edited, only succeeded.

    `references` counts those that were compared on, `pairs_needed` is about how many it takes. `times_cheaper` is the
    ratio of measured machine time a request: a measurement, so it lies beside the digest.
    """

    digest: str
    task: str
    verdict: Verdict
    candidate: str | None
    against: str | None
    difference: Interval | None
    reasons: tuple[str, ...]
    power: str
    plan: Plan
    evidence: dict[str, str]
    comparisons: tuple[Comparison, ...] = ()
    references: dict[Provenance, int] = {}
    pairs_needed: int | None = None
    times_cheaper: float | None = None
    succeeds: str | None = None


class Bounds(Record, frozen=True, kw_only=True):
    """What a canary may not cross; fixed before it starts.

    `margin` is the loss of quality against what it would replace (share of 1), `error_rate` the share of requests that
    may fail, `slow_rate` the share that may take longer than `latency_ms`.
    """

    margin: float = 0.05
    error_rate: float = 0.02
    latency_ms: float = 2000.0
    slow_rate: float = 0.05
    confidence: float = 0.95


class ConfidenceCurve(Record, frozen=True, kw_only=True):
    """A model's raw confidence (0..1) → the share of such answers that are right: logistic over its log-odds."""

    slope: float = 1.0
    intercept: float = 0.0

    def at(self, confidence: float) -> float:
        """The calibrated confidence (0..1)."""
        return logistic(self.slope * log_odds(confidence) + self.intercept)


def log_odds(share: float) -> float:
    """Of a share in 0..1, kept finite at its ends."""
    clipped = min(1 - 1e-6, max(1e-6, share))
    return math.log(clipped / (1 - clipped))


def logistic(x: float) -> float:
    """The share (0..1) that has these log-odds."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
