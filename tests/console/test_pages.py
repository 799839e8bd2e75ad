"""Every page answers, shows hostile texts as text, and says no to whom it should."""

import re
import time
from urllib.parse import quote

import pytest
from console_house import ARABIC, CHINESE, LABELS, MARKUP, PASSWORD, TASK, ConsoleHouse, Visitor, exchange_id
from msgspec.structs import replace
from sqlalchemy import text

from freehold.console.page import POLICY
from freehold.progress import SILENT
from freehold.store import audit, deployments, exchanges, keys, sessions
from freehold.store.deployments import RemoteTarget
from freehold.store.keys import Allowance
from freehold.store.users import Role


def addresses(house: ConsoleHouse) -> list[str]:
    """Every page that shows something."""
    return [
        "/", "/traffic", "/traffic?q=freezer", f"/traffic/{exchange_id(0)}", "/data", f"/data/{TASK}", "/models",
        "/models/openness", "/models/smollm2-135m-instruct?asked=1&commercial=yes", "/tuning",
        f"/tuning/adapters/{house.adapter}", "/evaluation", f"/evaluation/{house.report}", "/arena", f"/arena/{TASK}",
        "/decision", f"/decision/{house.decision}", f"/decision/{house.decision}/certificate", "/deployments",
        f"/deployments/{TASK}", "/keys", f"/keys/{house.key}", "/playground", "/people", "/sign-in", "/join",
    ]  # fmt: skip


def test_every_page_answers_with_its_policy(house: ConsoleHouse, admin: Visitor) -> None:
    for path in addresses(house):
        answer = admin.get(path)
        expected = 303 if path == "/sign-in" else 200
        assert answer.status == expected, (path, answer.text[-400:])
        policy = answer.headers["content-security-policy"]
        assert policy == POLICY or re.search(r"style-src 'sha256-[^']+'; img", policy), path
        assert "unsafe" not in policy


def test_no_page_carries_what_people_wrote_as_markup(house: ConsoleHouse, admin: Visitor) -> None:
    shown = 0
    for path in addresses(house):
        page = admin.get(path).text
        assert "<script>window" not in page and "<img src=x" not in page, path
        assert not re.search(r"<[a-z][^>]*\s(on\w+|style)=", page), path
        shown += "&lt;script&gt;window.hurt" in page or "&lt;img src=x" in page
    assert shown >= 8


def test_the_certificates_style_is_allowed_by_its_digest_alone(house: ConsoleHouse, viewer: Visitor) -> None:
    answer = viewer.get(f"/decision/{house.decision}/certificate")
    assert "'sha256-" in answer.headers["content-security-policy"] and "unsafe-inline" not in answer.text


def test_nobody_sees_a_page_without_signing_in(house: ConsoleHouse) -> None:
    stranger = house.visitor()
    for path in addresses(house):
        answer = stranger.get(path)
        if path not in ("/sign-in", "/join"):
            assert answer.status == 303 and answer.headers["location"].startswith("/sign-in?then="), path


def test_roles(house: ConsoleHouse, viewer: Visitor, voter: Visitor, editor: Visitor) -> None:
    assert viewer.post(f"/traffic/{exchange_id(3)}/feedback", {"verdict": "accepted"}).status == 403
    assert voter.post(f"/traffic/{exchange_id(3)}/feedback", {"verdict": "accepted"}).status == 303
    assert voter.post("/tuning", {"task": TASK}).status == 403
    assert editor.get("/people").status == 403
    assert "takes the role admin, and yours is editor" in editor.post("/keys", {"name": "x"}).text


def test_a_change_needs_this_sessions_token_and_our_own_page(house: ConsoleHouse, admin: Visitor) -> None:
    fields = {"csrf": "guessed", "verdict": "accepted"}
    assert admin.post(f"/traffic/{exchange_id(1)}/feedback", fields).status == 403
    cross = admin.post(f"/traffic/{exchange_id(1)}/feedback", {"verdict": "accepted"}, origin="https://evil.example")
    assert cross.status == 403 and "another site" in cross.text
    assert (
        admin.post(f"/traffic/{exchange_id(1)}/feedback", {"verdict": "x"}, sec_fetch_site="cross-site").status == 403
    )


def test_sign_in_is_slowed_down(house: ConsoleHouse) -> None:
    house.person("often tried", Role.VIEWER)
    stranger = house.visitor()
    statuses = [stranger.sign_in("often tried", "wrong password").status for _ in range(9)]
    assert statuses == [401] * 8 + [429]
    assert stranger.sign_in("often tried", PASSWORD).status == 429
    assert house.visitor().sign_in("viewer").status == 303


def test_a_token_works_once(house: ConsoleHouse, admin: Visitor) -> None:
    page = admin.post("/people/invite", {"role": "voter"}).text
    found = re.search(r"invite_[\w-]+", page)
    assert found is not None
    fields = {"token": found[0], "name": "Siti", "password": PASSWORD, "again": PASSWORD}
    newcomer = house.visitor()
    assert newcomer.post("/join", fields | {"again": "another"}).status == 400
    assert newcomer.post("/join", fields).status == 303
    again = house.visitor().post("/join", fields | {"name": "Budi"})
    assert again.status == 400 and "was used" in again.text
    assert found[0] not in admin.get("/people").text


def test_an_expired_session_in_mid_form_loses_nothing(house: ConsoleHouse) -> None:
    person = house.visitor("editor")
    csrf = person.csrf
    with house.store.begin() as connection:
        connection.execute(text("UPDATE sessions SET seen_at = 0 WHERE user = 'editor'"))
    asked = {"csrf": csrf, "verdict": "corrected", "correction": f"the right one {MARKUP}"}
    answer = person.post(f"/traffic/{exchange_id(4)}/feedback", asked)
    assert answer.status == 401 and "Nothing is lost" in answer.text and "<script>window" not in answer.text
    held = {"name": "editor", "password": PASSWORD, "held_path": f"/traffic/{exchange_id(4)}/feedback",
            "held.verdict": "corrected", "held.correction": asked["correction"]}  # fmt: skip
    again = person.post("/sign-in", held)
    assert "Send it again?" in again.text and "the right one" in again.text and "<script>window" not in again.text
    person.cookie = again.headers["set-cookie"].split(";")[0]
    assert person.post(held["held_path"], {"verdict": "corrected", "correction": "right"}).status == 303
    assert exchanges.found(house.store, exchange_id(4))[2][-1].correction == "right"


def test_two_people_editing_one_deployment(house: ConsoleHouse, editor: Visitor, admin: Visitor) -> None:
    name = f"{TASK}:helper"
    seen = deployments.history(house.store, name)[0].id
    change = {"seen": seen, "canary": "20", "canary_to": TASK, "shadow": "0"}
    address = f"/deployments/{quote(name)}"
    assert editor.post(f"{address}/change", change).status == 303
    late = admin.post(f"{address}/change", change | {"canary": "80"})
    assert late.status == 409 and "Nothing of yours was changed" in late.text
    assert deployments.current(house.store, name).shares[0].share == 0.2


def test_a_canary_is_reviewed_moved_and_rolled_back(house: ConsoleHouse, editor: Visitor) -> None:
    first = deployments.history(house.store, TASK)[0]
    change = {"seen": first.id, "canary": "10", "canary_to": f"{TASK}:helper", "shadow": "50",
              "shadow_to": f"{TASK}:helper", "reason": MARKUP}  # fmt: skip
    review = editor.post(f"/deployments/{TASK}/review", change)
    assert review.status == 200 and "10% of sessions, as a canary" in review.text
    assert deployments.history(house.store, TASK)[0].id == first.id, "nothing changes before it is confirmed"
    assert editor.post(f"/deployments/{TASK}/change", change).status == 303
    now = deployments.history(house.store, TASK)[0]
    assert now.deployment.shares[0].share == 0.1 and isinstance(now.deployment.shares[0].target, RemoteTarget)
    assert now.deployment.shadow is not None and now.deployment.shadow.share == 0.5
    asked = editor.get(f"/deployments/{TASK}/rollback?row={first.id}&seen={now.id}")
    assert "Roll back" in asked.text
    assert editor.post(f"/deployments/{TASK}/rollback", {"row": first.id, "seen": now.id}).status == 303
    assert deployments.current(house.store, TASK) == first.deployment
    assert [each.action for each in audit.newest(house.store, 2, subject=TASK)] == ["rolled back", "deployment changed"]
    assert "write a number from 0 to 100" in editor.post(f"/deployments/{TASK}/review", {"canary": "200"}).text
    assert "no name to ask" in editor.post(f"/deployments/{TASK}/review", {"canary": "20"}).text


def test_pages_and_searches_that_find_nothing(admin: Visitor) -> None:
    past = admin.get("/traffic?page=4000").text
    assert "There is no page 4,000" in past and "page=2" in past
    assert admin.get("/traffic?page=0").status == 400
    nothing = admin.get("/traffic?q=nowhere+to+be+found").text
    assert "No exchange holds" in nothing
    assert "holds no letter or digit" in admin.get("/traffic?q=%21%21").text
    assert admin.get("/traffic?since=yesterday").status == 400
    assert "last one is" in admin.get("/people?page=99").text


@pytest.mark.parametrize("words", ["退款", "استرداد", "FREEZER al", "申请退"])
def test_every_script_is_found(house: ConsoleHouse, admin: Visitor, words: str) -> None:
    expected = {"退": CHINESE, "申": CHINESE, "ا": ARABIC}.get(words[0], "freezer")
    page = admin.get(f"/traffic?q={quote(words)}").text
    assert expected in page and page.count('<a href="/traffic/0') == 12


def test_what_is_left_of_an_error_budget_stands_beside_the_keys(house: ConsoleHouse, admin: Visitor) -> None:
    assert "Error budgets" not in admin.get("/keys").text
    deployment = deployments.current(house.store, TASK)
    aimed = replace(deployment, slo=deployments.Objectives(availability=0.995))
    deployments.deploy(house.store, aimed, "an objective")
    page = admin.get("/keys").text
    assert "Error budgets" in page and "availability 0.995" in page


def test_a_revoked_keys_page_and_one_that_never_was(house: ConsoleHouse, admin: Visitor) -> None:
    key, _ = keys.create(house.store, "short-lived", Allowance())
    assert "Revoke the key short-lived?" in admin.get(f"/keys/{key.id}/revoke").text
    assert admin.post(f"/keys/{key.id}/revoke").status == 303
    assert "answers nobody" in admin.get(f"/keys/{key.id}").text
    missing = admin.get("/keys/0123456789abcdef")
    assert missing.status == 404 and "the page of all keys lists them" in missing.text
    assert "no living key" in admin.post(f"/keys/{key.id}/revoke").text


def test_the_statement_adds_up(house: ConsoleHouse, admin: Visitor) -> None:
    lines = admin.get("/keys/statement.csv").text.splitlines()
    head = lines[0].split(",")
    costs = [line.rsplit(",", 4)[1] for line in lines[1:]]
    assert head[-4] == "cost" and sum(map(float, costs)) >= 60 * 0.002 - 1e-9
    assert admin.get("/keys/statement.csv?since=never").status == 400


def test_a_key_for_a_widget_names_one_deployment(admin: Visitor) -> None:
    refused = admin.post("/keys", {"name": "w", "origins": "https://shop.example"})
    assert refused.status == 400 and "exactly one model" in refused.text
    wrong = admin.post("/keys", {"name": "w", "models": TASK, "origins": "shop.example/page"})
    assert "write its beginning, such as https://shop.example" in wrong.text
    made = admin.post("/keys", {"name": "w", "models": TASK, "origins": "https://shop.example"}).text
    assert "data-deployment=&#34;" in made or 'data-deployment="triage"' in made


def test_the_last_admin_stays(admin: Visitor) -> None:
    assert admin.post("/people/admin/remove").status == 403
    assert admin.post("/people/admin/role", {"role": "viewer"}).status == 403
    assert admin.post("/people/nobody/role", {"role": "viewer"}).status == 404


def test_a_removed_user_is_out_at_once(house: ConsoleHouse, admin: Visitor) -> None:
    house.person("leaving", Role.VIEWER)
    person = house.visitor("leaving")
    assert person.get("/").status == 200
    assert admin.post("/people/leaving/remove").status == 303
    assert person.get("/").status == 303


def test_signing_out_ends_the_session(house: ConsoleHouse) -> None:
    person = house.visitor("viewer")
    assert sessions.find(house.store, person.cookie.split("=", 1)[1]) is not None
    assert person.post("/sign-out").status == 303
    assert person.get("/").status == 303


def test_a_look_at_the_data_and_a_label_decided(house: ConsoleHouse, voter: Visitor) -> None:
    """The real look, in this process: the job's child is proven in `test_work.py`."""
    from freehold import spec
    from freehold.console import dataset_look, task_files
    from freehold.data import corrections, freeze
    from freehold.store import stages

    path = task_files.of(house.workspace, TASK)
    dataset_look.prepare(spec.load(path), house.workspace, SILENT)
    page = voter.get(f"/data/{TASK}")
    assert "Labels that may be wrong" in page.text and "What more examples would bring" in page.text
    assert "<script>window" not in page.text
    id = re.search(r'name="id" value="(\w+)"', page.text)
    assert id is not None
    assert voter.post(f"/data/{TASK}/verdict", {"id": id[1], "answer": "nonsense"}).status == 400
    assert voter.post(f"/data/{TASK}/verdict", {"id": id[1], "answer": LABELS[0]}).status == 303
    assert f'value="{id[1]}"' not in voter.get(f"/data/{TASK}").text
    dataset = stages.finished(house.store, TASK)["data"].output
    example = next(each for each in freeze.examples(house.workspace, dataset) if each.id == id[1])
    assert corrections.key(example.messages) in corrections.file_of(house.workspace, TASK).read_text()


def test_a_run_is_started_watched_stopped_and_resumed(house: ConsoleHouse, editor: Visitor) -> None:
    started = editor.post("/tuning", {"task": TASK})
    assert started.status == 303
    address = started.headers["location"]
    assert "under way already" in editor.post("/tuning", {"task": TASK}).text
    page = _until(editor, address, "<polyline")
    assert "loss" in page and "left in this step" in page and "&lt;b&gt;markup" in page
    assert editor.post(f"{address}/stop").status == 303
    assert "Resume" in _until(editor, address, "goes on from its last checkpoint")
    assert editor.post("/tuning", {"task": "no such"}).status == 404
    again = editor.post("/tuning", {"task": TASK}).headers["location"]
    assert again != address
    editor.post(f"{again}/stop")
    _until(editor, again, "goes on from its last checkpoint")


def _until(visitor: Visitor, path: str, words: str) -> str:
    """The page once it holds the words."""
    for _ in range(150):
        page = visitor.get(path).text
        if words in page:
            return page
        time.sleep(0.1)
    raise AssertionError(page[-2000:])
