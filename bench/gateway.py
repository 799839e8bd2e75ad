"""What the gateway costs in time, beside LiteLLM's proxy, llm-distillery's and a bare nginx, against one fake upstream.

    python bench/gateway.py [--seconds 8] [--rounds 3] [--litellm VENV/bin/litellm] [--distillery VENV/bin/distillery]

Ours runs with everything on: a key with a budget, metering, redaction, durable capture. LiteLLM runs with a master key
and no database, so without budgets and without capture; llm-distillery captures (to SQLite), without keys, budgets or
redaction on the way. One worker each; all are up at once, and each round measures one after the other. The throughput
upstream is nginx with a fixed answer, the load is wrk's; at a constant rate `load.c` (built here with cc) sends each
request when it is due and counts from then, so that nothing a slow answer delays is left out. Needs `wrk`, `nginx` and
`cc` on PATH (Debian: apt install wrk nginx-light gcc). Load, upstream and gateway share the machine's cores.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":'
    '{"role":"assistant","content":"the owned model answers in a few plain words about payroll and safety"},'
    '"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":60,"completion_tokens":12,"total_tokens":72}}'
)
BODY = json.dumps(
    {
        "model": "gpt-4o-mini",
        "max_tokens": 64,
        "messages": [
            {"role": "system", "content": "Route messages from frontline workers: payroll, safety, scheduling."},
            {
                "role": "user",
                "content": "hi its Dana from store 114, my payslip is missing the overtime from last saturday, "
                "can somebody call me on +49 30 901820 or write to dana@example.com please",
            },
        ],
    }
)
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream up {{ server 127.0.0.1:{up}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ {answer} }} }} }}
"""
WRK = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {key}"
wrk.body = [==[{body}]==]
"""


OURS = "freehold, everything on"
QUIET = 0.01  # of the machine's time, taken by its host during one measurement


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], at: int, folder: Path, wait_s: float = 90, **environment: str) -> Iterator[int]:
    """A server in a process of its own, until the block ends; yields its port."""
    with (folder / f"{at}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    try:
        end = time.monotonic() + wait_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", at), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise SystemExit((folder / f"{at}.log").read_text()[-2000:]) from None
                time.sleep(0.1)
        time.sleep(1.0)
        yield at
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def nginx(folder: Path, at: int, answer: str, up: int = 1) -> list[str]:
    own = folder / f"nginx-{at}"
    own.mkdir()
    (own / "nginx.conf").write_text(NGINX.format(folder=own, port=at, up=up, answer=answer))
    return ["nginx", "-c", str(own / "nginx.conf")]


def freehold(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from freehold.cli.main import main; main()", *arguments]


def throughput(folder: Path, at: int, key: str, seconds: int) -> tuple[float, float]:
    """Requests a second at 32 connections, and how many of them failed a second."""
    script = folder / f"wrk-{at}.lua"
    script.write_text(WRK.format(key=key, body=BODY))
    command = ["wrk", "-t1", "-c32", f"-d{seconds}", "--timeout", "20s", "-s", str(script)]
    out = subprocess.run(
        [*command, f"http://127.0.0.1:{at}/v1/chat/completions"], capture_output=True, text=True, check=True
    ).stdout
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert rate is not None, out
    return float(rate[1]), int(wrong[1]) / seconds if wrong else 0.0


class Rate:
    """Latencies at a constant rate, direct and through the gateway by turns."""

    def __init__(self, folder: Path, title: str, rate: int, stream: bool) -> None:
        self._folder, self._title, self._rate, self._stream = folder, title, rate, stream
        self._taken: dict[str, list[tuple[float, list[float]]]] = {"direct": [], "through": []}
        self._failed = 0

    def measure(self, way: str, at: int, key: str, seconds: int) -> None:
        body = (BODY[:-1] + ', "stream": true}' if self._stream else BODY).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{at}\r\nauthorization: Bearer {key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        request = self._folder / "request"
        request.write_bytes(head.encode() + body)
        command = [str(self._folder / "load"), str(at), str(self._rate), str(seconds), str(request)]
        before = stolen_s()
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        stolen = (stolen_s() - before) / (seconds * (os.cpu_count() or 1))
        taken = []
        for first, last, failed in (line.split() for line in lines):
            self._failed += failed == "1"
            taken.append(int(first if self._stream else last) / 1000)
        self._taken[way].append((stolen, taken))

    def report(self) -> None:
        """Of every round, and of those in which the host left this machine its time."""
        self._quantiles("every round", 1.0)
        quiet = sum(stolen < QUIET for stolen, _ in self._taken["through"])
        if quiet and any(stolen < QUIET for stolen, _ in self._taken["direct"]):
            self._quantiles(f"the {quiet} rounds of which the host took less than {QUIET:.0%}", QUIET)
        if self._failed:
            print(f"  {self._failed} FAILED")

    def _quantiles(self, which: str, most: float) -> None:
        direct, through = (
            sorted(each for stolen, taken in self._taken[way] if stolen < most for each in taken)
            for way in ("direct", "through")
        )
        print(f"\n{self._title} at {self._rate}/s, ms (n {len(direct):,} direct, {len(through):,} through); {which}")
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
            own, ours = _quantile(direct, share), _quantile(through, share)
            print(f"  {name:<6} direct {own:7.2f}   through {ours:7.2f}   added {ours - own:7.2f}")


def stolen_s() -> float:
    """Processor seconds that the host has taken from this machine so far (`steal` of Linux's /proc/stat)."""
    return float(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")


def _quantile(taken: Sequence[float], share: float) -> float:
    return taken[min(len(taken) - 1, int(len(taken) * share))]


def flush_ms(folder: Path) -> tuple[float, float]:
    """What one flush of this disk takes, p50 and p99: no durable answer can be quicker."""
    file = os.open(folder / "flush", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    taken = []
    for _ in range(500):
        os.write(file, b"x" * 2000)
        begun = time.perf_counter()
        os.fdatasync(file)
        taken.append((time.perf_counter() - begun) * 1000)
    os.close(file)
    return median(taken), _quantile(sorted(taken), 0.99)


def with_key(folder: Path) -> str:
    """A workspace with one key that has a budget; returns the key."""
    command = freehold("keys", "create", "bench", "--budget", "100000 USD", "--json")
    environment = {**os.environ, "FREEHOLD_HOME": str(folder)}
    key: str = json.loads(subprocess.check_output(command, env=environment))["key"]
    return key


def litellm_config(folder: Path, up: int) -> Path:
    config = folder / "litellm.yaml"
    model = f"{{model: openai/gpt-4o-mini, api_base: 'http://127.0.0.1:{up}/v1', api_key: sk-x}}"
    config.write_text(
        f"model_list:\n  - model_name: gpt-4o-mini\n    litellm_params: {model}\n"
        "general_settings: {master_key: sk-bench}\nlitellm_settings: {num_retries: 0, telemetry: false}\n"
    )
    return config


def freehold_upstream(at: int) -> list[str]:
    return freehold("fake-upstream", "--port", str(at))


def freehold_serve(at: int, up: int) -> list[str]:
    return freehold("serve", "--port", str(at), "--upstream", f"http://127.0.0.1:{up}/v1")


class Bench:
    """Everything that is up, and what was measured."""

    def __init__(self, folder: Path, arguments: argparse.Namespace, stack: ExitStack) -> None:
        self._folder, self._seconds, self._rounds, self._stack = folder, arguments.seconds, arguments.rounds, stack
        self._rates: dict[str, list[tuple[float, float]]] = {}
        subprocess.run(["cc", "-O2", "-o", folder / "load", Path(__file__).with_name("load.c")], check=True)
        self._up, self._fake, self._key = port(), port(), with_key(folder / "home")
        answer = f"default_type application/json; return 200 '{ANSWER}';"
        self._start(nginx(folder, self._up, answer), self._up)
        self._start(freehold_upstream(self._fake), self._fake)
        self._at: dict[str, tuple[int, str]] = {}

    def _start(self, command: list[str], at: int, **environment: str) -> None:
        self._stack.enter_context(running(command, at, self._folder, **environment))

    def start_proxies(self, litellm: str | None, distillery: str | None) -> None:
        passing = 'proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";'
        bare, ours = port(), port()
        self._start(nginx(self._folder, bare, passing, self._up), bare)
        self._start(freehold_serve(ours, self._up), ours, FREEHOLD_HOME=str(self._folder / "home"))
        self._at = {"nginx, bare": (bare, "x"), OURS: (ours, self._key)}
        if litellm:
            at = port()
            config = str(litellm_config(self._folder, self._up))
            self._start([litellm, "--config", config, "--port", str(at), "--num_workers", "1"], at)
            self._at["litellm, no capture"] = (at, "sk-bench")
        if distillery:
            at, up = port(), f"http://127.0.0.1:{self._up}"
            database = str(self._folder / "distillery.db")
            self._start([distillery, "serve", "--port", str(at), "--upstream-openai", up, "--db", database], at)
            self._at["llm-distillery, captures"] = (at, "sk-bench")

    def throughputs(self) -> None:
        for at, key in self._at.values():
            throughput(self._folder, at, key, 2)  # warmed up
        for _ in range(self._rounds):
            for name, (at, key) in self._at.items():
                time.sleep(1.5)  # what the one before left to do
                self._rates.setdefault(name, []).append(throughput(self._folder, at, key, self._seconds))

    def latencies(self) -> None:
        whole, first = (
            Rate(self._folder, "whole answers", 300, stream=False),
            Rate(self._folder, "first event of a stream", 50, stream=True),
        )
        fresh, beside = self._fresh(self._up, "fresh"), self._fresh(self._fake, "beside")
        for _ in range(self._rounds):
            whole.measure("direct", self._up, "x", self._seconds)
            whole.measure("through", *fresh, self._seconds)
            first.measure("direct", self._fake, "x", self._seconds)
            first.measure("through", *beside, self._seconds)
        whole.report()
        first.report()

    def _fresh(self, up: int, name: str) -> tuple[int, str]:
        """A gateway that has nothing to catch up with, and a key to it."""
        at, home = port(), self._folder / name
        key = with_key(home)
        self._start(freehold_serve(at, up), at, FREEHOLD_HOME=str(home))
        return at, key

    def report(self) -> None:
        mine = median(rate for rate, _ in self._rates[OURS])
        print(f"\nrequests/s at 32 connections, median of {self._rounds} rounds by turns")
        for name, measured in self._rates.items():
            rate, failed = median(each for each, _ in measured), sum(wrong for _, wrong in measured)
            ratio = "" if name == OURS else f"   ours is {mine / rate:.2f}×"
            each = ", ".join(f"{one:,.0f}" for one, _ in measured)
            print(f"  {name:<26}{rate:>10,.0f}  ({each}){f'   {failed:.0f}/s FAILED' if failed else ''}{ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements, by turns")
    parser.add_argument("--litellm", default=shutil.which("litellm"), help="LiteLLM's command, in a venv of its own")
    parser.add_argument("--distillery", default=shutil.which("distillery"), help="llm-distillery's command, likewise")
    parser.add_argument("--part", choices=("throughput", "latency"), help="one of the two; left out: both")
    arguments = parser.parse_args()
    missing = [tool for tool in ("wrk", "nginx", "cc") if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"bench/gateway.py needs {' and '.join(missing)}; Debian: apt install wrk nginx-light gcc")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        p50, p99 = flush_ms(Path(folder))
        print(
            f"conditions: {os.cpu_count()} cores for load, upstream and gateway; load before {os.getloadavg()[0]:.1f}"
        )
        print(f"a flush of this disk, which every record waits for: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        if arguments.part != "latency":
            with _bench(Path(folder) / "throughput", arguments) as bench:
                bench.start_proxies(arguments.litellm, arguments.distillery)
                bench.throughputs()
                bench.report()
        if arguments.part != "throughput":  # by then nothing of the other part has work left to do
            with _bench(Path(folder) / "latency", arguments) as bench:
                bench.latencies()


@contextmanager
def _bench(folder: Path, arguments: argparse.Namespace) -> Iterator[Bench]:
    folder.mkdir()
    with ExitStack() as stack:
        yield Bench(folder, arguments, stack)


if __name__ == "__main__":
    main()
