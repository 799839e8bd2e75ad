#!/usr/bin/env bash
# The main job's promises (issue 2), run as a new user would. Needs `freehold` on PATH and the openai package.
# Prints what was measured; ends non-zero at the first promise that is not met.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'kill "${gateway:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

point() { printf '\n== %s\n' "$*"; }
must() { "$@" || { echo "NOT MET: $*" >&2; exit 1; }; }
refused() { # refused CODE COMMAND…: exits with CODE, says one thing on standard error, shows no traceback
  local code=$1 said status=0; shift
  said=$("$@" 2>&1 >/dev/null) || status=$?
  printf '  %s → exit %s: %s\n' "$*" "$status" "$(tail -n 1 <<<"$said")"
  [ "$status" = "$code" ] || { echo "NOT MET: expected exit $code" >&2; exit 1; }
  ! grep -q Traceback <<<"$said" || { echo "NOT MET: a traceback" >&2; exit 1; }
}
json() { python3 -c "import json,sys; d=json.load(sys.stdin); print($1)"; }

point "1  the demo: time and memory"
cp -r "$repository/examples/frontline" . && rm -rf frontline/.freehold && cd frontline
began=$(date +%s)
freehold run & job=$!
peak=0
while kill -0 $job 2>/dev/null; do
  now=$(ps -o rss= --ppid $job -p $job 2>/dev/null | awk '{s+=$1} END {print s+0}')
  if [ "$now" -gt "$peak" ]; then peak=$now; fi
  sleep 0.5
done
wait $job
seconds=$(( $(date +%s) - began ))
echo "  $seconds s on $(nproc) cores (promised: at most 480), $(( peak / 1024 )) MB at the peak (promised: 4,096)"
must test "$peak" -lt $(( 4096 * 1024 ))
must test "$seconds" -le 480

point "2  the bundled task"
python3 - <<'PY'
import csv, collections
rows = list(csv.DictReader(open("messages.csv", encoding="utf-8")))
labels = collections.Counter(row["category"] for row in rows)
print(f"  {len(rows)} messages, {len(labels)} labels, {min(labels.values())} to {max(labels.values())} a label")
assert len(rows) >= 720 and len(labels) == 12
PY

point "3  init, plan, spec"
(mkdir new && cd new && freehold init && must test -s freehold.yaml)
freehold plan --json | json "f\"  {len(d)} values; power: {[r['value'] for r in d if r['field'] == 'power'][0]}\""
freehold spec --schema | json "f\"  schema with {len(d['properties'])} top-level fields\""

point "4  pull: the lock names file and digest"
must test -s .freehold/freehold.lock
freehold pull smollm2-135m-instruct

point "5, 7, 9  the report"
freehold report
freehold report --json | json "f\"  keys: {sorted(d)[:6]} … candidates: {[c['name'] for c in d['candidates']]}\""
page=$(freehold report --html)
must grep -q "<svg" "$page"

point "6  the adapter and its manifest"
python3 - <<'PY'
import json, pathlib
(path,) = pathlib.Path(".freehold/adapters").glob("*/manifest.json")
manifest = json.loads(path.read_text())
print(f"  base {manifest['base_digest'][:12]}, dataset {manifest['dataset'][:12]}, template {manifest['template_digest'][:12]}, "
      f"{len(manifest['losses'])} points of loss, {manifest['tokens_per_second']} tokens/s")
PY

point "8  the decision"
freehold decision
freehold decision --json | json "f\"  {d['verdict']} · evidence: {sorted(d['evidence'])}\""

point "10 serving: the real openai client, streamed and not; ask"
freehold serve --port 8471 >serve.log 2>&1 & gateway=$!
for _ in $(seq 120); do curl -sf http://127.0.0.1:8471/healthz >/dev/null && break; sleep 0.5; done
python3 - <<'PY'
import time
from openai import OpenAI
client = OpenAI(base_url="http://127.0.0.1:8471/v1", api_key="unused")
names = [model.id for model in client.models.list().data]
print(f"  models: {names}")
model = next(name for name in names if ":tuned-" in name)
ask = [{"role": "user", "content": "my payslip is short again"}]
began = time.perf_counter()
whole = client.chat.completions.create(model=model, messages=ask)
print(f"  {whole.choices[0].message.content!r} in {1000 * (time.perf_counter() - began):.0f} ms, {whole.usage.total_tokens} tokens")
parts = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(model=model, messages=ask, stream=True) if chunk.choices]
print(f"  streamed: {parts}")
assert "".join(parts) == whole.choices[0].message.content
PY
refused 2 freehold serve --port 8471
kill -TERM $gateway && wait $gateway || true
freehold ask "$(freehold status --json | json "[n for t in d for l in t['lines'] if l['what'] == 'served' for n in l['detail'].split(' · ')][0]")" "the freezer is warm"

point "11 a second run redoes nothing; status; doctor"
began=$(date +%s)
freehold run --json | json "f\"  verdict {d['verdict']}, {len(d['stages'])} stages\""
echo "  $(( $(date +%s) - began )) s"
freehold status
freehold doctor

point "12 Banking77, 12 intents"
if [ -d "$repository/../shared/data/banking77" ]; then
  cp "$repository/examples/banking77/freehold.yaml" "$work/banking77.yaml"
  BANKING77="$repository/../shared/data/banking77" freehold run "$work/banking77.yaml"
else
  echo "  skipped: ../shared/data/banking77 is not here"
fi

point "bad input: one sentence, exit 2"
cd "$work" && mkdir bad && cd bad
task() { printf 'task: bad\ndescription: x\ndata: {source: %s, input: text, answer: label}\n%s\n' "$1" "${2:-}" > freehold.yaml; }
task nowhere.csv;                               refused 2 freehold run
: > empty.csv; task empty.csv;                  refused 2 freehold run
printf 'text,label\na,\n' > gap.csv; task gap.csv;  refused 2 freehold run
printf 'text,label\na,x\nb,x\n' > one.csv; task one.csv; refused 2 freehold run
printf 'text,label\na,x\nb,y\n' > few.csv; task few.csv; refused 2 freehold run
task few.csv 'answer: {type: label, labels: [x, z]}';    refused 2 freehold run
task few.csv 'anwser: {type: label}';           refused 2 freehold run
task few.csv 'seed: many';                      refused 2 freehold run
task few.csv 'incumbent: {model: m, api_key: sk-123}';   refused 2 freehold run
cp -r "$work/frontline/.freehold" .freehold
truncate -s 1000 .freehold/models/smollm2-135m-instruct/weights.gguf
cp "$work/frontline/"{messages.csv,freehold.yaml} .; refused 2 freehold run

printf '\nall promises met\n'
