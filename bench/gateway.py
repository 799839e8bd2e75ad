"""What the gateway costs in time, beside LiteLLM's proxy and a bare nginx, on this machine, against one fake upstream.

    python bench/gateway.py [--seconds 8] [--litellm /path/to/venv/bin/litellm]

Ours runs with everything on: a key with a budget, metering, redaction, durable capture. LiteLLM runs with a master key
and no database, so without budgets and without capture. Needs `wrk` and `nginx` on PATH (Debian: apt install wrk
nginx-light). One worker each; the load generator, the upstream and the gateway share the machine's cores.
"""

import argparse
import asyncio
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import uvloop

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


Latencies = list[tuple[float, float]]


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


async def one(at: int, key: str, stream: bool) -> float:
    """Seconds to the answer's last byte, or to a stream's first event, on a new connection."""
    body = (BODY[:-1] + ', "stream": true}' if stream else BODY).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", at)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    begun = time.perf_counter()
    writer.write(head.encode() + body)
    if stream:
        await reader.readuntil(b"data:")
        taken = time.perf_counter() - begun
        await reader.read(-1)
    else:
        await reader.read(-1)
        taken = time.perf_counter() - begun
    writer.close()
    return taken


async def at_rate(at: int, key: str, rate: int, seconds: int, stream: bool) -> list[float]:
    """Latencies at a constant rate: a request is sent when it is due, whether or not others are back."""
    begun, tasks = time.perf_counter(), []
    for number in range(rate * seconds):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(at, key, stream)))
    return sorted(await asyncio.gather(*tasks))


def latencies(at: int, key: str, rate: int, seconds: int, stream: bool = False) -> tuple[float, float]:
    """p50 and p99, milliseconds."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        taken = runner.run(at_rate(at, key, rate, seconds, stream))
    return median(taken) * 1000, taken[int(len(taken) * 0.99)] * 1000


def flush_ms(folder: Path) -> float:
    """What one flush of this disk takes: no durable answer can be quicker."""
    file = os.open(folder / "flush", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    taken = []
    for _ in range(100):
        os.write(file, b"x" * 2000)
        begun = time.perf_counter()
        os.fdatasync(file)
        taken.append(time.perf_counter() - begun)
    os.close(file)
    return median(taken) * 1000


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


def measure(litellm: str | None, seconds: int, folder: Path) -> None:
    load = f"{os.cpu_count()} cores shared by load, upstream and gateway; load average {os.getloadavg()[0]:.1f}"
    print(
        f"conditions: {load}; a flush of this disk takes {flush_ms(folder):.2f} ms (p50), which every record waits for"
    )
    up, proxy, ours, fake, other = port(), port(), port(), port(), port()
    answer = f"default_type application/json; return 200 '{ANSWER}';"
    passing = 'proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";'
    home, key = folder / "home", with_key(folder / "home")
    rates = {}
    with running(nginx(folder, up, answer), up, folder), running(freehold_upstream(fake), fake, folder):
        with running(nginx(folder, proxy, passing, up), proxy, folder):
            rates["nginx, bare"] = throughput(folder, proxy, "x", seconds)
        whole, first = [latencies(up, "x", 300, seconds)], [latencies(fake, "x", 50, seconds, stream=True)]
        with running(freehold_serve(ours, up), ours, folder, FREEHOLD_HOME=str(home)):
            rates["freehold, everything on"] = throughput(folder, ours, key, seconds)
            whole.append(latencies(ours, key, 300, seconds))
        with running(freehold_serve(ours, fake), ours, folder, FREEHOLD_HOME=str(home)):
            first.append(latencies(ours, key, 50, seconds, stream=True))
        if litellm:
            command = [litellm, "--config", str(litellm_config(folder, up)), "--port", str(other), "--num_workers", "1"]
            with running(command, other, folder):
                throughput(folder, other, "sk-bench", 3)  # warmed up
                rates["litellm, no capture"] = throughput(folder, other, "sk-bench", seconds)
    report(rates, whole, first)


def freehold_upstream(at: int) -> list[str]:
    return freehold("fake-upstream", "--port", str(at))


def freehold_serve(at: int, up: int) -> list[str]:
    return freehold("serve", "--port", str(at), "--upstream", f"http://127.0.0.1:{up}/v1")


def report(rates: dict[str, tuple[float, float]], whole: Latencies, first: Latencies) -> None:
    """`whole` and `first` hold the latencies without and with the gateway."""
    mine = rates["freehold, everything on"][0]
    print("\nrequests/s at 32 connections")
    for name, (rate, failed) in rates.items():
        ratio = "" if name.startswith("freehold") else f"   ours is {mine / rate:.2f}×"
        print(f"  {name:<26}{rate:>10,.0f}{f'   ({failed:.0f}/s failed)' if failed else ''}{ratio}")
    for title, (direct, through) in (("whole answers at 300/s", whole), ("first event of a stream at 50/s", first)):
        added = f"added p50 {through[0] - direct[0]:.2f} ms, p99 {through[1] - direct[1]:.2f} ms"
        print(f"\n{title}: direct p50 {direct[0]:.2f} ms, through the gateway {through[0]:.2f} ms; {added}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--litellm", default=shutil.which("litellm"), help="LiteLLM's command, in a venv of its own")
    arguments = parser.parse_args()
    missing = [tool for tool in ("wrk", "nginx") if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"bench/gateway.py needs {' and '.join(missing)} on PATH; Debian: apt install wrk nginx-light")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        measure(arguments.litellm, arguments.seconds, Path(folder))


if __name__ == "__main__":
    main()
