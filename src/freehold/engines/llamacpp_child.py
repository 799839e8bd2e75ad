"""The child process that llama.cpp's server lives in: `python -m freehold.engines.llamacpp_child`.

It reads one line of JSON (`Setup`) from standard input, starts, and answers one line (`Outcome`) on standard output.
Then it waits for the end of standard input: the parent holds the other end, so the child ends when its parent does,
`kill -9` included. (PR_SET_PDEATHSIG would not do: it fires when the *thread* that started the child ends.) The secret
comes through that pipe too, never on a command line that other users can read.
"""

import os
import signal
import sys

import msgspec


class AdapterFile(msgspec.Struct, frozen=True):
    """An adapter as it lies on disk. Its place in the list is the id by which requests name it."""

    path: str


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What to load and how. `context` is tokens a slot, `batch` tokens a step of the graph; `embedding` models answer
    with vectors; `speculate` is llama.cpp's name of a method of speculative decoding.
    """

    weights: str
    adapters: tuple[AdapterFile, ...] = ()
    secret: str
    slots: int
    context: int
    batch: int
    threads: int
    embedding: bool = False
    speculate: str | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The server answers at this address."""

    address: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The server could not start."""

    reason: str


Outcome = Ready | Refused


def main() -> None:
    """Start, report, and live until the parent's end of the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when this ends
    report = os.dup(1)
    os.dup2(2, 1)  # llama.cpp may print; nothing but the report goes up the pipe
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=Setup)
    try:
        _server, address = _serve(setup)  # held: it ends when it is collected
    except Exception as error:  # the binding raises bare RuntimeError
        write(report, Refused(str(error)))
        os._exit(2)
    write(report, Ready(address))
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)  # at once: llama.cpp's own farewell waits for its connections, and there is nothing to save


def _serve(setup: Setup) -> tuple[object, str]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = setup.weights
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [setup.secret]
    params.ui = False
    params.endpoint_slots = True  # answered by the main loop: how a hang is told
    params.n_parallel = setup.slots
    params.n_ctx = setup.slots * setup.context
    params.n_batch = setup.batch
    params.n_ubatch = setup.batch
    params.cpuparams.n_threads = setup.threads
    params.cpuparams_batch.n_threads = setup.threads
    params.n_threads_http = setup.slots + 4
    params.embedding = setup.embedding
    params.fit_params = False  # what was asked for, or a refusal: never a smaller context in silence
    params.cache_ram_mib = 0  # slots keep their own prefix; copies of it cost memory and time here
    params.lora_init_without_apply = True
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(each.path, 1.0) for each in setup.adapters]
    if setup.speculate:
        params.speculative.types = [_speculation(setup.speculate)]
    server = xllamacpp.Server(params)
    return server, server.listening_address


def _speculation(name: str) -> object:
    """The binding's constant for llama.cpp's name of a method; raises `RuntimeError` where it has none."""
    import xllamacpp

    prefix = "COMMON_SPECULATIVE_TYPE_"
    kinds = {str(kind.name).removeprefix(prefix): kind for kind in xllamacpp.common_speculative_type}
    found = kinds.get(name.replace("-", "_").upper())
    if found is None:
        raise RuntimeError(f"{name} is no method of speculative decoding; there are {', '.join(sorted(kinds)).lower()}")
    return found


def write(report: int, outcome: Outcome) -> None:
    """Tell the parent."""
    os.write(report, msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main()
