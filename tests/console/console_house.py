"""A workspace with one of everything, made without a model; a console over it; and people who visit its pages."""

import csv
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from gateway_house import FirstWord, RunningUpstream, free_port, in_thread

from freehold import plan, spec
from freehold.console import passwords
from freehold.console.app import Console
from freehold.console.works import Works
from freehold.data import build as data
from freehold.decision import certificate
from freehold.evaluation import report as reports
from freehold.evaluation.answerers import with_labels
from freehold.gateway.backends import Backends
from freehold.gateway.door import Desk
from freehold.gateway.serve import Settings, serving
from freehold.progress import SILENT
from freehold.records import AdapterManifest, Candidate, CandidateKind, Example, LossPoint, Row, Split, digest
from freehold.store import audit, decisions, deployments, keys, stages, users
from freehold.store.database import Store, connect
from freehold.store.deployments import ClassifierTarget, Deployment, RemoteTarget
from freehold.store.documents import Documents
from freehold.store.exchanges import Attempt, Entry, Exchange, Feedback, record, say
from freehold.store.keys import Allowance
from freehold.store.users import Role
from freehold.store.workspace import Workspace, write_record

TASK = "triage"
MARKUP = "<script>window.hurt=1</script><img src=x onerror=window.hurt=1>"
PASSWORD = "correct horse battery"
LABELS = ("payroll", "safety", f"odd {MARKUP}"[:40])
FAKE_RUN = Path(__file__).parent / "fake_run.py"
CHINESE, ARABIC = "我想申请退款，订单没有发货", "أريد استرداد المبلغ للطلب"


class Answer(NamedTuple):
    """What a page came back with."""

    status: int
    headers: Mapping[str, str]
    text: str


class Visitor:
    """Somebody with a browser that has no scripts: follows nothing by itself, keeps its cookie."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookie = ""

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/").text)
        return found[1] if found else ""

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, object] | None = None, **headers: str) -> Answer:
        """Send a form, with the token that this session's pages hold."""
        given = {"csrf": self.csrf} | {k: str(v) for k, v in (fields or {}).items()}
        return self._ask("POST", path, urlencode(given), headers)

    def sign_in(self, name: str, password: str = PASSWORD) -> Answer:
        answer = self._ask("POST", "/sign-in", urlencode({"name": name, "password": password}), {})
        self.cookie = answer.headers.get("set-cookie", "").split(";")[0]
        return answer

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        sent = {"cookie": self.cookie} if self.cookie else {}
        if body is not None:
            sent["content-type"] = "application/x-www-form-urlencoded"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, text)
        finally:
            connection.close()


class ConsoleHouse:
    """The workspace, its store, and a server in a thread."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder / ".freehold")
        self.store: Store = connect(self.workspace.database_url)
        self.settings = Settings(port=free_port())
        self.upstream = RunningUpstream()
        self._filled = Filling(self.workspace, self.store, self.upstream.url)
        self.report, self.decision, self.adapter, self.key = self._filled.everything(folder)
        for name in Role:
            self.person(name.value, name)

    @property
    def url(self) -> str:
        return self.settings.url

    def person(self, name: str, role: Role) -> None:
        users.join(self.store, users.invite(self.store, role, "test"), name, passwords.hashed(PASSWORD))

    def visitor(self, name: str = "") -> Visitor:
        """Somebody, signed in where a name is given."""
        made = Visitor(self.settings.port)
        if name:
            made.sign_in(name)
        return made

    @contextmanager
    def open(self) -> Iterator["ConsoleHouse"]:
        backends = Backends(engine_for=_no_engine, load_classifier=lambda _: FirstWord())
        with ExitStack() as stack:
            stack.enter_context(self.upstream.open())
            stack.enter_context(in_thread(lambda: serving(self.workspace, self.settings, backends, self._console)))
            yield self

    def _console(self, workspace: Workspace, store: Store, desk: Desk) -> Console:
        return Console(workspace, store, desk, Works(workspace, store, (sys.executable, str(FAKE_RUN))))


class Filling:
    """Puts one of everything into a workspace; what people write is hostile wherever it may be."""

    def __init__(self, workspace: Workspace, store: Store, upstream: str) -> None:
        self._workspace, self._store, self._upstream = workspace, store, upstream

    def everything(self, folder: Path) -> tuple[str, str, str, str]:
        path = write_task(folder)
        file = spec.load(path)
        dataset = data.build(file, self._workspace, SILENT)
        stages.finish(self._store, TASK, "data", "i" * 64, dataset.digest, 0.1)
        examples = data.examples(self._workspace, dataset.digest)
        held_out = [each for each in examples if each.split is Split.HELD_OUT]
        task = with_labels(file.task, dataset.labels)
        measured = [_measured("classifier (tf-idf)", CandidateKind.CLASSIFIER, held_out, 5),
                    _measured(f"helper {MARKUP}"[:60], CandidateKind.REMOTE, held_out, 9)]  # fmt: skip
        report = reports.build(task, dataset, measured, held_out)
        reports.keep(self._workspace, report, measured, "<!doctype html><title>report</title>")
        Documents(self._store).add("report", report.digest, TASK)
        rows = {candidate.digest: each for candidate, each in measured}
        decision = certificate.decide(report, rows, plan.of_task(task), held_out)
        decisions.keep(self._workspace, self._store, decision)
        stages.finish(self._store, TASK, "decision", "i" * 64, decision.digest, 0.1)
        evidence = {"dataset": dataset.digest, "decision": decision.digest, "report": report.digest}
        self._deployments(evidence)
        audit.note(self._store, MARKUP[:60], "tried", MARKUP, MARKUP)
        return report.digest, decision.digest, self._adapter(dataset.digest), self._traffic()

    def _deployments(self, evidence: dict[str, str]) -> None:
        plain = ClassifierTarget(digest="c" * 64, folder="classifiers/c")
        rented = RemoteTarget(base_url=self._upstream, model="fake")
        for name, target in ((f"{TASK}:classifier-tf-idf", plain), (f"{TASK}:helper", rented), (TASK, plain)):
            deployments.deploy(self._store, Deployment(name=name, target=target, evidence=evidence), f"why {MARKUP}")

    def _adapter(self, dataset: str) -> str:
        losses = tuple(
            LossPoint(step=at, train=2 / at, validation=2.1 / at if at % 5 == 0 else None) for at in range(1, 21)
        )
        made = digest(["adapter", dataset])
        manifest = AdapterManifest(
            digest=made, task=TASK, base="smollm2-135m-instruct", base_digest="b" * 64, dataset=dataset,
            recipe={"rank": 16}, render={}, render_digest="r", seed=0, versions={}, template_digest="t",
            weights_sha256="w", losses=losses, best_step=15, seconds=61.0, tokens_per_second=500.0,
            peak_memory_bytes=10**9,
        )  # fmt: skip
        write_record(self._workspace.adapters / made / "manifest.json", manifest)
        return made

    def _traffic(self) -> str:
        key, _ = keys.create(self._store, f"shop {MARKUP}"[:60], Allowance(budget=10**12, requests_per_minute=60))
        texts = [MARKUP, CHINESE, ARABIC, "the freezer alarm is going again", "my pay is short"]
        now = time.time_ns() // 1000
        record(self._store, [_entry(at, now - at * 1_000_000, texts[at % len(texts)], key.id) for at in range(60)])
        say(self._store, Feedback(exchange=exchange_id(0), verdict="corrected", correction=MARKUP))
        return key.id


def exchange_id(number: int) -> str:
    return f"{number:032x}"


def write_task(folder: Path) -> Path:
    """A task file beside its rows: two plain labels and a hostile one, some rows with the wrong one."""
    rows = []
    for at in range(180):
        label = LABELS[at % 3]
        words = ("wages bank payslip overtime", "fire ladder exit alarm", "curious odd strange riddle")[at % 3].split()
        said = label if at % 20 else LABELS[(at + 1) % 3]
        rows.append(
            (
                f"{words[at % 4]} {words[(at + 1) % 4]} matter {at} of gate {at * 7} {MARKUP if at % 9 == 0 else ''}",
                said,
            )
        )
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("text", "answer"), *rows])
    path = folder / "task.yaml"
    text = f"task: {TASK}\ndescription: {json.dumps(MARKUP)}\ndata: {{source: rows.csv}}\ndecide: {{margin: 0.5}}\n"
    path.write_text(text, encoding="utf-8")
    return path


def _measured(name: str, kind: CandidateKind, held_out: list[Example], wrong: int) -> tuple[Candidate, list[Row]]:
    """A candidate that answers every so-maniest example wrongly."""
    candidate = Candidate(name=name, kind=kind, digest=digest(name))
    rows = []
    for at, each in enumerate(held_out):
        right = at % wrong != 0
        answer = each.reference if right else next(label for label in LABELS if label != each.reference)
        rows.append(Row(candidate=candidate.digest, example=each.id, answer=answer, score=float(right), latency_ms=9.0))
    return candidate, rows


def _entry(number: int, at: int, text: str, key: str) -> Entry:
    request = json.dumps({"model": TASK, "messages": [{"role": "user", "content": text}]}, ensure_ascii=False)
    answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": f"answer {MARKUP}"}}]})
    failed = number % 10 == 9
    exchange = Exchange(
        id=exchange_id(number), at=at, endpoint="chat.completions", model=TASK, key=key, session=MARKUP[:50],
        answered_by=f"{TASK}: classifier cccccccccccc", request=request, answer=answer, latency_ms=12.5,
        status=502 if failed else 200,
    )  # fmt: skip
    attempt = Attempt(
        exchange=exchange.id, attempt=1, at=at, model=TASK, target=MARKUP, key=key, input_tokens=20, output_tokens=3,
        cost=2_000_000_000, currency="USD", outcome="server" if failed else "ok",
    )  # fmt: skip
    return Entry(exchange, (attempt,))


def _no_engine(base: str, adapters: tuple[str, ...]) -> object:
    raise AssertionError("nothing here needs an engine")
