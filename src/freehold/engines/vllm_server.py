"""vLLM's server as a child: which Python runs it, with what options."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from freehold.engines import environments, vllm_boot
from freehold.engines.llamacpp_child import Outcome, Ready
from freehold.engines.program_child import Program
from freehold.engines.replica import Reach
from freehold.engines.supervise import Child
from freehold.engines.vllm_wire import BASE, refusal
from freehold.errors import EngineError, MissingPackageError, ModelFileError, UserError

if TYPE_CHECKING:
    from freehold.engines.vllm import VllmSettings

_READY_S = 900.0  # it imports slowly, and more so on a machine at work
_STRUCTURED = {"backend": "xgrammar", "disable_any_whitespace": True}


@dataclass(frozen=True)
class VllmServer:
    """A `replica.Server` over a folder of safetensors."""

    folder: Path
    settings: "VllmSettings"
    pulse: str = "/v1/models"
    name: str = "vllm"

    def launch(self) -> tuple[Child, Reach]:
        if not (self.folder / "config.json").is_file():
            raise ModelFileError(f"{self.folder}: no config.json; vLLM serves a folder that `freehold export` wrote")
        python = environments.vllm_python()
        if python is None:
            raise MissingPackageError(f"the engine vllm needs vLLM; install it with: {environments.VLLM_INSTALL}")
        secret = secrets.token_urlsafe(32)
        run = Program(command=self._command(python), secret=secret, environment=self._environment(), ready_s=_READY_S)
        log = Path(self.settings.log) if self.settings.log else None
        child = Child("freehold.engines.program_child", msgspec.json.encode(run), log)
        return child, _reached(child, secret)

    def refusal(self, status: int, content: bytes) -> EngineError | UserError:
        return refusal(status, content)

    def _command(self, python: Path) -> tuple[str, ...]:
        options = {
            "model": self.folder.resolve(),
            "served-model-name": BASE,
            "host": "127.0.0.1",
            "port": "{port}",
            "max-model-len": self.settings.context,
            "max-num-seqs": self.settings.slots,
            "max-loras": self.settings.adapters,
            "max-lora-rank": self.settings.rank,
            "structured-outputs-config": json.dumps(_STRUCTURED),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        flags = ["--enforce-eager", "--enable-lora", "--enable-prefix-caching", "--enable-prompt-tokens-details"]
        return str(python), str(vllm_boot.__file__), "{keys}", *flags, *words

    def _environment(self) -> dict[str, str]:
        return {
            "VLLM_CPU_KVCACHE_SPACE": str(self.settings.cache_gb),
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",  # its server is ours alone, behind a secret
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "TORCHDYNAMO_DISABLE": "1",  # compiling takes minutes at the first question for log-probabilities
            "OMP_WAIT_POLICY": "passive",
            "PYTHONPATH": "",  # its environment is its own
        }


def _reached(child: Child, secret: str) -> Reach:
    line = child.report()
    if line is None:
        raise EngineError(f"vLLM ended while starting (exit code {child.wait()}): {child.last_words()[-600:]}")
    outcome = msgspec.json.decode(line, type=Outcome)
    if isinstance(outcome, Ready):
        parts = urlsplit(outcome.address)
        return Reach(parts.hostname or "127.0.0.1", parts.port or 0, secret, {})
    child.end()
    raise EngineError(f"vLLM cannot start: {outcome.reason}; {child.last_words()[-600:]}")
