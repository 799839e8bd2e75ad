"""vLLM in an environment and a process of its own: many adapters in one batch, loaded while it runs.

It is found by $FREEHOLD_VLLM (the folder of a virtual environment) or in `environments.folder()`. Prompts go to its
`/v1/completions` as token ids. An adapter is a PEFT folder; it is loaded under its digest when first asked for, and
every answer names the model that gave it, so which adapter answered is vLLM's word and not ours.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from freehold.engines import vllm_wire as wire
from freehold.engines.adapters import adapter_sha256
from freehold.engines.engine import Address, Answer, Completion, Labels, Piece
from freehold.engines.label_trie import Labelled, Trees
from freehold.engines.replica import GoneError, Replica
from freehold.engines.vllm_server import VllmServer
from freehold.errors import EngineError, ModelFileError, NotFoundError, UserError
from freehold.records import Record

_ATTEMPTS = 2
ADAPTER_WEIGHTS = "adapter_model.safetensors"


class VllmSettings(Record, frozen=True, kw_only=True):
    """How the engine uses the machine: requests at once, tokens of context a request, adapters in one batch and their
    highest rank, gigabytes for keys and values, and the log that keeps what it says.
    """

    slots: int = 16
    context: int = 1024
    adapters: int = 4
    rank: int = 64
    cache_gb: int = 1
    hang_s: float = 120.0
    log: str | None = None


class Vllm:
    """A `LocalEngine` over a folder of safetensors (as `freehold export` writes one) and PEFT adapters.

    `adapters` maps the name that a request gives to a folder; `digests` names the SHA-256 that its weights must have:
    checked each time they are loaded, and refused (`ModelFileError`) where they differ.
    """

    def __init__(
        self,
        folder: Path,
        adapters: Mapping[str, Path] | None = None,
        settings: VllmSettings | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings or VllmSettings()
        self._adapters, self._digests = dict(adapters or {}), dict(digests or {})
        self._replica = Replica(VllmServer(folder, self._settings), self._settings.hang_s)
        self._trees = Trees(self.tokenize)
        self._loaded: dict[str, dict[str, str]] = {}  # by the secret of a life: names and digests

    def start(self) -> None:
        self._replica.start()

    def stop(self) -> None:
        self._replica.stop()

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._replica.pid

    @property
    def restarts(self) -> int:
        """How often the child had to be started again."""
        return self._replica.restarts

    def address(self) -> Address:
        return self._replica.reach().address

    def tokenize(self, text: str) -> Sequence[int]:
        body = {"model": wire.BASE, "prompt": text, "add_special_tokens": False}
        return tuple(self._replica.post("/tokenize", body)[1]["tokens"])

    def ask_each(self, request: Completion) -> list[Answer]:
        """The answer of its one child."""
        return [self.complete(request)]

    def complete(self, request: Completion) -> Answer:
        begun, cause = time.monotonic(), ""
        body = self._body(request)
        tree = self._trees.of(request.sampling)
        for _ in range(_ATTEMPTS):  # again where the child went away: nothing was delivered yet
            try:
                model = self._model(request.adapter)
                if tree is not None:
                    return self._label(request, tree, body | {"model": model}, begun)
                _, result = self._replica.post("/v1/completions", body | {"model": model})
            except GoneError as error:
                cause = str(error)
                continue
            return self._counted(request, self._answer(result, model, (time.monotonic() - begun) * 1000))
        raise EngineError(f"vLLM went away {_ATTEMPTS} times before it answered ({cause})")

    def _label(self, request: Completion, tree: Labelled, body: dict[str, Any], begun: float) -> Answer:
        """A label, decoded at the forks of its tree only."""
        first, token = self._fork(request, tree, body)
        tree = tree.after(token)
        while tree.label is None:
            tree = tree.after(self._fork(request, tree, body)[1])
        answer = self._answer(first, body["model"], (time.monotonic() - begun) * 1000)
        counted = self._trees.count(tree.label)
        return replace(answer, text=tree.label, output_tokens=counted, finish_reason="stop", logprobs=())

    def _fork(self, request: Completion, tree: Labelled, body: dict[str, Any]) -> tuple[Any, int]:
        asked = body | wire.choice(tree.next) | {"prompt": request.prompt + tree.so_far}
        _, result = self._replica.post("/v1/completions", asked)
        token = wire.chosen(result)
        if token not in tree.next:
            raise EngineError("vLLM decoded a token that the labels forbid")
        return result, token

    def _counted(self, request: Completion, answer: Answer) -> Answer:
        """A whole label is counted as the tokenizer would, however the grammar spelt it."""
        whole = isinstance(request.sampling.constraint, Labels) and answer.finish_reason == "stop"
        if not whole or request.sampling.stop:
            return answer
        return replace(answer, output_tokens=self._trees.count(answer.text))

    def stream(self, request: Completion) -> Iterator[Piece]:
        if self._trees.of(request.sampling) is not None:  # whole at once: nothing of it is known before its forks are
            answer = self.complete(request)
            yield Piece(text=answer.text, answer=answer, adapter=answer.adapter)
            return
        begun, text, ended = time.monotonic(), "", ""
        model = self._model(request.adapter)
        asked = self._body(request) | {"model": model, "stream": True, "stream_options": {"include_usage": True}}
        for _, event in self._replica.events("/v1/completions", asked):
            if "error" in event:
                raise EngineError(f"vLLM stopped in the middle of an answer: {event['error'].get('message')}")
            if event.get("usage"):  # the last event: everything is said
                whole = {"text": text, "finish_reason": ended, "logprobs": None}
                answer = self._answer(event | {"choices": [whole]}, model, (time.monotonic() - begun) * 1000)
                yield Piece(text="", answer=answer, adapter=answer.adapter)
                return
            choice = event["choices"][0]
            text, ended = text + choice["text"], choice.get("finish_reason") or ended
            yield Piece(text=choice["text"])
        raise EngineError("vLLM closed the connection in the middle of an answer")

    def _body(self, request: Completion) -> dict[str, Any]:
        if not request.prompt:
            raise UserError("the prompt is empty; an engine needs at least one token")
        room = self._settings.context - len(request.prompt)
        if room < 1:
            raise UserError(
                f"the prompt has {len(request.prompt)} tokens and this engine's context holds "
                f"{self._settings.context}; shorten the messages or serve with a longer context"
            )
        return wire.body(request, room)

    def _model(self, adapter: str | None) -> str:
        """The name under which vLLM serves it: its digest. Loaded where this life of the child has not got it yet."""
        if adapter is None:
            return wire.BASE
        if adapter not in self._adapters:
            raise NotFoundError(f"adapter {adapter} is not loaded in this engine; it has {sorted(self._adapters)}")
        reach = self._replica.reach()
        known = self._loaded.setdefault(reach.secret, {})
        if adapter not in known:
            known[adapter] = self._load(adapter)
        return known[adapter]

    def _load(self, adapter: str) -> str:
        folder = self._adapters[adapter]
        digest = adapter_sha256(adapter, folder / ADAPTER_WEIGHTS)
        if self._digests.get(adapter, digest) != digest:
            raise ModelFileError(
                f"{folder}: is not the adapter {adapter} that was recorded (SHA-256 {digest[:12]}, recorded "
                f"{self._digests[adapter][:12]}); export it again"
            )
        try:
            self._replica.send("/v1/load_lora_adapter", {"lora_name": digest, "lora_path": str(folder.resolve())})
        except (UserError, EngineError) as error:
            if "already been loaded" not in str(error):
                raise ModelFileError(f"{folder}: vLLM cannot load the adapter {adapter}: {error}") from None
        return digest

    def _answer(self, result: Mapping[str, Any], model: str, latency_ms: float) -> Answer:
        if result["model"] != model:
            raise EngineError(f"vLLM answered with {result['model'][:12]} where {model[:12]} was asked")
        return wire.answer(result, latency_ms, self._text_of)

    def _text_of(self, token: int) -> str:
        return str(self._replica.post("/detokenize", {"model": wire.BASE, "tokens": [token]})[1]["prompt"])
