#!/usr/bin/env bash
# The gateway's guardrails, its cache, and how it is seen from outside (issue 4, points 10 to 12), run as a new user would:
# needs `freehold` on PATH, curl, openssl and python3. Everything happens on loopback in a temporary folder.
set -euo pipefail

work=$(mktemp -d); cd "$work"; export FREEHOLD_HOME="$work/.freehold"
unset OPENAI_API_KEY OPENAI_BASE_URL FREEHOLD_DATABASE
python=$(dirname "$(command -v freehold)")/python; [ -x "$python" ] || python=python3
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT

passed=0
ok() { passed=$((passed + 1)); printf '  ok    %s\n' "$1"; }
fail() { printf '  FAIL  %s\n' "$1"; exit 1; }
port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
await() { for _ in $(seq 300); do curl -skf "$1" >/dev/null && return; sleep 0.1; done; fail "nothing answers at $1"; }
code() { curl -sk -o answer -D headers -w '%{http_code}' "$@"; }
field() { "$python" -c "import json, sys; print(eval('document' + sys.argv[1], {'document': json.load(sys.stdin)}))" "$1"; }

up=$(port); gate=$(port)
freehold fake-upstream --port "$up" >/dev/null & pids+=($!)
await "http://127.0.0.1:$up/v1/models"
freehold deploy remote shop "http://127.0.0.1:$up/v1" gpt-4o-mini >/dev/null
serve() { freehold serve --port "$gate" --upstream "http://127.0.0.1:$up/v1" "$@" >serve.out 2>serve.log & gateway=$!; pids+=("$gateway"); }
stop() { kill -TERM "$gateway"; wait "$gateway" || fail "SIGTERM ends with an error"; }
url="http://127.0.0.1:$gate/v1"
ask='{"model": "shop", "temperature": 0, "max_tokens": 40, "messages": [{"role": "user", "content": "hello"}]}'
serve; await "http://127.0.0.1:$gate/healthz"

echo "1  guardrails, set while it runs"
freehold deploy guard shop deny --before deny --set words=bomb --reason "acceptance" >/dev/null
freehold deploy guard shop cut --before pattern --set 'pattern=B-[0-9]{4}' --action redact >/dev/null
freehold deploy guard shop long --after length --set most=3 --action flag --on-failure pass >/dev/null
sleep 4
[ "$(code "$url/chat/completions" -d "${ask/hello/a bomb}")" = 400 ] && grep -q content_filter answer || fail "not blocked"
[ "$(code "$url/messages" -d "${ask/hello/a bomb}")" = 400 ] && grep -q '"type":"error"' answer || fail "not in Anthropic's shape"
[ "$(code "$url/chat/completions" -d "${ask/hello/badge B-1234}")" = 200 ] || fail "redacted and not answered"
sleep 1; freehold exchanges --json --limit 1 >newest
grep -q 'badge \[cut\]' newest && grep -q 'flag' newest || fail "no redaction, or no flag, with the exchange"
if grep -raq 'B-1234' "$FREEHOLD_HOME"; then fail "what was redacted is on disk"; fi
[ "$(freehold usage --json | "$python" -c 'import json, sys; print(sum(l["attempts"] for l in json.load(sys.stdin)))')" = 1 ] || fail "a blocked request is billed"
ok "blocked in both dialects at no cost, redacted before the model and the store, flagged with the exchange"

echo "2  answers from memory"
freehold deploy guard shop long --off >/dev/null; freehold deploy cache shop --on >/dev/null; sleep 4
how() { code "$@" >/dev/null; tr -d '\r' <headers | sed -n 's/^x-freehold-cache: //p'; }
[ "$(how "$url/chat/completions" -d "$ask")$(how "$url/chat/completions" -d "$ask")" = misshit ] || fail "no hit"
stream=${ask/\"model\"/\"stream\": true, \"model\"}
[ "$(how "$url/chat/completions" -d "$stream")" = miss ] && cp answer first; [ "$(how "$url/chat/completions" -d "$stream")" = hit ] || fail "no streamed hit"
cmp -s answer first && grep -q DONE answer || fail "the cached stream is another"
[ "$(how "$url/chat/completions" -d "${ask/\"temperature\": 0/\"temperature\": 1}")" = miss ] || fail "a sampled answer"
[ "$(how "$url/chat/completions" -d "$ask" -H 'authorization: Bearer sk-other')" = miss ] || fail "another caller's answer"
ok "hit, miss, a stream again byte for byte, nothing drawn by chance, nothing of another caller"
stop

echo "3  log lines without content, metrics, a graceful stop"
serve --log-format json; await "http://127.0.0.1:$gate/healthz"
code "$url/chat/completions" -d "${ask/hello/canary-zebra-77}" -H 'X-Freehold-Session: canary-zebra-77' >/dev/null
curl -sf "http://127.0.0.1:$gate/metrics" | grep -q 'freehold_requests_total{endpoint="chat.completions",model="shop",status="200"} 1' || fail "no count"
stop
grep -q '"event": "request"' serve.log || fail "no line for a request"
if grep -q canary-zebra serve.log; then fail "content in the log"; fi
ok "a line a request, and no word of it; counted; exit 0"

echo "4  TLS"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 \
  -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem 2>/dev/null
set +e; freehold serve --host 0.0.0.0 --port "$(port)" 2>err; [ $? = 3 ] || fail "beyond loopback without TLS or the word"; set -e
key=$(freehold keys create app --json | field '["key"]')
serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem; await "https://127.0.0.1:$gate/healthz"
curl -sf --cacert cert.pem "https://127.0.0.1:$gate/v1/chat/completions" -H "authorization: Bearer $key" -d "$ask" | grep -q choices || fail "no answer over TLS"
[ "$(code "https://127.0.0.1:$gate/v1/chat/completions" -d "$ask")" = 401 ] || fail "no key is needed"
if curl -sf "http://127.0.0.1:$gate/healthz" >/dev/null; then fail "answered without TLS"; fi
stop
ok "refused without it; answered with a certificate and a key, and not without"

echo "5  two workers, one of them killed"
serve --workers 2; await "http://127.0.0.1:$gate/healthz"
poor=$(freehold keys create poor --budget '0.0005 USD' --json | field '["key"]'); sleep 2
fresh='{"model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": "hello"}]}'
seq 120 | xargs -P 8 -I{} curl -s -o /dev/null -w '%{http_code}\n' "$url/chat/completions" -H "authorization: Bearer $poor" -d "$fresh" | sort | uniq -c | tr -s ' \n' ' ' >codes
grep -q 402 codes || fail "the budget did not end: $(cat codes)"
seq 200 | xargs -P 8 -I{} curl -s -D - -o /dev/null "$url/chat/completions" -d "$fresh" >seen.raw & asking=$!
sleep 0.7; worker=$(pgrep -P "$gateway" -f freehold.gateway.worker | head -1); kill -9 "$worker"; wait "$asking" || true
sleep 2; [ "$(pgrep -P "$gateway" -f freehold.gateway.worker | wc -l)" = 2 ] || fail "the dead worker is not replaced"
stop
tr -d '\r' <seen.raw | sed -n 's/^x-freehold-exchange: //p' >seen
freehold exchanges --limit 5000 --json >kept
"$python" - <<'PY' || fail "lost, twice, or the bill does not add up"
import json, os, sqlite3, subprocess
from decimal import Decimal

kept = [each["id"] for each in json.load(open("kept"))]
seen = open("seen").read().split()
assert len(seen) > 50 and all(kept.count(each) == 1 for each in seen), len(seen)
bill = json.loads(subprocess.check_output(["freehold", "usage", "--by", "key,model,day,tag", "--json"]))
rows = sqlite3.connect(os.environ["FREEHOLD_HOME"] + "/freehold.db").execute("SELECT cost FROM usage").fetchall()
assert sum(line["cost_pico"] for line in bill) == sum(cost or 0 for (cost,) in rows)
spent = sum(line["cost_pico"] for line in bill if line["key"] == "poor")
assert 0 < spent <= 5 * 10**8, spent
print(f"        {len(seen)} seen finished, all kept once; {spent} of 500000000 pico-USD spent together; {len(rows)} rows")
PY
ok "budgets hold together ($(cat codes)), a killed worker loses nothing and is replaced"

echo "gateway from outside: all $passed promises held"
