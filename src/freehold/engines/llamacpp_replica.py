"""llama.cpp's server as a child: xllamacpp's inside a Python process, or a native `llama-server`."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from freehold.engines.adapters import AdapterFiles
from freehold.engines.llamacpp_child import AdapterFile, Outcome, Ready, Setup
from freehold.engines.llamacpp_wire import refusal
from freehold.engines.program_child import Program
from freehold.engines.replica import Reach
from freehold.engines.supervise import Child
from freehold.errors import EngineError, MissingPackageError, ModelFileError, UserError
from freehold.store.workspace import file_sha256

# libgomp's threads sleep while they wait: spinning ones stop all work as soon as another process wants a core
# (measured on 2 cores beside one busy process: 1.2 requests/s against fewer than 0.1).
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}


@dataclass(frozen=True)
class LlamaServer:
    """A `replica.Server`. `setup` says how the machine is used; its secret and adapters are filled in here.

    `program` is a native `llama-server`; None: the one inside xllamacpp. `sha256` is what the weights must have at each
    start, where they are a copy that an adapter was merged into.
    """

    setup: Setup
    adapters: AdapterFiles
    log: Path | None = None
    program: str | None = None
    sha256: str | None = None
    pulse: str = "/slots"  # `/health` does not go through the main loop

    @property
    def name(self) -> str:
        return f"llamacpp ({Path(self.setup.weights).name})"

    def launch(self) -> tuple[Child, Reach]:
        if not Path(self.setup.weights).is_file():
            raise ModelFileError(f"{self.setup.weights}: no such model file; `freehold pull` fetches it")
        if self.sha256 is not None and file_sha256(Path(self.setup.weights)) != self.sha256:
            raise ModelFileError(f"{self.setup.weights}: is not the copy that was merged; delete it, it is made again")
        digests = self.adapters.checked()
        files = tuple(AdapterFile(str(path)) for path in self.adapters.paths.values())
        setup = msgspec.structs.replace(self.setup, adapters=files, secret=secrets.token_urlsafe(32))
        return (child := self._child(setup)), _reached(child, setup.secret, digests)

    def refusal(self, status: int, content: bytes) -> EngineError | UserError:
        return refusal(status, content)

    def _child(self, setup: Setup) -> Child:
        if self.program is None:
            return Child("freehold.engines.llamacpp_child", msgspec.json.encode(setup), self.log, _ENVIRONMENT)
        run = Program(command=(self.program, *_options(setup)), secret=setup.secret)
        return Child("freehold.engines.program_child", msgspec.json.encode(run), self.log, _ENVIRONMENT)


def _options(setup: Setup) -> list[str]:
    """What `llamacpp_child` sets on xllamacpp's server, as options of the program."""
    options = {
        "model": setup.weights,
        "host": "127.0.0.1",
        "port": "{port}",
        "api-key-file": "{keys}",
        "parallel": setup.slots,
        "ctx-size": setup.slots * setup.context,
        "batch-size": setup.batch,
        "ubatch-size": setup.batch,
        "threads": setup.threads,
        "threads-batch": setup.threads,
        "threads-http": setup.slots + 4,
        "fit": "off",
        "cache-ram": 0,
        "lora": ",".join(each.path for each in setup.adapters),
        "spec-type": setup.speculate,
    }
    words = [word for name, value in options.items() if value not in (None, "") for word in (f"--{name}", str(value))]
    flags = ["--slots", "--no-ui", "--offline", "--lora-init-without-apply", "--no-warmup"]  # its first probe is one
    return [*flags, *words, *(["--embedding"] if setup.embedding else [])]


def _reached(child: Child, secret: str, digests: Mapping[str, str]) -> Reach:
    """Wait for the child's report; raises where it could not start."""
    line = child.report()
    if line is None:
        code = child.wait()
        raise EngineError(f"llama.cpp ended while starting (exit code {code}): {child.last_words()[-600:]}")
    outcome = msgspec.json.decode(line, type=Outcome)
    if isinstance(outcome, Ready):
        parts = urlsplit(outcome.address)
        return Reach(parts.hostname or "127.0.0.1", parts.port or 0, secret, digests)
    child.end()
    if "No module named" in outcome.reason:
        raise MissingPackageError("the embedded engine needs xllamacpp; install it with: pip install xllamacpp")
    raise ModelFileError(f"llama.cpp refuses to start: {outcome.reason}; {_telling(child.last_words())}")


def _telling(words: str) -> str:
    """The lines of a log that say what went wrong."""
    lines = [line for line in words.splitlines() if " E " in line or "error" in line.lower() or "fail" in line.lower()]
    return " · ".join(lines[:3]) or "see the log"
