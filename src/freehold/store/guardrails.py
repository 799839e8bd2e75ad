"""What a deployment checks before and after its model, and what it may answer from memory: records, no behaviour."""

from typing import Literal

import msgspec

from freehold.records import Record

When = Literal["before", "after"]
Action = Literal["block", "redact", "flag"]
Reads = Literal["user", "last", "all"]
OnFailure = Literal["block", "pass"]

MODEL = "model"
PYTHON = "python:"


class Guardrail(Record, frozen=True, kw_only=True):
    """One check on the texts of a request (`before` the model) or of its answer (`after`), and what a finding does.

    `check` is a name of `gateway/checks.py:CHECKS`, `model` (another deployed name is asked), or `python:FILE.py:NAME`;
    `settings` are its own. `reads` says whose words of a request are looked at: the user's and the tools', the last
    message only, or all. A check that fails, or takes longer than `timeout_ms`, blocks unless `on_failure` is `pass`.
    """

    name: str
    when: When
    check: str
    settings: dict[str, str] = msgspec.field(default_factory=dict)
    action: Action = "block"
    reads: Reads = "user"
    timeout_ms: int = 1000
    on_failure: OnFailure = "block"

    @property
    def holds(self) -> bool:
        """Whether a stream must wait for it: what was sent cannot be taken back."""
        return self.when == "after" and (self.action != "flag" or self.on_failure == "block")


class CacheRule(Record, frozen=True, kw_only=True):
    """How a deployment's answers are kept in memory: at most `max_bytes`, each for `max_age_s`.

    `shared` lets callers with different keys have each other's answers. `sampled` keeps answers, too, whose request
    neither asks for temperature 0 nor names a seed.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 3600.0
    shared: bool = False
    sampled: bool = False
