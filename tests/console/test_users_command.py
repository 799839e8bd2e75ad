"""`freehold users`, and the token that is printed once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.console import passwords
from freehold.errors import UserError
from freehold.store import users
from freehold.store.database import connect
from freehold.store.users import Role
from freehold.store.workspace import Workspace


def test_users_from_the_terminal(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = connect(Workspace(tmp_path / ".freehold").database_url)
    assert freehold("users", "invite", "admin", "--json") == 0
    token = json.loads(capsys.readouterr().out)["token"]
    users.join(store, token, "Ada", passwords.hashed("correct horse"))
    users.join(store, users.invite(store, Role.VIEWER, "test"), "Budi", passwords.hashed("correct horse"))
    assert freehold("users", "role", "Budi", "editor") == 0
    assert freehold("users", "role", "Budi", "boss") == 2
    assert freehold("users", "role", "Budy", "editor") == 2
    assert freehold("users", "remove", "Ada") == 3
    assert freehold("users", "remove", "Budi") == 0
    capsys.readouterr()
    assert freehold("users", "list", "--json") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["Ada"]
    assert freehold("users", "log", "--json") == 0
    assert [each["action"] for each in json.loads(capsys.readouterr().out)] == [
        "user removed",
        "role changed",
        "invited",
    ]


def test_the_first_token_is_made_once(tmp_path: Path) -> None:
    store = connect(f"sqlite:///{tmp_path / 'freehold.db'}")
    first = users.first_token(store)
    assert first is not None and users.first_token(store) is None
    users.join(store, first, "Ada", "hash")
    with pytest.raises(UserError, match="was used"):
        users.join(store, first, "Eve", "hash")
    with pytest.raises(UserError, match="is taken"):
        users.join(store, users.invite(store, Role.VIEWER, "Ada"), "Ada", "hash")


def test_passwords_are_argon2id() -> None:
    kept = passwords.hashed("a sentence to remember")
    assert kept.startswith("$argon2id$")
    assert passwords.matches(kept, "a sentence to remember") and not passwords.matches(kept, "another")
    assert not passwords.matches(None, "nobody's password")
    with pytest.raises(UserError, match="10 characters or more"):
        passwords.hashed("short")
