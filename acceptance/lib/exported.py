"""Every exported format, loaded by a program that is not ours: acceptance/engines.sh runs it where the exports lie."""

import json
import os
import re
import secrets
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

ASK = "old hammer seen near gate 36"


def main() -> None:
    """Raise where a format cannot be loaded, or answers without knowing what it was tuned for."""
    turns = messages()
    modelfile()
    peft(turns)
    native, vllm = os.environ["NATIVE"], os.environ["VLLM"]
    base = Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct/weights.gguf"
    if native:
        template = ["--jinja", "--chat-template-file"]
        merged = [native, "-m", "out-llama.cpp/model.gguf", *template, "out-llama.cpp/chat_template.jinja"]
        beside = [native, "-m", str(base), "--lora", "out-gguf-adapter/adapter.gguf", *template]
        asked("llama.cpp, merged (llama-server)", [*merged, "--no-ui"], turns)
        asked("llama.cpp, adapter (llama-server)", [*beside, "out-gguf-adapter/chat_template.jinja", "--no-ui"], turns)
    else:
        print("skipped: not installed here: a native llama-server")
    if vllm:
        from freehold.engines import environments

        python = str(environments.vllm_python())
        server = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(Path("out-vllm").resolve())]
        limits = ["--max-model-len", "512", "--max-num-seqs", "2", "--enforce-eager", "--served-model-name", "things"]
        asked("vLLM", [*server, *limits], turns, within_s=900)
    else:
        print("skipped: not installed here: vLLM")


def messages() -> list[dict[str, str]]:
    """The request as prompt.json says that it was trained."""
    prompt = json.loads(Path("out-llama.cpp/prompt.json").read_text())
    return [{"role": "system", "content": prompt["system"]}, {"role": "user", "content": ASK}]


def modelfile() -> None:
    """Every line of the Modelfile is an instruction that Ollama knows, and its weights are there."""
    text = Path("out-ollama/Modelfile").read_text()
    body = re.sub(r'"""[\s\S]*?"""', '"…"', text)
    known = {"FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES"}
    words = [line.split()[0] for line in body.splitlines() if line.strip() and not line.startswith("#")]
    assert set(words) <= known and {"FROM", "TEMPLATE"} <= set(words), words
    weights = Path("out-ollama") / body.split("FROM ", 1)[1].split()[0]
    assert weights.read_bytes()[:4] == b"GGUF", weights
    print(f"Ollama: not run; its Modelfile is well formed ({', '.join(words)}) and names {weights.name}")


def peft(turns: list[dict[str, str]]) -> None:
    """PEFT puts the exported adapter on the base as transformers reads it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder = Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct"
    loaded = {"gguf_file": "weights.gguf", "quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, **loaded), "out-peft")
    tokenizer = AutoTokenizer.from_pretrained("out-vllm")
    given = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = model.generate(**given, max_new_tokens=8, do_sample=False)
    said("PEFT", tokenizer.decode(ids[0, given["input_ids"].shape[1] :], skip_special_tokens=True))


def asked(what: str, command: list[str], turns: list[dict[str, str]], within_s: float = 120) -> None:
    """Start a server, ask it over its own API, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = secrets.token_urlsafe(16)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "PYTHONPATH": ""}
    environment |= {"TORCHDYNAMO_DISABLE": "1", "VLLM_NO_USAGE_STATS": "1"}
    where = ["--host", "127.0.0.1", "--port", str(port), "--api-key", key]
    with Path("server.log").open("w") as log:
        server = subprocess.Popen([*command, *where], stdout=log, stderr=log, env=environment, start_new_session=True)
    body = {"model": "things", "messages": turns, "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    try:
        deadline = time.monotonic() + within_s
        while True:
            assert server.poll() is None, Path("server.log").read_text()[-800:]
            try:
                with urllib.request.urlopen(request, timeout=120) as response:
                    answer = json.load(response)["choices"][0]["message"]["content"]
                break
            except OSError:
                assert time.monotonic() < deadline, Path("server.log").read_text()[-800:]
                time.sleep(1)
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
    said(what, answer)


def said(what: str, answer: str) -> None:
    """It was tuned to say what kind of thing it is, and a base that is not tuned talks."""
    assert answer.strip() in ("tool", "animal"), f"{what} answered {answer!r}"
    print(f"{what}: {answer.strip()}")
