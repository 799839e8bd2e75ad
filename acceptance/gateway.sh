#!/usr/bin/env bash
# The gateway's promises (issue 4), run as a new user would: needs `freehold` on PATH, curl and python3 with `openai`.
# Everything happens on loopback in a temporary folder. Prints what it measured; ends non-zero when a promise fails.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
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
await() { for _ in $(seq 100); do curl -sf "$1" >/dev/null && return; sleep 0.1; done; fail "nothing answers at $1"; }
field() { "$python" -c "import json, sys; print(eval('document' + sys.argv[1], {'document': json.load(sys.stdin)}))" "$1"; }

up=$(port); gate=$(port)
freehold fake-upstream --port "$up" >/dev/null & pids+=($!)
serve() { freehold serve --port "$gate" --upstream "http://127.0.0.1:$up/v1" "$@" >serve.log 2>&1 & gateway=$!; pids+=("$gateway"); await "http://127.0.0.1:$gate/healthz"; }
await "http://127.0.0.1:$up/v1/models"
serve
url="http://127.0.0.1:$gate/v1"
ask='{"model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": "write to jo.blake@example.com"}]}'

echo "1  first use needs no task file"
curl -sf "$url/chat/completions" -H 'authorization: Bearer sk-callers-own' -d "$ask" | grep -q '"choices"' || fail "no answer"
[ "$(freehold exchanges --count --json | field '["count"]')" = 1 ] || fail "the exchange is not in the store"
ok "an exchange is passed on and recorded"

echo "2  the real openai client, unchanged"
OPENAI_BASE_URL=$url OPENAI_API_KEY=sk-callers-own "$python" - <<'PY' || fail "the openai client"
import asyncio
import openai

ask = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
client = openai.OpenAI(max_retries=0)
whole = client.chat.completions.create(**ask).choices[0].message.content
streamed = "".join(piece.choices[0].delta.content or "" for piece in client.chat.completions.create(**ask, stream=True))
assert whole and whole == streamed, (whole, streamed)
assert client.embeddings.create(model="text-embedding-3-small", input="x").data
assert client.responses.create(model="gpt-4o-mini", input="x").output_text


async def same() -> str | None:
    async with openai.AsyncOpenAI(max_retries=0) as other:
        return (await other.chat.completions.create(**ask)).choices[0].message.content


assert asyncio.run(same()) == whole
PY
ok "sync, async, streamed, embeddings, responses"

echo "3  nothing secret is stored"
freehold exchanges --count >/dev/null
if grep -raq -e 'jo.blake@example.com' -e 'sk-callers-own' "$FREEHOLD_HOME"; then fail "a secret is on disk"; fi
freehold exchanges --json | grep -q 'EMAIL_1' || fail "no placeholder in the store"
ok "no key and no address in any file; a placeholder instead"

echo "4  kill -9"
for turn in 1 2 3; do
  for n in $(seq 20); do curl -s -D - -o /dev/null "$url/chat/completions" -d "$ask" | tr -d '\r' | sed -n 's/^x-freehold-exchange: //p' >>seen; done
  kill -9 "$gateway"; wait "$gateway" 2>/dev/null || true; serve
done
kept=$(freehold exchanges --limit 1000 --json)
for id in $(cat seen); do grep -q "$id" <<<"$kept" || fail "exchange $id was seen finished and is lost"; done
[ "$(sort seen | uniq | wc -l)" = 60 ] || fail "not every request was answered"
ok "60 exchanges seen finished, 3 kills, none lost, none twice"

echo "5  keys, budgets, limits"
key=$(freehold keys create app --budget '0.00005 USD' --requests 600 --json | field '["key"]')
sleep 1.5
codes=$(for n in $(seq 12); do curl -s -o /dev/null -w '%{http_code}\n' "$url/chat/completions" -H "authorization: Bearer $key" -d "$ask"; done | sort | uniq -c | tr -s ' \n' ' ')
case "$codes" in *"200"*"402"*) ;; *) fail "the budget did not end: $codes";; esac
spent=$(freehold usage --by key --json | "$python" -c 'import json, sys; print(next(l["cost"] for l in json.load(sys.stdin) if l["key"] == "app"))')
"$python" -c "from decimal import Decimal; assert Decimal('$spent') <= Decimal('0.00005')" || fail "the budget was overrun: $spent"
freehold keys revoke app >/dev/null; sleep 1.5
[ "$(curl -s -o /dev/null -w '%{http_code}' "$url/chat/completions" -H "authorization: Bearer $key" -d "$ask")" = 401 ] || fail "a revoked key still works"
ok "answers $codes; spent $spent of 0.00005 USD; revoked within 1.5 s"

echo "6  the bill equals its rows"
"$python" - <<'PY' || fail "the bill does not add up"
import json, os, sqlite3, subprocess

bill = json.loads(subprocess.check_output(["freehold", "usage", "--by", "key,model,day,tag", "--json"]))
rows = sqlite3.connect(os.environ["FREEHOLD_HOME"] + "/freehold.db").execute("SELECT cost FROM usage").fetchall()
assert sum(line["cost_pico"] for line in bill) == sum(cost or 0 for (cost,) in rows)
assert sum(line["attempts"] for line in bill) == len(rows)
print(f"        {len(rows)} rows, {sum(cost or 0 for (cost,) in rows)} pico-USD")
PY
ok "to the last pico-unit"

echo "7  fallback unseen, and a broken stream is an error"
bad=$(port); freehold fake-upstream --port "$bad" --errors 1 >/dev/null & pids+=($!)
cut=$(port); freehold fake-upstream --port "$cut" --cuts 1 >/dev/null & pids+=($!)
await "http://127.0.0.1:$cut/v1/models"
freehold deploy remote good "http://127.0.0.1:$up/v1" gpt-4o-mini >/dev/null
freehold deploy remote ours "http://127.0.0.1:$bad/v1" gpt-4o-mini >/dev/null
freehold deploy remote torn "http://127.0.0.1:$cut/v1" gpt-4o-mini >/dev/null
freehold deploy set ours --fallback good >/dev/null; sleep 2
[ "$(curl -s -o /dev/null -w '%{http_code}' "$url/chat/completions" -d "${ask/gpt-4o-mini/ours}")" = 200 ] || fail "no fallback"
torn=$(curl -sN "$url/chat/completions" -d "${ask/\"model\": \"gpt-4o-mini\"/\"model\": \"torn\", \"stream\": true}")
grep -q '"error"' <<<"$torn" || fail "a torn stream without an error event"
if grep -q 'DONE' <<<"$torn"; then fail "a torn stream looks finished"; fi
ok "200 through the fallback; the torn stream ends in an error event"

echo "8  bad input"
code() { curl -s -o answer -w '%{http_code}' "$@"; }
[ "$(code "$url/chat/completions" -d '{"model":')" = 400 ] && grep -q '"error"' answer || fail "malformed JSON"
[ "$(code "$url/chat/completions" -d '{"model": 7}')" = 400 ] && grep -q '"model"' answer || fail "a wrong type"
head -c 20000000 /dev/zero >big; [ "$(code "$url/chat/completions" --data-binary @big)" = 413 ] || fail "a 20 MB body"
[ "$(code "$url/chat/completions" -H 'authorization: Bearer fh_nothing' -d "$ask")" = 401 ] || fail "an unknown key"
[ "$(code "$url/chat/completions" -H 'X-Freehold-Tags: a b=c' -d "$ask")" = 400 ] || fail "a bad tag"
if freehold serve --port "$gate" 2>err; then fail "a port in use is taken"; fi; grep -q -- --port err || fail "no advice on the port"
set +e; freehold serve --host 0.0.0.0 --port 1 2>/dev/null; [ $? = 3 ] || fail "beyond loopback without the word"; set -e
ok "400, 400, 413, 401, 400; port in use and other machines refused"

echo "9  a graceful stop"
kill -TERM "$gateway"; wait "$gateway" || fail "SIGTERM ends with an error"
freehold serve --port "$gate" >serve.log 2>&1 & gateway=$!; pids+=("$gateway"); await "http://127.0.0.1:$gate/healthz"
[ "$(code "$url/chat/completions" -d "${ask/gpt-4o-mini/goood}")" = 404 ] && grep -q 'did you mean good' answer || fail "no near name"
ok "exit 0; and without an upstream an unknown model is a 404 that names a near one"

if [ -f "$here/bench/gateway.py" ] && [ "${FREEHOLD_BENCH:-}" = 1 ]; then "$python" "$here/bench/gateway.py"; fi
echo "gateway: all $passed promises held"
