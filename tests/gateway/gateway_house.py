"""A gateway in this process, an engine that speaks the child's dialect, and a workspace with a tiny base."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from sqlalchemy import Engine as Store

from freehold.engines.engine import Address, Answer, Completion, Labels
from freehold.gateway.serve import Backends, Settings, serving
from freehold.render import TEMPLATE_FILE, TOKENIZER_FILE, ChatTemplate
from freehold.store.database import connect
from freehold.store.workspace import Workspace

TEMPLATE = ChatTemplate(
    source="{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    bos_token="",
    eos_token="<|end|>",
    special_tokens=("<|end|>",),
)


def make_base(workspace: Workspace, name: str = "tiny") -> None:
    """A base's folder with a byte-level tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {letter: at for at, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    folder = workspace.models / name
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    (folder / TEMPLATE_FILE).write_bytes(msgspec.json.encode(TEMPLATE))


class TalkingEngine:
    """An engine whose child answers a fixed text, over real HTTP; `crash` closes its port as a dead child would."""

    def __init__(self, base: str, adapters: tuple[str, ...], words: Sequence[str] = ("pay", "roll")) -> None:
        self.base, self.adapters, self.words = base, adapters, words
        self.requests: list[dict[str, Any]] = []
        self.pause_s = 0.0
        self.break_after: int | None = None
        self.stopped = 0
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                engine.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = msgspec.json.decode(handler.rfile.read(int(handler.headers["content-length"])))
        self.requests.append(request)
        counts = {"prompt_tokens": len(request["prompt"]), "completion_tokens": len(self.words)}
        handler.send_response(200 if handler.headers["authorization"] == "Bearer hush" else 401)
        handler.end_headers()
        if not request["stream"]:
            threading.Event().wait(self.pause_s)
            choice = {"text": "".join(self.words), "finish_reason": "stop"}
            handler.wfile.write(msgspec.json.encode({"choices": [choice], "usage": counts}))
            return
        for at, word in enumerate(self.words):
            if self.break_after == at:
                return
            threading.Event().wait(self.pause_s)
            self._event(handler, {"choices": [{"text": word, "finish_reason": None}]})
        self._event(handler, {"choices": [{"text": "", "finish_reason": "stop"}]})
        self._event(handler, {"choices": [], "usage": counts})
        handler.wfile.write(b"data: [DONE]\n\n")

    def _event(self, handler: BaseHTTPRequestHandler, value: object) -> None:
        handler.wfile.write(b"data: " + msgspec.json.encode(value) + b"\n\n")

    def crash(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def complete(self, request: Completion) -> Answer:
        raise NotImplementedError(request)

    def tokenize(self, text: str) -> Sequence[int]:
        return list(text.encode())

    def address(self) -> Address:
        assert self._server is not None
        return Address(url=f"http://127.0.0.1:{self._server.server_port}/v1", secret="hush")

    def stop(self) -> None:
        self.stopped += 1
        self.crash()


def body_of(completion: Completion, stream: bool, adapters: tuple[str, ...]) -> dict[str, Any]:
    constraint = completion.sampling.constraint
    return {
        "prompt": completion.prompt,
        "stream": stream,
        "max_tokens": completion.sampling.max_tokens,
        "labels": constraint.labels if isinstance(constraint, Labels) else None,
        "adapter": adapters.index(completion.adapter) if completion.adapter else None,
    }


class FirstWord:
    """A classifier that answers the first word."""

    def answer(self, text: str) -> tuple[str, float]:
        return text.split()[0], 1.0


class House:
    """A running gateway and what is behind it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.store: Store = connect(workspace.database_url)
        self.engines: list[TalkingEngine] = []
        self.settings = Settings(port=free_port())
        self.backends = Backends(engine_for=self._engine, body_of=body_of, load_classifier=lambda _: FirstWord())

    @property
    def url(self) -> str:
        return self.settings.url

    def _engine(self, base: str, adapters: tuple[str, ...]) -> TalkingEngine:
        self.engines.append(TalkingEngine(base, adapters))
        return self.engines[-1]

    @contextmanager
    def open(self) -> Iterator["House"]:
        """Serve in a thread while the block runs."""
        started, failures = threading.Event(), []
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()

        async def run() -> None:
            try:
                async with serving(self.workspace, self.settings, self.backends):
                    started.set()
                    await stop.wait()
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                started.set()

        thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
        thread.start()
        started.wait()
        try:
            if not failures:
                yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()
        if failures:
            raise failures[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
