"""llama.cpp's own server, in supervised child processes: the default engine.

Requests go to its native `/completion`, which takes token ids, a grammar, and the adapter's scale per request. Which
adapter answered is known because every request names the scale of every loaded adapter: 1 for one, 0 for the rest.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from freehold.engines import llamacpp_wire as wire
from freehold.engines.adapters import AdapterFiles
from freehold.engines.engine import Address, Answer, Completion, Piece
from freehold.engines.label_trie import Labelled, Trees
from freehold.engines.llamacpp_child import Setup
from freehold.engines.llamacpp_replica import LlamaServer
from freehold.engines.replica import ANSWER_TIMEOUT_S, GoneError, Reach, Replica
from freehold.engines.slots import Slot, Slots, Turns
from freehold.errors import EngineError
from freehold.records import Record

_ATTEMPTS = 2
_MOST_THREADS = 8


class Settings(Record, frozen=True, kw_only=True):
    """How the engine uses the machine.

    `slots` is requests at once a child, `context` tokens a slot, `batch` tokens a step; `threads` a child (None: one a
    core, at most 8). Several `children` of one thread each answer many adapters faster than one child of many threads:
    see docs/engines.md. A child that does not answer for `hang_s` is started again. `log` keeps what the children say.
    `program` is a native `llama-server` that takes the place of xllamacpp's. `speculate` is a method of speculative
    decoding by llama.cpp's name for it, such as `ngram-simple`: drafts of free text out of what was already said.
    """

    slots: int = 8
    context: int = 1024
    batch: int = 512
    threads: int | None = None
    children: int = 1
    hang_s: float = 60.0
    log: str | None = None
    program: str | None = None
    speculate: str | None = None


class LlamaCpp:
    """A `LocalEngine` over one base and the adapters that it loads at start.

    `adapters` maps the name that a request gives to a GGUF file. `digests` names the SHA-256 that an adapter must
    have: it is checked at every start, and a file that differs is refused (`ModelFileError`). So are weights that have
    not the SHA-256 `copy`, where they are a merged copy. Engines with the same `turns` take them at the cores.
    """

    def __init__(
        self,
        weights: Path,
        adapters: Mapping[str, Path] | None = None,
        settings: Settings | None = None,
        digests: Mapping[str, str] | None = None,
        copy: str | None = None,
        turns: Turns | None = None,
    ) -> None:
        settings = settings or Settings()
        files = AdapterFiles(dict(adapters or {}), dict(digests or {}))
        log = Path(settings.log) if settings.log else None
        self._order = list(files.paths)
        self._replicas = [
            Replica(LlamaServer(_setup(weights, settings), files, log, settings.program, copy), settings.hang_s)
            for _ in range(settings.children)
        ]
        self._slots = Slots(settings.children, settings.slots, lambda child: self._replicas[child].ready, turns)
        self._native = settings.program is not None
        self._grammars: dict[str, str] = {}  # by schema
        self._trees = Trees(self.tokenize)

    def start(self) -> None:
        try:
            for replica in self._replicas:
                replica.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for replica in self._replicas:
            replica.stop()

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight; False where that took too long."""
        return self._slots.drained(timeout_s)

    @property
    def replicas(self) -> Sequence[Replica]:
        """The children, for supervision."""
        return self._replicas

    @property
    def pid(self) -> int | None:
        """The first child's process id."""
        return self._replicas[0].pid

    @property
    def restarts(self) -> int:
        """How often children had to be started again."""
        return sum(replica.restarts for replica in self._replicas)

    def address(self) -> Address:
        return self._replicas[0].reach().address

    def tokenize(self, text: str) -> Sequence[int]:
        body = {"content": text, "parse_special": True, "add_special": False}
        return tuple(self._post("/tokenize", body)[1]["tokens"])

    def complete(self, request: Completion) -> Answer:
        return self._complete(request, child=None)

    def ask_each(self, request: Completion) -> list[Answer]:
        """The answer of every child, in order."""
        return [self._complete(request, child) for child in range(len(self._replicas))]

    def _complete(self, request: Completion, child: int | None) -> Answer:
        begun = time.monotonic()
        body = self._body(request)
        tree = self._trees.of(request.sampling)
        cause = ""
        for _ in range(_ATTEMPTS):  # again where a child went away: nothing was delivered yet
            with self._slots.one(request.adapter, ANSWER_TIMEOUT_S, child) as slot:
                try:
                    if tree is not None:
                        return self._label(request, tree, body, slot, begun)
                    reach, result = self._replicas[slot.child].post("/completion", body | {"id_slot": slot.number})
                except GoneError as error:
                    cause = str(error)
                    continue
            return self._answer(request, reach, result, begun)
        raise EngineError(f"llama.cpp went away {_ATTEMPTS} times before it answered ({cause})")

    def _body(self, request: Completion) -> dict[str, Any]:
        body = wire.body(request, self._order)
        schema = body.pop("json_schema", None) if self._native else None
        return body if schema is None else body | {"grammar": self._one_line(schema)}

    def _one_line(self, schema: dict[str, Any]) -> str:
        """A native server's own grammar of a schema, its white space cut down: only xllamacpp's knows `x-guidance`."""
        key = json.dumps(schema)
        if key not in self._grammars:
            asked = {"prompt": [0], "n_predict": 1, "json_schema": schema}
            settings = self._post("/completion", asked)[1]["generation_settings"]
            self._grammars[key] = wire.one_line(settings["grammar"])
        return self._grammars[key]

    def _label(self, request: Completion, tree: Labelled, body: dict[str, Any], slot: Slot, begun: float) -> Answer:
        """A label, decoded at the forks of its tree only; all in one slot, which keeps what was computed."""
        reach, first = self._fork(request, tree, body, slot)
        tree = tree.after(first["tokens"][0])
        while tree.label is None:
            reach, result = self._fork(request, tree, body, slot)
            tree = tree.after(result["tokens"][0])
        counted = {"content": tree.label, "stop_type": "eos", "tokens_predicted": self._trees.count(tree.label)}
        return self._answer(request, reach, first | counted, begun)

    def _fork(self, request: Completion, tree: Labelled, body: dict[str, Any], slot: Slot) -> tuple[Reach, Any]:
        asked = body | wire.choice(tree.next) | {"prompt": request.prompt + tree.so_far, "id_slot": slot.number}
        reach, result = self._replicas[slot.child].post("/completion", asked)
        if result["tokens"][0] not in tree.next:
            raise EngineError("llama.cpp decoded a token that the labels forbid")
        return reach, result

    def stream(self, request: Completion) -> Iterator[Piece]:
        if self._trees.of(request.sampling) is not None:  # whole at once: nothing of it is known before its forks are
            answer = self.complete(request)
            yield Piece(text=answer.text, answer=answer, adapter=answer.adapter)
            return
        begun, text, probable = time.monotonic(), "", []
        body = self._body(request) | {"stream": True, "stop": list(request.sampling.stop)}
        with self._slots.one(request.adapter, ANSWER_TIMEOUT_S) as slot:
            for reach, event in self._replicas[slot.child].events("/completion", body | {"id_slot": slot.number}):
                if "error" in event:
                    raise EngineError(f"llama.cpp stopped in the middle of an answer: {event['error'].get('message')}")
                text += event["content"]
                probable += (told := event.get(wire.PROBABILITIES, []))
                last: Answer | None = None
                if event["stop"]:
                    whole = event | {"content": text, wire.PROBABILITIES: probable}
                    last = self._answer(request, reach, whole, begun)
                scores, used = wire.logprobs({wire.PROBABILITIES: told}), _used(request, reach)
                yield Piece(text=event["content"], answer=last, logprobs=scores, adapter=used)
                if last is not None:
                    return
        raise EngineError("llama.cpp closed the connection in the middle of an answer")

    def _answer(self, request: Completion, reach: Reach, result: Mapping[str, Any], begun: float) -> Answer:
        label = wire.forced(request.sampling, result)
        return Answer(
            text=result["content"] if label is None else label,
            input_tokens=result["tokens_evaluated"],
            output_tokens=result["tokens_predicted"] if label is None else self._trees.count(label),
            cached_tokens=result["timings"]["cache_n"],
            finish_reason="length" if result["stop_type"] == "limit" else "stop",
            latency_ms=(time.monotonic() - begun) * 1000,
            adapter=_used(request, reach),
            logprobs=wire.logprobs(result),
        )

    def _post(self, path: str, body: object) -> tuple[Reach, Any]:
        """A request that takes no slot, to any child."""
        able = [replica for replica in self._replicas if replica.ready] or self._replicas
        for replica in able * _ATTEMPTS:
            try:
                return replica.post(path, body)
            except GoneError as error:
                cause = error
        raise EngineError(f"llama.cpp went away before it answered ({cause})")


def _used(request: Completion, reach: Reach) -> str | None:
    """The SHA-256 of the adapter file that this child loaded under the request's name for it."""
    return reach.digests[request.adapter] if request.adapter is not None else None


def _setup(weights: Path, settings: Settings) -> Setup:
    return Setup(
        weights=str(weights),
        secret="",
        slots=settings.slots,
        context=settings.context,
        batch=settings.batch,
        threads=settings.threads or min(os.cpu_count() or 1, _MOST_THREADS),
        speculate=settings.speculate,
    )
