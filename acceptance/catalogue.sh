#!/usr/bin/env bash
# The promises of the catalogue (issue 5), run as a new user would; prints what was measured, fails where one is broken.
#
#   acceptance/catalogue.sh       needs `freehold` and `python` on PATH; checks against ../shared/data where that is
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
shared="$here/../shared/data"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset FREEHOLD_HOME
failed=0

ok() { echo "  ok    $1"; }
fail() {
  echo "  FAIL  $1"
  sed 's/^/        /' out.txt err.txt | tail -12
  failed=1
}
expect() { # expect CODE WHAT COMMAND…: runs it; what it printed is in out.txt and err.txt
  local code=$1 what=$2
  shift 2
  "$@" >out.txt 2>err.txt
  local got=$?
  if [ $got -eq "$code" ]; then ok "$what (exit $got)"; else fail "$what: exit $got, not $code"; fi
}
says() { # says PATTERN: the last command printed it
  if cat out.txt err.txt | grep -qE -- "$1"; then ok "  says: $1"; else fail "wanted: $1"; fi
}
holds() { # holds WHAT PYTHON: `d` is the JSON document that the last command printed
  if python -c "import json; d = json.load(open('out.txt')); $2" 2>err.txt; then ok "$1"; else fail "$1"; fi
}

echo "1, 2 models, each fact with its source"
expect 0 "freehold models --json" freehold models --json
holds "at least 100 models" "assert len(d) >= 100; print('        models:', len(d))"
expect 0 "the set of 2023" freehold models --qianfan-2023 --json
holds "the Qianfan set" "assert len(d) >= 30"
expect 0 "filters" freehold models --max-params 1B --licence apache-2.0 --language en --fits --json
holds "only what was asked for" "assert d and all(m['parameters'] <= 1e9 and m['licence'] == 'apache-2.0' for m in d)"
expect 0 "freehold show, a template on record" freehold show qwen2.5-7b-instruct
says "template_digest +cd8e9439f057"
expect 0 "freehold show, none on record" freehold show phi-4
says "unknown .*chat template"
expect 0 "openness as a filter" freehold models --min-openness 0.6 --json
holds "OLMo is open, Llama 2 is not" "n = {m['name'] for m in d}; assert 'olmo-7b' in n and 'llama-2-7b' not in n"
expect 0 "freehold show" freehold show llama-2-7b --json
holds "every fact has a source" "assert all(f['source'] for f in d['facts'].values() if f)"
expect 0 "freehold compare" freehold compare smollm2-135m llama-2-7b olmo-7b
expect 2 "an unknown model" freehold show lama-2-7b
says "did you mean llama-2-7b"
expect 2 "a family" freehold show Qwen2.5
says "is a family"

echo "3 openness"
expect 0 "freehold openness --json" freehold openness --json
holds "46 projects, 12.5 first, 0.5 last" "assert len(d) == 46 and d[0]['score'] == 12.5 and d[1]['project'] == 'BLOOMZ' and d[-1]['score'] == 0.5"
if [ -f "$shared/openness.csv" ]; then
  holds "order and scores as the index has them" "import csv; r = list(csv.DictReader(open('$shared/openness.csv', encoding='utf-8'))); assert [(x['project'], float(x['score_of_14'])) for x in r] == [(x['project'], x['score']) for x in d]"
else
  echo "  skip  ../shared/data/openness.csv is not there"
fi
expect 0 "a page" freehold openness --html openness.html
if grep -q "<script" openness.html; then fail "the page has a script"; else ok "the page has no script"; fi
expect 0 "the second index" freehold openness --index osai --top 1
says "judgments up to 2026-06-12, digest 32971b80427d"
expect 0 "own weights" freehold openness --weight llmdata=5 --top 3
printf 'open\nhttps://example.org/code\nunknown\n' >answers
yes unknown | head -30 >>answers
freehold openness assess smollm2-135m --by Ada <answers >out.txt 2>err.txt
says "not judged|1 of 14"
expect 0 "the AI Act" freehold openness act llama-2-7b
says "Article 53\(2\)"

echo "4, 6 rights"
expect 3 "Llama 2 at 800M users" freehold rights llama-2-7b --commercial --mau 800M
says "forbidden without a licence from Meta"
says "Llama 2 Community License, section 2"
says "not legal advice"
expect 0 "SmolLM2, commercial" freehold rights smollm2-135m-instruct --commercial --json
holds "is allowed" "assert d['verdict'] == 'allowed'"
expect 0 "Llama 3.1 passed on" freehold rights llama-3.1-8b --redistribute --mau 5M --json
holds "Built with Llama" "assert any('Built with Llama' in x for x in d['duties'])"
expect 3 "Qwen2.5 at 3B" freehold rights qwen2.5-3b --commercial
expect 0 "Qwen2.5 at 7B" freehold rights qwen2.5-7b --commercial
expect 4 "nobody read the terms" freehold rights ernie-bot --commercial
expect 3 "a teacher that forbids it" freehold rights smollm2-135m-instruct --teacher llama-2-70b
expect 0 "OpenAI as a teacher" freehold rights smollm2-135m-instruct --teacher gpt-4o --json
holds "is conditional" "assert d['verdict'] == 'conditional'"
expect 4 "an API nobody knows" freehold rights smollm2-135m-instruct --teacher some-api
expect 0 "one's own contract" freehold rights smollm2-135m-instruct --teacher some-api --contract "MSA, section 4"
expect 2 "a field nobody knows" freehold rights smollm2-135m-instruct --field milatary
says "did you mean military"
expect 2 "a use that contradicts itself" freehold rights olmo-7b --commercial --field research
says "contradicts itself"
[ -d "$here/src" ] && ok "grants: $(ls "$here"/src/freehold/catalogue/grants/*.toml | wc -l), licences: $(ls "$here"/src/freehold/catalogue/licences/*.toml | wc -l)"

expect 2 "a flag given both ways" freehold rights olmo-7b --commercial --no-commercial
says "contradicts itself: --commercial and its opposite"
expect 2 "a territory that is none" freehold rights olmo-7b --territory UK
expect 2 "a contract without its teacher" freehold rights olmo-7b --contract "MSA"

echo "7, 10 lineage and inspect"
expect 0 "freehold lineage" freehold lineage mixtral-8x7b
says "mistral-7b-v0.1"
expect 0 "as a picture" freehold lineage llama-2-7b --svg lineage.svg
head -c 2000 /dev/urandom >noise.gguf
expect 2 "noise" freehold inspect noise.gguf
printf 'GGUF\003\000\000\000\377\377\377\377\377\377\377\177\000\000\000\000\000\000\000\000' >hostile.gguf
expect 2 "a header that claims too much" freehold inspect hostile.gguf
says "claims 9223372036854775807 tensors"

echo "8, 9, 5 with a real base"
if ! freehold pull smollm2-135m-instruct >out.txt 2>err.txt; then
  if grep -q "no source" err.txt; then
    echo "  skip  no source of a base answers here: $(cat err.txt)"
    exit $failed
  fi
  fail "freehold pull"
fi
weights=.freehold/models/smollm2-135m-instruct/weights.gguf
expect 0 "inspect" freehold inspect $weights --json
holds "parameters counted from the file" "assert d['inspection']['parameters'] == 134515008 and not d['disagreements']"
expect 0 "fit, measured" freehold fit smollm2-135m-instruct --slots 1 --calibrate --json
holds "memory within 20 % of the measured" "
e = {r['encoding']: r['serving_bytes'] for r in d['estimates']}
for p in d['calibration']['paces']:
    off = e[p['encoding']] / p['peak_bytes'] - 1
    print(f\"        {p['encoding']:<11} measured {p['peak_bytes'] / 2**20:4.0f} MiB, estimated {off:+.0%}, {p['prompt_per_second']:.0f} prompt tok/s, {p['answer_per_second']:.0f} answer tok/s\")
    assert abs(off) <= 0.2"
expect 2 "a fetched file that was changed" bash -c "cp -r .freehold/models/smollm2-135m-instruct kept && truncate -s -1 $weights && freehold pull smollm2-135m-instruct"
says "is not the file that was pulled"
rm -rf .freehold/models/smollm2-135m-instruct && mv kept .freehold/models/smollm2-135m-instruct
expect 0 "an own model" freehold models add ours --path $weights --licence qwen-research-2024 --organisation us --source "this script"
says "shown as unknown"
python - <<'P'
import random
random.seed(1)
words = "ladder roster payslip shift alarm boots pallet forklift locker badge rota freezer".split()
with open("m.csv", "w") as file:
    file.write("text,category\n")
    for at in range(240):
        file.write(f"{' '.join(random.choices(words, k=7))} {at},{'a' if at % 2 else 'b'}\n")
P
printf 'task: t\ndescription: d\ndata: {source: m.csv, input: text, answer: category}\ncandidates: [ours]\nuse: {commercial: true}\ndecide: {margin: 0.3}\n' >t.yaml
expect 3 "freehold run refuses what is forbidden" freehold run t.yaml
says "Qwen RESEARCH LICENSE AGREEMENT"
if [ -e .freehold/models/ours ]; then fail "the base was fetched before the gate"; else ok "nothing was fetched"; fi
if find .freehold/adapters -name manifest.json 2>/dev/null | grep -q .; then fail "something was tuned"; else ok "nothing was tuned"; fi

echo "5, 7 what leaves carries its duties, and hangs on the tree"
sed 's/candidates: .*/candidates: [smollm2-135m-instruct]/; s/^decide/tune: {method: lora, rank: 4, epochs: 1}\ndecide/' t.yaml >mine.yaml
expect 0 "freehold run, allowed" freehold run mine.yaml
expect 0 "freehold export" freehold export t --format gguf-adapter --to out
for name in NOTICE MODEL_CARD.md; do [ -s "out/$name" ] && ok "out/$name" || fail "out/$name is not there"; done
grep -q "Apache License 2.0" out/NOTICE && ok "NOTICE names the licence" || fail "NOTICE does not name the licence"
grep -q "commercial True" out/MODEL_CARD.md && ok "the card names the use" || fail "the card does not name the use"
expect 0 "freehold lineage" freehold lineage t
says "^ *└─ t \([0-9a-f]{12}\)|t \([0-9a-f]{12}\)"
says "gguf-adapter \([0-9a-f]{12}\)"
expect 0 "as a picture" freehold lineage t --svg own.svg
grep -q "gguf-adapter" own.svg && ok "the export is in the picture" || fail "the export is not in the picture"

[ $failed -eq 0 ] && echo "every promise was kept" || echo "a promise was broken"
exit $failed
