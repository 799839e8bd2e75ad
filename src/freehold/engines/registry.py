"""The engines by name. A stranger's plug-in comes in through the same door: a row of this dict."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from freehold.engines.environments import VLLM_INSTALL, vllm_version
from freehold.errors import MissingPackageError, NotFoundError, did_you_mean


class Kind(NamedTuple):
    """An engine: `module:class`, the package that it stands on (None: nothing more), and how that is installed."""

    target: str
    package: str | None
    install: str
    what: str


ENGINES: dict[str, Kind] = {
    "llamacpp": Kind(
        "freehold.engines.llamacpp:LlamaCpp", "xllamacpp", "pip install xllamacpp", "llama.cpp in a child process"
    ),
    "vllm": Kind(
        "freehold.engines.vllm:Vllm", "vllm", VLLM_INSTALL, "many adapters in one batch; of its own environment"
    ),
    "remote": Kind("freehold.engines.remote:Remote", None, "", "any OpenAI-compatible API"),
    "fake": Kind("freehold.engines.fake:Fake", None, "", "fixed answers, for tests and dry runs"),
}


def engine(name: str) -> Any:  # noqa: ANN401 (an engine's class; each takes its own arguments)
    """The class of an engine; raises `NotFoundError`, or `MissingPackageError` with the install line."""
    kind = ENGINES.get(name)
    if kind is None:
        raise NotFoundError(f"{name}: no such engine{did_you_mean(name, ENGINES)}; there are {', '.join(ENGINES)}")
    if installed(kind) is None:
        raise MissingPackageError(f"the engine {name} needs {kind.package}; install it with: {kind.install}")
    module, _, attribute = kind.target.partition(":")
    return getattr(import_module(module), attribute)


def installed(kind: Kind) -> str | None:
    """The version of what an engine stands on; None where it is missing."""
    if kind.package == "vllm":
        return vllm_version()
    try:
        return version(kind.package or "freehold")
    except PackageNotFoundError:
        return None if kind.package else "-"
