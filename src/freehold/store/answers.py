"""The answers that candidates gave: one row an answer, so that nothing is asked twice, even after `kill -9`."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, bindparam, delete, insert, select

from freehold.records import Record
from freehold.store.schema import answers


class Answered(Record, frozen=True, kw_only=True):
    """One answer of a candidate to one prompt (by digest). `text` is empty where `error` says why there is none."""

    prompt: str
    constrained: bool
    text: str
    input_tokens: int
    output_tokens: int
    latency_ms: float
    error: str | None = None


class Answers:
    """What the store holds of one candidate's answers, keyed by prompt digest and whether decoding was constrained."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, candidate: str) -> Mapping[tuple[str, bool], Answered]:
        """Every finished answer of a candidate (by digest). A failed one is left out: it is asked again."""
        query = select(answers).where(answers.c.candidate == candidate, answers.c.error.is_(None))
        with self._engine.connect() as connection:
            rows = [_answered(dict(row._mapping)) for row in connection.execute(query)]
        return {(row.prompt, row.constrained): row for row in rows}

    def erase(self, candidates: Collection[str]) -> int:
        """Drop every kept answer of these candidates (by digest); returns how many there were."""
        with self._engine.begin() as connection:
            return int(connection.execute(delete(answers).where(answers.c.candidate.in_(list(candidates)))).rowcount)

    def keep(self, candidate: str, given: Sequence[Answered]) -> None:
        """Keep answers in one transaction, in place of failed attempts at the same; the last of equal keys holds."""
        given = list({(answer.prompt, answer.constrained): answer for answer in given}.values())
        if not given:
            return
        now = time.time_ns() // 1000
        rows = [
            {
                "candidate": candidate,
                "prompt": answer.prompt,
                "constrained": answer.constrained,
                "text": answer.text,
                "input_tokens": answer.input_tokens,
                "output_tokens": answer.output_tokens,
                "latency_ms": answer.latency_ms,
                "error": answer.error,
                "answered_at": now,
            }
            for answer in given
        ]
        old = delete(answers).where(
            answers.c.candidate == candidate,
            answers.c.prompt == bindparam("old_prompt"),
            answers.c.constrained == bindparam("old_constrained"),
        )
        keys = [{"old_prompt": answer.prompt, "old_constrained": answer.constrained} for answer in given]
        with self._engine.begin() as connection:
            connection.execute(old, keys)
            connection.execute(insert(answers), rows)


def _answered(row: dict[str, Any]) -> Answered:
    return Answered(**{name: row[name] for name in Answered.__struct_fields__})
