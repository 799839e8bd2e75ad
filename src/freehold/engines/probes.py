"""Is it really that adapter that answers? Golden probes.

An adapter's fingerprint is what it would say next to a few fixed prompts: the likeliest tokens and their
log-probabilities. The golden one is taken from a child that holds this adapter alone, its file checked by digest, and
kept on disk; later ones are taken through whatever serves it. One engine on one machine repeats itself to within
rounding, so a fingerprint that moved means that something else answers.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from freehold.engines.adapters import AdapterFiles
from freehold.engines.engine import Answer, Completion, Engine, Sampling
from freehold.errors import EngineError, NotFoundError
from freehold.records import Record, digest
from freehold.store.workspace import read_record, write_record

# Prompts of several kinds, so that adapters of similar tasks still differ on one of them.
PROMPTS = (
    "<|im_start|>user\nthe freezer alarm is going again<|im_end|>\n<|im_start|>assistant\n",
    '{"order": [{"item": "',
)
RIVALS = 8
TOLERANCE = 0.1  # nats, mean over the likeliest tokens; measured: an adapter and itself 0.00, and others from 0.17
TRIES = 3  # beside other requests a Q4_1 base rounds differently (0.03 nats and more); another adapter stays another


class Fingerprint(Record, frozen=True, kw_only=True):
    """Log-probabilities (nats) of the likeliest next tokens, by id, for each of `PROMPTS`."""

    tops: tuple[dict[str, float], ...]


class Probed(Engine, Protocol):
    """An engine that holds a fixed set of adapters, in one or more children."""

    def ask_each(self, request: Completion) -> list[Answer]:
        """The answer of every child."""


def fingerprints(engine: Probed, adapter: str | None) -> list[Fingerprint]:
    """The fingerprint of an adapter in every child; raises `EngineError` where the engine gives no probabilities."""
    answers = []
    for prompt in PROMPTS:
        sampling = Sampling(max_tokens=1, logprobs=RIVALS)
        answers.append(
            engine.ask_each(Completion(prompt=tuple(engine.tokenize(prompt)), sampling=sampling, adapter=adapter))
        )
    if not all(answer.logprobs for each in answers for answer in each):
        raise EngineError("the engine gives no log-probabilities, so its adapters cannot be told apart")
    return [Fingerprint(tops=tuple(each.logprobs[0].top for each in child)) for child in zip(*answers, strict=True)]


def distance(first: Fingerprint, second: Fingerprint) -> float:
    """How far apart two fingerprints are: the largest, over prompts, of the mean difference in nats."""
    return max(_apart(one, other) for one, other in zip(first.tops, second.tops, strict=True))


def _apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Mean absolute difference over the ids of both; a missing id counts as likely as the least likely present."""
    floor_one, floor_other = min(one.values()), min(other.values())
    ids = one.keys() | other.keys()
    return sum(abs(one.get(each, floor_one) - other.get(each, floor_other)) for each in ids) / len(ids)


class Shelf:
    """Golden fingerprints on disk: those of one base, encoding and engine, which `setting` names, by adapter digest.

    `setting` is called when the first fingerprint is read: it hashes weights, which nobody may ever ask for.
    """

    def __init__(self, folder: Path, setting: Callable[[], str]) -> None:
        self._folder, self._find_setting = folder, setting

    @cached_property
    def _setting(self) -> str:
        return self._find_setting()

    def read(self, adapter: str | None) -> Fingerprint | None:
        """What was kept; None where nothing was, or what was kept is damaged: then it is taken anew."""
        try:
            return read_record(self._path(adapter), Fingerprint)
        except NotFoundError:
            return None

    def keep(self, adapter: str | None, found: Fingerprint) -> None:
        write_record(self._path(adapter), found)

    def _path(self, adapter: str | None) -> Path:
        return self._folder / f"{digest([self._setting, adapter, PROMPTS])}.json"


class Goldens:
    """The golden fingerprints of a base (None) and its adapters (by digest), each taken once."""

    def __init__(self, make: Callable[[AdapterFiles], Probed], shelf: Shelf | None = None) -> None:
        self._make, self._shelf = make, shelf
        self._taken: dict[str | None, Fingerprint] = {}

    def known(self, adapter: str | None) -> bool:
        """Whether it was taken, in this life or an earlier one."""
        if adapter not in self._taken and self._shelf is not None:
            found = self._shelf.read(adapter)
            if found is not None:
                self._taken[adapter] = found
        return adapter in self._taken

    def take(self, files: AdapterFiles) -> None:
        """Take what is missing of the base and these, each alone in an engine, where nothing else can answer for it."""
        wanted: list[tuple[str | None, str | None]] = [(None, None), *files.digests.items()]
        for name, adapter in wanted:
            if not self.known(adapter):
                engine = self._make(files.only(*([] if name is None else [name])))
                self.start(engine, {name: adapter}, alone=True)
                engine.stop()

    def start(self, engine: Probed, names: Mapping[str | None, str | None], alone: bool) -> None:
        """Start an engine and prove what answers in it under these names (adapters' digests by name).

        Where it holds nothing else (`alone`), what is missing is taken from it, which is all that there is to prove
        then. One that is not proven is stopped.
        """
        engine.start()
        try:
            for name, adapter in names.items():
                if alone and not self.known(adapter):
                    self._keep(adapter, fingerprints(engine, name)[0])
                else:
                    self.prove(engine, {name: adapter})
        except BaseException:
            engine.stop()
            raise

    def prove(self, engine: Probed, names: Mapping[str | None, str | None]) -> None:
        """Raise `EngineError` where what answers under a name, in any child, is not what it was alone."""
        for name, adapter in names.items():
            moved = self._moved(engine, name, self._taken[adapter])
            if moved > TOLERANCE:
                who = "the base" if name is None else f"adapter {name}"
                raise EngineError(
                    f"a probe says that {who} is not what answers under its name: "
                    f"its fingerprint is off by {moved:.2f} nats, and {TOLERANCE} is allowed"
                )

    def _keep(self, adapter: str | None, found: Fingerprint) -> None:
        self._taken[adapter] = found
        if self._shelf is not None:
            self._shelf.keep(adapter, found)

    def _moved(self, engine: Probed, name: str | None, golden: Fingerprint) -> float:
        """How far the fingerprint lies from the golden one, in the child where it lies farthest; the best of a few."""
        best = float("inf")
        for _ in range(TRIES):
            best = min(best, max(distance(found, golden) for found in fingerprints(engine, name)))
            if best <= TOLERANCE:
                break
        return best
