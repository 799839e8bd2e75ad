"""A task's data → a frozen dataset: read, check, deduplicate, split, keep apart, check again, freeze.

Invariant 1: a held-out example never reaches training, not itself, not a near-duplicate, not one of its session.
Neighbours are dropped from training and validation, and counted; an independent check must then find none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from freehold.data import canaries, corrections, curate, exchange, files, language, pairs
from freehold.data.answers import check_for
from freehold.data.consensus import settle
from freehold.data.constant import constant
from freehold.data.duplicates import apart, distinct
from freehold.data.freeze import Parts, Salts, examples, freeze, read
from freehold.data.ids import Ids
from freehold.data.leakage import leaks
from freehold.data.moment import moment
from freehold.data.origin import Origin, origins_of
from freehold.data.patterns import PATTERNS_FILE, Patterns
from freehold.data.redact import redacted
from freehold.data.row import Dropped, Row
from freehold.data.sessions import Sessions
from freehold.data.split import choose
from freehold.data.subject import Subjects
from freehold.errors import DataError, FreeholdError
from freehold.progress import Progress, Step
from freehold.records import AnswerType, Dataset, Pruning, Source, Split, digest
from freehold.render import pruned
from freehold.spec import TaskFile
from freehold.store.workspace import Workspace

__all__ = ["build", "examples", "inputs", "read", "summary"]

HELD_OUT_SHARE = 0.2
VALIDATION_SHARE = 1 / 8  # of what is not held out: a tenth of all
FEWEST = 10


@dataclass
class _Work:
    """Rows on their way, and what fell out so far."""

    file: TaskFile
    subjects: Subjects
    patterns: Patterns
    dropped: list[Dropped] = field(default_factory=list)
    ids: Ids = field(default_factory=Ids)
    sessions: Sessions = field(default_factory=Sessions)
    conflicts: int = 0
    repeated: int = 0
    disputed: int = 0
    redacted: bool = False
    recorded: bool = False
    pruning: Pruning | None = None

    @property
    def by_answer(self) -> bool:
        return self.file.task.answer_type is AnswerType.LABEL

    def draw(self, purpose: str) -> str:
        return f"{self.file.task.seed} {purpose}"


def build(file: TaskFile, workspace: Workspace, progress: Progress) -> Dataset:
    """Make the dataset of a task, or find it made; raises `DataError` that names file, line and mend."""
    work = _Work(file, Subjects(workspace), Patterns(workspace.root), redacted=file.task.data.redact)
    origins = origins_of(file, workspace)
    with progress.step("data") as step:
        pool, held_out, sources = _read_all(work, origins, step)
        _prune(work, pool, held_out)
        labels = _accept(work, corrections.read(workspace, file.task.task), pool, held_out)
        rows = _divide(work, pool, held_out, step)
        _none_leaks(rows)
        _plant(work, rows[Split.TRAIN], sum(source.rows for source in sources))
        salts = Salts(block for origin in origins for block in origin.blocks())
        return freeze(file.task, _parts(work, rows, labels, sources), salts, workspace)


def inputs(file: TaskFile, workspace: Workspace) -> str:
    """Digest of everything that a task's dataset is made from: as long as it stays, building gives the same dataset."""
    task = file.task
    said = corrections.file_of(workspace, task.task)
    sources = [origin.sha256() for origin in origins_of(file, workspace)]
    sources += [files.sha256(said)] if said.exists() else []
    own = workspace.root / PATTERNS_FILE
    sources += [files.sha256(own)] if task.data.redact and own.is_file() else []
    sources += sorted(Subjects(workspace).forgotten)
    return digest([task.task, task.data.model_dump(), task.answer.model_dump(by_alias=True), task.seed, sources])


def summary(dataset: Dataset) -> str:
    """One line: `731 rows → 506 train · 73 validation · 146 held out · 6 near-duplicates dropped`."""
    counts = " · ".join(f"{dataset.counts[split]:,} {split.replace('_', ' ')}" for split in Split)
    parts = [f"{sum(source.rows for source in dataset.sources):,} rows → {counts}"]
    parts += [f"{count:,} dropped: {reason.replace('_', ' ')}" for reason, count in dataset.dropped.items()]
    if dataset.conflicts:
        parts.append(f"{dataset.conflicts:,} like pairs with different answers kept")
    return " · ".join(parts)


def _read_all(work: _Work, origins: Sequence[Origin], step: Step) -> tuple[list[Row], list[Row], tuple[Source, ...]]:
    """Rows of the source, rows of the held-out file, and a record of each."""
    read_rows: list[list[Row]] = []
    sources = []
    index = 0
    for origin in origins:
        rows: list[Row] = []
        first = index
        for place, fields in origin.rows():
            _take(work, fields, index, place, rows)
            index += 1
            step.advance()
        if index == first:
            raise DataError(origin.nothing)
        read_rows.append(rows)
        sources.append(Source(name=origin.name, sha256=origin.sha256(), rows=index - first))
    work.sessions.settle(read_rows)
    return read_rows[0], read_rows[1] if len(read_rows) > 1 else [], tuple(sources)


def _take(work: _Work, fields: files.Fields, index: int, place: str, rows: list[Row]) -> None:
    """Read one row, and keep it or drop it with its reason."""
    spec = work.file.task.data
    if exchange.is_exchange(fields) and spec.input not in fields:
        fault = "duplicate_id" if work.ids.again(fields, place) else curate.fault(fields)
        if fault:
            work.dropped.append(Dropped(exchange.without_answer(fields, index, place), fault))
            return
        row, heard = exchange.to_row(fields, index, place, spec.provenance)
        work.recorded = True
        work.sessions.link(row, fields)
        work.redacted = work.redacted or bool(fields.get("redactions"))
    else:
        row, heard = pairs.to_row(fields, index, place, spec)
    row = redacted(row, work.patterns()) if spec.redact else row
    if row.subject is not None and not place.startswith("exchange "):  # the gateway records pseudonyms
        row = replace(row, subject=work.subjects.pseudonym(row.subject))
    if spec.time is not None:
        row = replace(row, at=moment(fields.get(spec.time), spec.time, place))
    if work.subjects.is_forgotten(row.subject):
        work.dropped.append(Dropped(row, "forgotten"))
    elif heard.rejected:
        work.dropped.append(Dropped(row, "rejected"))
    else:
        rows.append(row)


def _prune(work: _Work, pool: list[Row], held_out: list[Row]) -> None:
    """Cut what the recorded requests all say, in place; pairs are kept to the letter."""
    if not (work.recorded and work.file.task.data.prune):
        return
    work.pruning = constant(pool)
    if work.pruning is None:
        return
    for rows in (pool, held_out):
        for at, row in enumerate(rows):
            messages = pruned(row.messages, work.pruning)
            if messages != row.messages:
                rows[at] = replace(row, messages=messages, asked=corrections.key(row.messages))


def _accept(work: _Work, answers: Mapping[str, str], *parts: list[Row]) -> tuple[str, ...]:
    """Put in what people corrected, and check every answer, in place; returns the labels."""
    for rows in parts:
        rows[:] = [corrections.corrected(row, answers) for row in rows]
    check = check_for(work.file.task, [row for rows in parts for row in rows])
    for rows in parts:
        accepted = [(row, check.accept(row)) for row in rows]
        work.dropped += [Dropped(row, "other_answer") for row, kept in accepted if kept is None]
        rows[:] = [kept for _, kept in accepted if kept is not None]
        _drop_other_languages(work, rows)
    return check.labels


def _drop_other_languages(work: _Work, rows: list[Row]) -> None:
    wanted = work.file.task.data.language
    if wanted is None:
        return
    language.require_known(wanted)
    wrong = [row for row in rows if language.is_in_another(row.answer, row.text, wanted)]
    work.dropped += [Dropped(row, "wrong_language") for row in wrong]
    gone = {row.index for row in wrong}
    rows[:] = [row for row in rows if row.index not in gone]


def _divide(work: _Work, pool: list[Row], held_out: list[Row], step: Step) -> dict[Split, list[Row]]:
    """A given held-out file is kept whole; otherwise a fifth is held out after duplicates have gone."""
    given = bool(work.file.task.data.held_out)
    step.advance(0, "near-duplicates")
    if given:
        pool = _keep_apart(work, pool, held_out)
    settled = settle(pool, work.file.task.data.repeats)
    work.repeated, work.disputed = settled.repeated, settled.disputed
    work.dropped += settled.dropped
    alone = distinct(settled.kept)
    pool, work.conflicts = alone.kept, alone.conflicts
    work.dropped += alone.dropped
    if not given:
        if len(pool) < FEWEST:
            raise DataError(
                f"{len(pool)} distinct examples are too few to train, validate and test; {FEWEST} are the least"
            )
        held_out, pool = choose(pool, HELD_OUT_SHARE, work.draw("held out"), work.by_answer)
        pool = _keep_apart(work, pool, held_out)
    validation, train = choose(pool, VALIDATION_SHARE, work.draw("validation"), work.by_answer)
    train, validation = _limited(work, train, validation)
    rows = {Split.TRAIN: train, Split.VALIDATION: validation, Split.HELD_OUT: held_out}
    empty = next((split for split in Split if not rows[split]), None)
    if empty:
        raise DataError(
            f"no example is left for {empty.replace('_', ' ')}; there are too few, or too many of one session"
        )
    return rows


def _keep_apart(work: _Work, pool: list[Row], held_out: list[Row]) -> list[Row]:
    """What may be trained on: no neighbour of a held-out row, none of its session."""
    sessions = {row.session: row for row in held_out if row.session is not None}
    work.dropped += [
        Dropped(row, "session_of_held_out", sessions[row.session].origin) for row in pool if row.session in sessions
    ]
    far, close = apart([row for row in pool if row.session not in sessions], held_out)
    work.dropped += [Dropped(row, "neighbour_of_held_out", other.origin) for row, other in close]
    return far


def _limited(work: _Work, train: list[Row], validation: list[Row]) -> tuple[list[Row], list[Row]]:
    """At most `data.limit` training rows, and validation cut in proportion (1 to 7)."""
    limit = work.file.task.data.limit
    if limit is None or limit >= len(train):
        return train, validation
    train, unused = _drawn(work, train, limit)
    fewer = max(1, limit // 7)
    if fewer < len(validation):
        validation, more = _drawn(work, validation, fewer)
        unused += more
    work.dropped += [Dropped(row, "over_limit") for row in unused]
    return train, validation


def _drawn(work: _Work, rows: list[Row], count: int) -> tuple[list[Row], list[Row]]:
    """So many rows by the seed, whatever their times, and the rest."""
    timeless = [replace(row, at=None) for row in rows]
    return choose(timeless, count / len(rows), work.draw("limit"), work.by_answer)


def _plant(work: _Work, train: list[Row], read_rows: int) -> None:
    """Add the task's canaries to what is trained on."""
    task = work.file.task
    secrets = canaries.canaries(task.data.canaries, task.seed, task.answer_type)
    train += list(canaries.rows(secrets, list(train), read_rows))


def _parts(work: _Work, rows: dict[Split, list[Row]], labels: tuple[str, ...], sources: tuple[Source, ...]) -> Parts:
    return Parts(
        rows=rows,
        dropped=work.dropped,
        conflicts=work.conflicts,
        labels=labels,
        sources=sources,
        redacted=work.redacted,
        pruning=work.pruning,
        repeated=work.repeated,
        disputed=work.disputed,
    )


def _none_leaks(rows: dict[Split, list[Row]]) -> None:
    found = leaks(rows[Split.HELD_OUT], [*rows[Split.TRAIN], *rows[Split.VALIDATION]])
    if found:
        first, second = found[0]
        raise FreeholdError(f"{len(found)} held-out examples leak into training (the first: {first} and {second})")
