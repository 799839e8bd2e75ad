#!/usr/bin/env bash
# The promises of tuning and its speed (issue 3), point by point; prints what was measured, fails where one is broken.
#
#   acceptance/tuning.sh            about 15 minutes on 2 free cores: needs `freehold` and `python` on PATH, ../shared/data
#   acceptance/tuning.sh --whole    also tunes and measures the whole of Banking77 (about 40 minutes more)
#
# Without --whole, point 4 is checked on the published reports: that they are whole, and that the figures say what is promised.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
shared="$here/../shared/data"
export BANKING77="$shared/banking77"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
. "$here/acceptance/lib/promises.sh"
shown() { sed 's/^/        /' out.txt | tail -"${1:-12}"; }
if [ ! -d "$BANKING77" ]; then
  echo "skipped: ../shared/data/banking77 is not there, and these promises are kept on real messages"
  exit 0
fi
export FREEHOLD_HOME="$work/home"

cat >small.yaml <<Y
task: small
description: Name the intent of a message from a customer of a bank.
answer: {type: label, labels: [activate_my_card, age_limit, card_arrival, change_pin]}
data: {source: $BANKING77/train.csv, held_out: $BANKING77/test.csv, input: text, answer: category, provenance: human,
  other_answers: drop, limit: 160}
use: {commercial: true}
tune: {method: lora}
decide: {margin: 0.10}
Y
expect 0 "the base is there" freehold pull smollm2-135m-instruct

echo "1. tuning against TRL, and against the machine's limit"
if python -c "import trl" 2>/dev/null; then
  expect 0 "bench/tuning.py" python "$here/bench/tuning.py" "$FREEHOLD_HOME/models/smollm2-135m-instruct" \
    --data "$BANKING77" --each 10 --epochs 2 --seeds 1
  shown 20
else
  echo "  skip  TRL is not installed (pip install '.[bench]'); the last figures are in docs/results/tuning.md"
fi

echo "2. evaluation"
expect 0 "bench/evaluation.py" python "$here/bench/evaluation.py" "$FREEHOLD_HOME/models/smollm2-135m-instruct" --examples 60
shown 6

echo "3. the recipe"
expect 0 "freehold plan" freehold plan small.yaml
promise "says where the rank comes from" "tune.rank"
grep tune out.txt | sed 's/^/        /'
freehold tune small.yaml --search 2 >killed.txt 2>&1 &
child=$!
for _ in $(seq 600); do
  sleep 1
  if ls home/adapters/.searches/*.json >/dev/null 2>&1 || ! kill -0 $child 2>/dev/null; then break; fi
done
kill -9 $child 2>/dev/null
wait $child 2>/dev/null
before=$(ls home/adapters/.searches 2>/dev/null | wc -l)
expect 0 "freehold tune --search 2 after kill -9 ($before trial kept)" freehold tune small.yaml --search 2
shown 7
expect 2 "--search 1 is refused" freehold tune small.yaml --search 1
sed 's/^tune: .*/tune: {method: upper-lora}/' small.yaml >upper.yaml
expect 0 "the upper-layers recipe" freehold tune upper.yaml
shown 1

echo "4. Banking77, whole"
if [ "${1:-}" = --whole ]; then
  for each in whole few; do
    expect 0 "freehold run $each.yaml" freehold run "$here/examples/banking77/$each.yaml"
    shown 30
  done
fi
python "$here/bench/results.py" >out.txt 2>&1 && ok "the published reports are whole and say so" || fail "the published reports"
shown 12

echo "5. JSON and text"
for each in orders handover; do
  grep -lq "\"task\": *\"$each\"" "$here"/docs/results/reports/*.json 2>/dev/null && ok "$each: a report is published" ||
    fail "$each: no report is published"
done
echo "6. CUDA: docs/results/cuda.md says that it was not measured"
grep -q "Not measured" "$here/docs/results/cuda.md" && ok "it says so" || fail "it does not say so"

echo "7. memory"
expect 0 "freehold tune" freehold tune small.yaml --json
python - <<'P' && ok "under 3 GB" || fail "3 GB or more"
import json
text = open("out.txt").read()
peak = json.loads(text[text.index("["):])[0]["peak_memory_bytes"]
print(f"        peak {peak / 1e6:,.0f} MB")
raise SystemExit(peak >= 3e9)
P

[ $failed -eq 0 ] && echo "every promise was kept" || echo "a promise was broken"
exit $failed
