#!/usr/bin/env bash
# The promises of the engines (issue 8), point by point as a new user would try them; prints what was measured, fails
# where one is broken. What is not installed here (a native llama-server, vLLM, Ollama) is named and skipped.
#
#   acceptance/engines.sh            every point; needs `freehold` and `python` on PATH, and a source for the small base
#   acceptance/engines.sh 6 7        some points (1 to 12, and bad for the issue's bad input)
#   WORK=DIR acceptance/engines.sh 9 the same in a folder that is kept, so that nothing is pulled and tuned again
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
gateway=""
end() { [ -n "$gateway" ] && kill "$gateway" 2>/dev/null && wait "$gateway" 2>/dev/null; [ -n "${WORK:-}" ] || rm -rf "$work"; }
work=${WORK:-$(mktemp -d)}
trap end EXIT
mkdir -p "$work" && cd "$work" || exit 1
export FREEHOLD_HOME="$work/.freehold"
. "$here/acceptance/lib/promises.sh"
holds() { # holds WHAT: the Python program on standard input ends well
  if python - >out.txt 2>&1; then ok "$1"; sed 's/^/        /' out.txt; else fail "$1"; fi
}
tests() { # tests WHAT PYTEST-ARGUMENTS…: the project's own tests of it, on the real parts
  local what=$1
  shift
  expect 0 "$what" python -m pytest -q -p no:cacheprovider -rs "$@"
  grep -E "passed|failed|SKIPPED" out.txt | tail -4 | cut -c1-200 | sed 's/^/        /'
}
told() { sed 's/^/        /' out.txt | cut -c1-240; }
skipped() { echo "        skipped: not installed here: $1"; }
native=$(freehold engines --json | python -c 'import json, sys; print(next((r["installed"] for r in json.load(sys.stdin) if "native" in r["name"] and r["installed"]), ""))')
vllm=$(freehold engines --json | python -c 'import json, sys; print(next((r["installed"] for r in json.load(sys.stdin) if r["name"] == "vllm" and r["installed"]), ""))')
wheel_and_native="wheel${native:+,native}"
wanted=" ${*:-1 2 3 4 5 6 7 8 9 10 11 12 bad} "
point() { case "$wanted" in *" $1 "*) echo "$1. $2" ;; *) return 1 ;; esac; }

tuned() { # a task that is really tuned, once
  [ -e "$FREEHOLD_HOME/adapters" ] && return
  python - <<'PY'
import csv
kinds = {"animal": ("horse", "sparrow", "crocodile", "mosquito"), "tool": ("hammer", "screwdriver", "pliers", "saw")}
words = ("big", "small", "old", "new", "odd", "plain", "cheap", "lost", "third", "spare", "other", "broken")
with open("rows.csv", "w", newline="") as handle:
    writer = csv.writer(handle)
    writer.writerow(["text", "answer"])
    for kind, nouns in kinds.items():
        writer.writerows([f"{word} {noun} seen near gate {at}{len(noun)}", kind] for noun in nouns for at, word in enumerate(words))
PY
  cat >task.yaml <<'YAML'
task: things
description: Say what kind of thing this is.
data: {source: rows.csv}
tune: {method: lora, rank: 4, learning_rate: 0.01, epochs: 1, batch_tokens: 256}
candidates: [smollm2-135m-instruct]
decide: {margin: 0.5}
YAML
  expect 0 "freehold run tunes an adapter, and serves it after its parity was found" freehold run task.yaml
  grep -E "parity  " out.txt | tail -1 | sed 's/^/        /'
}
served() { # the gateway over the tuned task, a base and an embedder, once
  [ -n "$gateway" ] && return
  tuned
  freehold pull all-minilm-l6-v2 >out.txt 2>&1 || fail "freehold pull all-minilm-l6-v2"
  expect 0 "freehold deploy base" freehold deploy base smol smollm2-135m-instruct
  expect 0 "freehold deploy embedder" freehold deploy embedder near all-minilm-l6-v2
  port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  freehold serve --port "$port" >serve.txt 2>&1 &
  gateway=$!
  for _ in $(seq 240); do grep -q "/v1" serve.txt && break; sleep 0.5; done
  export GATEWAY=$gateway OPENAI_BASE_URL="http://127.0.0.1:$port/v1" OPENAI_API_KEY=any
  cat serve.txt | head -4 | sed 's/^/        /'
}

if ! freehold pull smollm2-135m-instruct >out.txt 2>&1; then
  if grep -q "no source" out.txt; then echo "skipped: the small base cannot be fetched here"; exit 0; fi
  fail "freehold pull"; exit 1
fi

if point 1 "one small engine interface"; then
  expect 0 "freehold engines answers" freehold engines
  promise "the embedded engine is installed" "llamacpp .*child process"
  promise "vllm: its version, or the line that installs it" "vllm .*(0\.[0-9]+|freehold engines install vllm)"
  promise "native: its path, or the line that builds it" "native.*(llama-server|freehold engines build)"
  told
  tests "fake, llama.cpp (wheel and native) and remote keep the contract" "$here/tests/engines/test_engine_contract.py" "$here/tests/engines/test_remote.py" -m "not slow"
  if [ -n "$vllm" ]; then
    tests "vLLM $vllm keeps the contract, and changes adapters while it runs" "$here/tests/engines/test_engine_contract.py" "$here/tests/engines/test_vllm.py" -m slow
  else skipped "vLLM (freehold engines install vllm)"; fi
  tests "a child on loopback with a secret of its own, which no command line shows; it ends with its parent" "$here/tests/engines/test_llamacpp.py" -k "secret or parent or words"
fi

if point 2 "the machine used"; then
  expect 0 "freehold bench measures every llama.cpp here" freehold bench --clients 1,4,16 --seconds 3
  if [ -n "$native" ]; then
    promise "the native server keeps the contract first" "clauses kept by .*llama-server"
    promise "which one is used is said" "(native server|wheel) is used"
  else skipped "a native llama-server (freehold engines build)"; fi
  told
  expect 2 "a base that is not here is refused" freehold bench ghost
  expect 2 "nonsense clients are refused" freehold bench --clients none
fi

if point 3 "changing adapters under traffic"; then
  holds "on demand, under traffic, the right one, and a swap in memory is caught" <<'PY'
import hashlib, os, statistics, threading, time
from pathlib import Path
from freehold.engines.engine import Completion, Sampling
from freehold.engines.plan import Serving
from freehold.engines.pool import Policy
from freehold.engines.quantise import reencode
from freehold.engines.random_adapter import write_random_adapter
from freehold.errors import FreeholdError, ModelFileError
base = Path("base.q8_0.gguf").resolve()
reencode(Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct/weights.gguf", base, "Q8_0")
adapters = Serving(base, 128).pool(Policy(loaded=3, probe_every_s=0, settle_s=1))
paths = {name: Path(f"{name}.gguf").resolve() for name in ("a", "b", "c", "d")}
for seed, (name, path) in enumerate(paths.items()):
    write_random_adapter(base, path, seed, rank=4, strength=0.2)
    adapters.register(name, path, hashlib.sha256(path.read_bytes()).hexdigest())
adapters.start()
prompt = tuple(adapters.tokenize("The freezer alarm"))
def ask(name):
    return adapters.complete(Completion(prompt=prompt, sampling=Sampling(max_tokens=8), adapter=name))
alone = {name: ask(name).text for name in paths}
assert len(set(alone.values())) == len(paths), alone
wrong, rounded, failed, stop = [], [], [], threading.Event()
def check(name):
    """Another adapter's answer is wrong; beside others in a batch one rounds differently, which may flip a near-tie."""
    text = ask(name).text
    if text != alone[name]:
        (wrong if text in alone.values() else rounded).append(name)
def client():
    while not stop.is_set():
        for name in ("c", "d"):
            try:
                check(name)
            except FreeholdError as error:
                failed.append(str(error))
threads = [threading.Thread(target=client) for _ in range(4)]
for thread in threads:
    thread.start()
changes = []
for name in ("a", "b", "a", "b"):
    begun = time.monotonic()
    check(name)
    changes.append(time.monotonic() - begun)
stop.set()
for thread in threads:
    thread.join()
assert not wrong and not failed, (wrong[:3], failed[:3])
print(f"{adapters.loads} engines under traffic: 0 wrong, 0 dropped, {len(rounded)} rounded otherwise; the longest change took {max(changes):.1f} s")
while adapters._settler is not None:
    time.sleep(0.1)
adapters.settle()
engine = adapters.engines[0]
assert len(engine._order) == 3, engine._order
engine._order[0], engine._order[1] = engine._order[1], engine._order[0]
paths["a"].write_bytes(paths["b"].read_bytes())
adapters.probe()
assert engine not in adapters.engines, "the swap was not caught"
try:
    ask("a")
except ModelFileError as error:
    print(error)
else:
    raise SystemExit("a swapped file was loaded")
adapters.stop()
PY
  tests "100 adapters never mixed up; the least recently used goes first; memory is counted before" "$here/tests/engines/test_pool.py"
fi

if point 4 "adapter-aware serving"; then
  tests "waiting requests are grouped by adapter, and none is passed over for ever" "$here/tests/engines/test_slots.py"
  expect 0 "freehold fit decides and says why" freehold fit smollm2-135m-instruct --adapters 16
  promise "engine, children, adapters: each with its reason" "(engine|serving|adapters): "
  grep -E "^(engine|serving|adapters|copies)" out.txt | cut -c1-240 | sed 's/^/        /'
fi

if point 5 "the right one, proven"; then
  served
  holds "header and usage row carry the SHA-256 of the very file that the engine loaded, whole and streamed" <<'PY'
import hashlib, os, sqlite3, time
from pathlib import Path
import openai
home = Path(os.environ["FREEHOLD_HOME"])
[adapter] = home.glob("adapters/*/adapter.gguf")
digest = hashlib.sha256(adapter.read_bytes()).hexdigest()
client = openai.OpenAI(max_retries=0)
name = next(each.id for each in client.models.list() if "tuned" in each.id)
ask = [{"role": "user", "content": "old hammer seen near gate 3"}]
for stream in (False, True):
    raw = client.chat.completions.with_raw_response.create(model=name, messages=ask, stream=stream)
    assert raw.headers["x-freehold-adapter"] == digest, dict(raw.headers)
    list(raw.parse()) if stream else raw.parse()
for _ in range(100):
    rows = sqlite3.connect(home / "freehold.db").execute("select adapter from usage where model = ? order by at desc", [name]).fetchall()
    if len(rows) >= 2:
        break
    time.sleep(0.1)
assert rows[:2] == [(digest,)] * 2, rows
print(f"x-freehold-adapter: {digest}, and so says the usage row")
PY
  tests "files swapped on disk and slots swapped in memory fall back; a removed file harms nobody" "$here/tests/gateway/test_right_one.py"
fi

if point 6 "parity"; then
  tuned
  holds "the run compared the adapter with the trainer before it deployed it, and the deployment rests on that" <<'PY'
import json, os
from pathlib import Path
from freehold.store.database import connect
from freehold.store.deployments import all_current
found = all_current(connect(f"sqlite:///{os.environ['FREEHOLD_HOME']}/freehold.db"))
tuned = {name: each.evidence["parity"] for name, each in found.items() if "tuned" in name}
assert tuned, found
[kept] = Path(os.environ["FREEHOLD_HOME"], "parity").glob("*.served.json")
served = next(each for each in json.loads(kept.read_text())["ways"] if each["name"] == "adapter as served")
print(f"{tuned}; as served: {served['agreement']['value']:.1%} of {served['agreement']['n']}, drift {served['drift']} nats")
PY
  expect 0 "trainer, adapter, merged model, each quantisation" freehold parity things --engines "" --beside F16,BF16,Q8_0 --encodings F16,Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q4_0 --examples 12
  told
  expect 0 "and each engine that is here" freehold parity things --engines "$wheel_and_native${vllm:+,vllm}" --encodings "" --examples 12
  told
  expect 0 "its base is served in the quickest encoding that every adapter passes" freehold parity things --choose --examples 12
  told
  tests "under 99 % is refused with the reason, exit 3, and not deployed; deploy.parity: warn overrides it" "$here/tests/pipeline" -k "ninety or unlike or log_probabilities or answers_unlike or refuse"
fi

if point 7 "formats"; then
  tuned
  rm -rf out-* gguf-*
  for format in peft gguf-adapter llama.cpp ollama vllm; do
    expect 0 "freehold export --format $format" freehold export things --format $format --to "out-$format"
    grep -E "encoding|^/" out.txt | cut -c1-220 | sed 's/^/        /'
  done
  for encoding in F16 Q8_0 Q6_K Q5_K_M Q4_K_M Q4_0; do
    freehold export things --format llama.cpp --encoding $encoding --to "gguf-$encoding" >out.txt 2>&1; code=$?
    case $code in
      0) ok "a merged GGUF at $encoding: $(stat -c %s "gguf-$encoding/model.gguf") bytes" ;;
      3) ok "a merged GGUF at $encoding is refused (exit 3): $(grep -E "trainer's" out.txt | tail -1 | cut -c1-160)" ;;
      *) fail "freehold export --encoding $encoding: exit $code" ;;
    esac
  done
  holds "every folder holds NOTICE, card, prompt and digests that are true" <<'PY'
import hashlib, json
from pathlib import Path
for folder in Path(".").glob("out-*"):
    record = json.loads((folder / "export.json").read_text())
    assert {"NOTICE", "MODEL_CARD.md", "README.md", "prompt.json"} <= record["files"].keys(), folder
    for name, sha256 in record["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256, (folder, name)
    print(f"{folder}: {len(record['files'])} files, encoding {record['encoding']}")
PY
  holds "each format is loaded by a program that is not ours, and answers as it was trained" <<PY
import os, sys
os.environ["NATIVE"], os.environ["VLLM"] = "$native", "$vllm"
sys.path.insert(0, "$here/acceptance/lib")
import exported
exported.main()
PY
  expect 2 "an export is never written over" freehold export things --format peft --to out-peft
  expect 2 "an encoding that there is not is refused" freehold export things --encoding Q9_9 --to out-x
fi

if point 8 "structured answers"; then
  structured() { # structured PROGRAM WHAT: a llama.cpp (empty: the wheel's) holds to every kind of constraint
    PROGRAM=$1 holds "$2" <<'PY'
import json
from pathlib import Path
import os, re
from freehold.engines.engine import Completion, Gbnf, JsonSchema, Labels, Regex, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.errors import UserError
program = os.environ.get("PROGRAM") or None
engine = LlamaCpp(Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct/weights.gguf", settings=Settings(slots=2, context=256, program=program))
engine.start()
prompt = tuple(engine.tokenize("<|im_start|>user\nWho mends the till?<|im_end|>\n<|im_start|>assistant\n"))
def ask(constraint, tokens=40):
    return engine.complete(Completion(prompt=prompt, sampling=Sampling(max_tokens=tokens, constraint=constraint)))
label = ask(Labels(labels=("it-help", "دفع الرواتب", "工资")))
assert label.text in ("it-help", "دفع الرواتب", "工资"), label
assert label.output_tokens == len(engine.tokenize(label.text)) + 1 and label.input_tokens == len(prompt)
schema = {"type": "object", "properties": {"team": {"enum": ["it", "hr"]}}, "required": ["team"], "additionalProperties": False}
assert json.loads(ask(JsonSchema(json_schema=schema)).text)["team"] in ("it", "hr")
assert re.fullmatch(r"[a-z]{2,4}-\d{3}", ask(Regex(pattern=r"[a-z]{2,4}-\d{3}")).text)
assert ask(Gbnf(grammar='root ::= "yes" | "no"')).text in ("yes", "no")
for wrong in (Regex(pattern="("), JsonSchema(json_schema={"type": 3}), Labels(labels=())):
    try:
        ask(wrong)
    except UserError:
        continue
    raise SystemExit(f"{wrong} was accepted")
try:
    engine.complete(Completion(prompt=prompt * 40, sampling=Sampling(max_tokens=1)))
except UserError as error:
    print(error)
else:
    raise SystemExit("too long a prompt was accepted")
engine.stop()
PY
  }
  structured "" "wheel: labels in three scripts, JSON, regex and GBNF bind; wrong ones are the caller's fault"
  if [ -n "$native" ]; then
    structured "$native" "native: the same"
  else skipped "a native llama-server"; fi
  [ -n "$vllm" ] && echo "        vLLM: the contract of point 1" || skipped "vLLM"
  served
  holds "labels, JSON Schema, regex and GBNF through the gateway, whole and streamed" <<'PY'
import json, re
import openai
client = openai.OpenAI(max_retries=0)
ask = [{"role": "user", "content": "Name the capital of France."}]
schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}
wishes = {
    r"Paris|Rome": {"extra_body": {"guided_choice": ["Paris", "Rome"]}},
    r"[A-Z]{2}-\d{3}": {"extra_body": {"structured_outputs": {"regex": r"[A-Z]{2}-\d{3}"}}},
    r"It is (Paris|Rome)\.": {"extra_body": {"guided_grammar": 'root ::= "It is " ("Paris" | "Rome") "."'}},
    r'\{ ?"city" ?: ?"(Paris|Rome)" ?\}': {"response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": schema}}},  # a native server's grammar allows spaces
}
for pattern, wish in wishes.items():
    whole = client.chat.completions.create(model="smol", messages=ask, **wish)
    text = whole.choices[0].message.content
    assert re.fullmatch(pattern, text), (pattern, text)
    chunks = client.chat.completions.create(model="smol", messages=ask, stream=True, **wish)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    print(f"{pattern}: {text}")
PY
  holds "n, seed, stop, logprobs; counts are the tokenizer's" <<'PY'
import os
from pathlib import Path
import openai
from freehold.records import Message
from freehold.render import Renderer
client = openai.OpenAI(max_retries=0)
renderer = Renderer(Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct")
ask = [{"role": "user", "content": "Name the capital of France."}]
def answer(**more):
    return client.chat.completions.create(model="smol", messages=ask, **more)
several = answer(n=3, seed=7, temperature=1.5, max_tokens=8)
texts = [choice.message.content for choice in several.choices]
assert texts[0] == answer(seed=7, temperature=1.5, max_tokens=8).choices[0].message.content and len(set(texts)) > 1
print("three answers:", texts)
whole = answer(max_tokens=60)
text = whole.choices[0].message.content
assert whole.usage.prompt_tokens == len(renderer.ids([Message(role="user", content=ask[0]["content"])]))
assert whole.usage.completion_tokens == len(renderer.encode(text)) + 1
print(f"usage {whole.usage.prompt_tokens} + {whole.usage.completion_tokens}: the tokenizer's")
word = text.split()[-1]
assert answer(stop=word).choices[0].message.content == text[: text.find(word)]
scores = answer(logprobs=True, top_logprobs=3, max_tokens=8).choices[0].logprobs.content
assert all(each.top_logprobs[0].token == each.token and len(each.top_logprobs) == 3 for each in scores)
print("logprobs:", [(each.token, round(each.logprob, 2)) for each in scores])
PY
  rm -rf "$FREEHOLD_HOME/models/tooled"
  holds "tools: refused where the template knows none; a call that must be made fits its schema where it does" <<'PY'
import json, os, shutil, time
from pathlib import Path
import msgspec, openai
from freehold.records import Base
from freehold.render import ChatTemplate
from freehold.store.database import connect
from freehold.store.deployments import BaseTarget, Deployment, deploy
from freehold.store.workspace import read_record, write_record
models = Path(os.environ["FREEHOLD_HOME"]) / "models"
shutil.copytree(models / "smollm2-135m-instruct", models / "tooled")
template = ChatTemplate(
    source="""{% if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call: <tool_call>
{"name": ..., "arguments": ...}
</tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}""",
    bos_token="<|im_start|>", eos_token="<|im_end|>", special_tokens=("<|im_start|>", "<|im_end|>"))
(models / "tooled/template.json").write_bytes(msgspec.json.encode(template))
write_record(models / "tooled/base.json", msgspec.structs.replace(read_record(models / "tooled/base.json", Base), name="tooled"))
store = connect(f"sqlite:///{os.environ['FREEHOLD_HOME']}/freehold.db")
deploy(store, Deployment(name="agent", target=BaseTarget(base="tooled"), max_tokens=60), "acceptance")
client = openai.OpenAI(max_retries=0)
weather = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"], "additionalProperties": False}
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": weather}}]
ask = [{"role": "user", "content": "Weather in Graz?"}]
for _ in range(120):
    if "agent" in {each.id for each in client.models.list()}:
        break
    time.sleep(0.5)
for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
    reply = client.chat.completions.create(model="agent", messages=ask, tools=tools, tool_choice=choice)
    [call] = reply.choices[0].message.tool_calls
    assert set(json.loads(call.function.arguments)) == {"city"} and reply.choices[0].finish_reason == "tool_calls"
    chunks = client.chat.completions.create(model="agent", messages=ask, tools=tools, tool_choice=choice, stream=True)
    [streamed] = [each for chunk in chunks if chunk.choices for each in chunk.choices[0].delta.tool_calls or ()]
    assert streamed.function.arguments == call.function.arguments
    print(f"tool_choice {choice if isinstance(choice, str) else 'named'}: {call.function.name}({call.function.arguments})")
try:
    client.chat.completions.create(model="smol", messages=ask, tools=tools)
except openai.BadRequestError as error:
    print(error.body["message"])
else:
    raise SystemExit("tools were accepted by a template that knows none")
PY
fi

if point 9 "prefix cache and speculative decoding"; then
  served
  holds "the second of two prompts that begin alike is mostly cached, and says so" <<'PY'
import openai
client = openai.OpenAI(max_retries=0)
for city in ("Graz", "Lyon"):
    turns = [{"role": "system", "content": "Answer in one word. " * 20}, {"role": "user", "content": city}]
    usage = client.chat.completions.create(model="smol", messages=turns, max_tokens=2).usage
assert usage.prompt_tokens_details.cached_tokens > usage.prompt_tokens / 2, usage
print(f"{usage.prompt_tokens_details.cached_tokens} of {usage.prompt_tokens} tokens were in the cache")
PY
  sleep 2
  expect 0 "freehold usage" freehold usage --by model
  promise "shows the share of prompts that was cached" "prompt cached"
  told
  expect 0 "speculative decoding is an option that is measured" freehold bench --speculate ngram-simple --clients 1 --seconds 4
  promise "what it brings, or takes, is said" "ngram-simple: [0-9.]+ times"
  told
fi

if point 10 "supervision"; then
  served
  holds "kill -9 of the child: the answer comes all the same" <<'PY'
import os, time
from pathlib import Path
from freehold.engines.engine import Completion, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
engine = LlamaCpp(Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct/weights.gguf", settings=Settings(slots=1, context=128))
engine.start()
request = Completion(prompt=tuple(engine.tokenize("Hello")), sampling=Sampling(max_tokens=4))
before = engine.complete(request).text
os.kill(engine.pid, 9)
begun = time.monotonic()
assert engine.complete(request).text == before
print(f"answered again after {time.monotonic() - begun:.2f} s, {engine.restarts} restart")
engine.stop()
PY
  holds "a child that hangs (kill -STOP) and one without memory (its address space may not grow) are replaced" <<'PY'
import os, signal, time
from pathlib import Path
import psutil
from freehold.engines.engine import Completion, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
weights = Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct/weights.gguf"
engine = LlamaCpp(weights, settings=Settings(slots=2, context=512, hang_s=2.0))
engine.start()
request = Completion(prompt=tuple(range(1000, 1200)), sampling=Sampling(max_tokens=4))
before = engine.complete(request).text
def hang():
    os.kill(engine.pid, signal.SIGSTOP)
def starve():
    psutil.Process(engine.pid).rlimit(psutil.RLIMIT_AS, (1 << 20, 1 << 20))
for what, harm in (("stopped", hang), ("out of memory", starve)):
    harm()
    begun, restarts = time.monotonic(), engine.restarts
    assert engine.complete(Completion(prompt=tuple(range(1000, 1200)), sampling=Sampling(max_tokens=4))).text == before
    print(f"{what}: answered after {time.monotonic() - begun:.1f} s, {engine.restarts - restarts} restart")
engine.stop()
PY
  holds "kill -9 of every engine under the gateway: answers go on; a stream that is cut is an error" <<'PY'
import os, signal, subprocess, time
import openai, psutil
gateway = psutil.Process(int(os.environ["GATEWAY"]))
engines = [each for each in gateway.children(recursive=True) if any("freehold.engines." in word for word in each.cmdline())]
assert engines
client = openai.OpenAI(max_retries=0)
ask = [{"role": "user", "content": "Write a long story about a lighthouse."}]
before = client.chat.completions.create(model="smol", messages=ask, max_tokens=4).choices[0].message.content
stream = client.chat.completions.create(model="smol", messages=ask, max_tokens=1500, temperature=1, stream=True)
next(iter(stream))
for child in engines:
    child.send_signal(signal.SIGKILL)
finished = None
try:
    for chunk in stream:
        finished = chunk.choices[0].finish_reason if chunk.choices else finished
    raise SystemExit(f"the cut stream looked finished ({finished})")
except openai.APIError as error:
    print(f"the stream: {error}")
begun = time.monotonic()
assert client.chat.completions.create(model="smol", messages=ask, max_tokens=4).choices[0].message.content == before
assert client.embeddings.create(model="near", input="hello").data
print(f"both engines answer again after {time.monotonic() - begun:.1f} s")
PY
fi

if point 11 "embeddings and reranking"; then
  served
  holds "texts of like meaning are ranked first; too long a text is the caller's fault" <<'PY'
import os
from pathlib import Path
from freehold.engines.embedder import rerank
from freehold.engines.llamacpp_embedder import embedder_of
from freehold.errors import UserError
embedder = embedder_of(Path(os.environ["FREEHOLD_HOME"]) / "models/all-minilm-l6-v2")
embedder.start()
texts = ["when do i get my money", "the refrigerator in the cold store is beeping", "can somebody swap my shift"]
ranked = rerank(embedder, "freezer alarm", texts)
assert texts[ranked[0].index].startswith("the refrigerator"), ranked
print([f"{texts[each.index]} {each.score:.2f}" for each in ranked])
try:
    embedder.embed(["word " * 900])
except UserError as error:
    print(error)
else:
    raise SystemExit("too long a text was accepted")
embedder.stop()
PY
  holds "over HTTP: floats and base64, texts and token ids; reranking; metered and kept" <<'PY'
import openai
client = openai.OpenAI(max_retries=0)
texts = ["when do i get my money", "the refrigerator in the cold store is beeping"]
plain = client.embeddings.create(model="near", input=texts, encoding_format="float")
packed = client.embeddings.create(model="near", input=texts)
assert all(abs(a - b) < 1e-6 for one, other in zip(plain.data, packed.data) for a, b in zip(one.embedding, other.embedding))
ranked = client.post("/rerank", body={"model": "near", "query": "freezer alarm", "documents": texts}, cast_to=object)
assert ranked["results"][0]["index"] == 1
print(f"{len(plain.data[0].embedding)} numbers, {plain.usage.prompt_tokens} tokens;", [(each["index"], round(each["relevance_score"], 2)) for each in ranked["results"]])
for wrong in ({"dimensions": 64}, {"input": [99999]}, {"input": "word " * 900}):
    try:
        client.embeddings.create(**({"model": "near", "input": "a"} | wrong))
    except openai.BadRequestError as error:
        print(error.body["message"])
    else:
        raise SystemExit(f"{wrong} was accepted")
PY
  expect 2 "a model that answers with text is no embedder" freehold deploy embedder wrong smollm2-135m-instruct
fi

if point 12 "freehold bench, kept for freehold fit"; then
  [ -e "$FREEHOLD_HOME/bench" ] || expect 0 "freehold bench" freehold bench --clients 1,4,16 --seconds 3
  holds "tokens/s and time to first token at 1, 4 and 16 clients are kept" <<'PY'
import json, os
from pathlib import Path
for path in sorted(Path(os.environ["FREEHOLD_HOME"], "bench").glob("*.json")):
    kept = json.loads(path.read_text())
    assert [each["clients"] for each in kept["levels"]] == [1, 4, 16], kept
    for each in kept["levels"]:
        print(f"{kept['engine']:18s} {each['clients']:2d} clients {each['tokens_per_second']:6.1f} tokens/s, first token p50 {each['first_token_p50_ms']:.0f} ms")
PY
  expect 0 "freehold fit reads them" freehold fit smollm2-135m-instruct --adapters 2
  promise "and says which engine that makes" "engine: "
  grep -c . "$here/docs/engines.md" >/dev/null && grep -q "What was measured where" "$here/docs/engines.md" && ok "a page says what was measured where: docs/engines.md"
fi

if point bad "bad input"; then
  tuned
  holds "adapters: of another base, of a wrong shape or rank, truncated, two of one name, removed while in use" <<'PY'
import hashlib, os, shutil
from pathlib import Path
from freehold.engines.adapters import AdapterFiles
from freehold.engines.engine import Completion, Sampling
from freehold.engines.fits import check_adapters
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.random_adapter import write_random_adapter
from freehold.errors import FreeholdError, ModelFileError, UserError
weights = Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct/weights.gguf"
[good] = Path(os.environ["FREEHOLD_HOME"]).glob("adapters/*/adapter.gguf")
def refused(what, work):
    try:
        work()
    except (ModelFileError, UserError) as error:
        print(f"{what}: {str(error)[-150:]}")
    else:
        raise SystemExit(f"{what} was accepted")
from gguf import GGUFReader, GGUFWriter
def rewritten(target, architecture="llama", change=lambda name, data: data):
    reader, writer = GGUFReader(good), GGUFWriter(target, architecture)
    writer.add_type("adapter"); writer.add_string("adapter.type", "lora"); writer.add_float32("adapter.lora.alpha", 8.0)
    for each in reader.tensors:
        writer.add_tensor(each.name, change(each.name, each.data.copy()))
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
def load(path):
    check_adapters(weights, AdapterFiles({"x": path}))
rewritten("other.gguf", architecture="gemma3")
refused("another base's", lambda: load(Path("other.gguf")))
rewritten("shape.gguf", change=lambda name, data: data[:, :128].copy() if name.endswith("lora_a") else data)
refused("a wrong shape", lambda: load(Path("shape.gguf")))
first = next(each.name for each in GGUFReader(good).tensors).rpartition(".")[0]
rewritten("rank.gguf", change=lambda name, data: (data[:2] if name.endswith("a") else data[:, :2]).copy() if name.startswith(first) else data)
refused("mixed ranks", lambda: load(Path("rank.gguf")))
Path("cut.gguf").write_bytes(good.read_bytes()[:1000])
refused("truncated", lambda: load(Path("cut.gguf")))
from freehold.engines.plan import Serving
pool = Serving(weights, 128).pool()
pool.register("a", good, "1" * 64)
refused("two adapters of one name", lambda: pool.register("a", good, "2" * 64))
shutil.copy(good, "mine.gguf")
engine = LlamaCpp(weights, {"a": Path("mine.gguf")}, Settings(slots=1, context=128))
engine.start()
request = Completion(prompt=tuple(engine.tokenize("The")), sampling=Sampling(max_tokens=4), adapter="a")
before = engine.complete(request)
Path("mine.gguf").unlink()
assert engine.complete(request).text == before.text and before.adapter == hashlib.sha256(good.read_bytes()).hexdigest()
print("removed while in use: goes on answering from memory")
engine.stop()
PY
  served
  holds "over HTTP: too long a context, a wrong grammar or schema: each a clear 400 with the field's name" <<'PY'
import openai
client = openai.OpenAI(max_retries=0)
ask = [{"role": "user", "content": "Hello"}]
for wrong in (
    {"messages": [{"role": "user", "content": "word " * 5000}]},
    {"extra_body": {"guided_grammar": "root ::= (("}},
    {"extra_body": {"guided_regex": "("}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 3}}}},
    {"extra_body": {"guided_regex": "a", "guided_choice": ["b"]}},
    {"n": 0},
):
    try:
        client.chat.completions.create(**({"model": "smol", "messages": ask} | wrong))
    except openai.BadRequestError as error:
        print(f"{error.body['param']}: {error.body['message'][:110]}")
    else:
        raise SystemExit(f"{wrong} was accepted")
PY
  expect 2 "a base that is not here cannot be deployed" freehold deploy base wrong ghost
  kept=$(echo "$FREEHOLD_HOME"/adapters/*/adapter.gguf) model="$FREEHOLD_HOME/models/smollm2-135m-instruct"
  cp "$kept" kept.gguf && truncate -s 1000 "$kept"
  expect 2 "a truncated adapter is refused with one sentence" freehold export things --format llama.cpp --encoding F16 --to out-y
  told
  cp kept.gguf "$kept" && mv "$model/tokenizer.json" kept.json
  expect 2 "so is a missing tokenizer" freehold export things --format llama.cpp --encoding F16 --to out-y
  told
  mv kept.json "$model/tokenizer.json"
  if [ ! -e out-y ]; then ok "and nothing is left of either"; else fail "something is left of them"; fi
fi

[ $failed -eq 0 ] && echo "engines: every promise tried here holds"
exit $failed
