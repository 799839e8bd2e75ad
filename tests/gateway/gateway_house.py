"""A gateway in this process, an engine that speaks the child's dialect, and a workspace with a tiny base."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from hashlib import sha256
from typing import Any

import msgspec

from freehold.engines.engine import Answer, Completion, Piece
from freehold.errors import EngineError
from freehold.gateway.backends import Backends
from freehold.gateway.fake_upstream import Dials, FakeUpstream
from freehold.gateway.http_server import Address, listening
from freehold.gateway.keeper import recover
from freehold.gateway.serve import Settings, serving
from freehold.records import AdapterManifest, Base, BaseFile
from freehold.render import TEMPLATE_FILE, TOKENIZER_FILE, ChatTemplate
from freehold.store.database import Store, connect
from freehold.store.deployments import Deployment, deploy
from freehold.store.exchanges import Attempt, Exchange, found, listed
from freehold.store.workspace import Workspace, write_record
from freehold.tuning.adapter import ADAPTER_FILE

TEMPLATE = ChatTemplate(
    source="{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    bos_token="",
    eos_token="<|end|>",
    special_tokens=("<|end|>",),
)


# As Qwen's and Hermes' published templates write tools and their calls, in fewer words.
TOOL_TEMPLATE = ChatTemplate(
    source="""{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}You may call functions:
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
Answer with a call: <tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.role != 'system' %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}""",
    bos_token="<|im_start|>",
    eos_token="<|im_end|>",
    special_tokens=("<|im_start|>", "<|im_end|>"),
)


def make_base(workspace: Workspace, name: str = "tiny", template: ChatTemplate = TEMPLATE) -> None:
    """A base's folder with a byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {letter: at for at, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([template.eos_token])
    folder = workspace.models / name
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    (folder / TEMPLATE_FILE).write_bytes(msgspec.json.encode(template))
    (folder / "base.json").write_bytes(msgspec.json.encode(base_record(name)))


def base_record(name: str) -> Base:
    return Base(
        name=name,
        digest="b" * 64,
        architecture="llama",
        parameters=1,
        context_length=2048,
        licence="apache-2.0",
        weights=BaseFile(name="weights.gguf", sha256="e" * 64, size=1, source="test"),
        template_digest=TEMPLATE.digest,
    )


def make_adapter(workspace: Workspace, digest: str, base: str = "tiny", template: str = TEMPLATE.digest) -> None:
    """An adapter's manifest, as tuning leaves it; `base` and `template` may be made to differ."""
    manifest = AdapterManifest(
        digest=digest,
        task="triage",
        base="tiny",
        base_digest=base_record(base).digest if base == "tiny" else "f" * 64,
        dataset="d" * 64,
        recipe={},
        render={},
        render_digest="r",
        seed=0,
        versions={},
        template_digest=template,
        weights_sha256=sha256(b"weights").hexdigest(),
        losses=(),
        best_step=1,
        seconds=1.0,
        tokens_per_second=1.0,
        peak_memory_bytes=1,
    )
    write_record(workspace.adapters / digest / "manifest.json", manifest)
    (workspace.adapters / digest / ADAPTER_FILE).write_bytes(b"weights")


class TalkingEngine:
    """An engine that answers a fixed text, slowly or brokenly where a test says so."""

    def __init__(self, base: str, adapters: tuple[str, ...], words: Sequence[str] = ("pay", "roll")) -> None:
        self.base, self.adapters, self.words = base, adapters, words
        self.requests: list[Completion] = []
        self.pause_s = 0.0
        self.break_after: int | None = None
        self.stopped = 0
        self.cut = threading.Event()

    def start(self) -> None:
        pass

    def complete(self, request: Completion) -> Answer:
        *_, last = self.stream(request)
        assert last.answer is not None
        return last.answer

    def stream(self, request: Completion) -> Iterator[Piece]:
        self.requests.append(request)
        try:
            for at, word in enumerate(self.words):
                if self.break_after == at:
                    raise EngineError("the child broke off")
                time.sleep(self.pause_s)
                yield Piece(text=word)
            yield Piece(text="", answer=self._answer(request))
        except GeneratorExit:
            self.cut.set()
            raise

    def _answer(self, request: Completion) -> Answer:
        return Answer(
            text="".join(self.words),
            input_tokens=len(request.prompt),
            output_tokens=len(self.words),
            cached_tokens=0,
            finish_reason="stop",
            latency_ms=1.0,
            adapter=request.adapter,
        )

    def tokenize(self, text: str) -> Sequence[int]:
        return list(text.encode())

    def stop(self) -> None:
        self.stopped += 1


class RunningUpstream:
    """The fake upstream that ships, on a port of its own; `dials` may be turned while it runs."""

    def __init__(self) -> None:
        self.app = FakeUpstream(Dials())
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def turn(self, **dials: float | bool | None) -> None:
        self.app.dials = Dials(**dials)  # type: ignore[arg-type]

    @contextmanager
    def open(self) -> Iterator["RunningUpstream"]:
        with in_thread(lambda: listening(self.app, Address("127.0.0.1", self.port))):
            yield self


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
        self.backends = Backends(engine_for=self._engine, load_classifier=lambda _: FirstWord())

    @property
    def url(self) -> str:
        return self.settings.url

    def _engine(self, base: str, adapters: tuple[str, ...]) -> TalkingEngine:
        self.engines.append(TalkingEngine(base, adapters))
        return self.engines[-1]

    @contextmanager
    def open(self) -> Iterator["House"]:
        """Serve in a thread while the block runs; what was asked is in the store behind it."""
        with in_thread(self._serving):
            yield self

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        async with serving(self.workspace, self.settings, self.backends) as self._roster:
            yield

    def deploy(self, deployment: Deployment) -> None:
        """Deploy, and wait until the running gateway follows."""
        row, until = deploy(self.store, deployment, "test"), time.monotonic() + 30
        while self._roster.revision < row:
            assert time.monotonic() < until, "the gateway does not follow"
            time.sleep(0.02)

    def kept(self) -> list[Exchange]:
        """What is recorded so far, newest first."""
        recover(self.workspace.root / "journal", self.store)
        return listed(self.store, 10_000)

    def soon_kept(self) -> list[Exchange]:
        """As `kept`, once there is any: no answer tells whoever hung up that its exchange is written."""
        end = time.monotonic() + 10
        while not (kept := self.kept()) and time.monotonic() < end:
            time.sleep(0.05)
        return kept

    def attempts(self) -> list[Attempt]:
        """The attempts of everything recorded so far, oldest first."""
        return [each for exchange in reversed(self.kept()) for each in found(self.store, exchange.id)[1]]


@contextmanager
def in_thread(work: Callable[[], AbstractAsyncContextManager[Any]]) -> Iterator[None]:
    """Hold an asynchronous context open in a thread with a loop of its own."""
    started, failures = threading.Event(), []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        try:
            async with work():
                started.set()
                await stop.wait()
        except BaseException as error:
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    started.wait()
    try:
        if not failures:
            yield
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
