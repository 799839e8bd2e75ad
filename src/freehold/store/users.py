"""Who may use the console, in which role, and the tokens that let somebody in for the first time.

A password comes here as an argon2 hash. An invitation's token is kept as its SHA-256, shown once and used once.
"""

import secrets
import time
from enum import StrEnum

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from freehold.errors import NotFoundError, RefusedError, UserError, did_you_mean
from freehold.records import Record
from freehold.store.database import Store
from freehold.store.keys import hashed
from freehold.store.schema import invitations, sessions, users

INVITATION = "invite_"
INVITED_FOR_US = 7 * 86_400_000_000
_LONGEST_NAME = 64


class Role(StrEnum):
    """What somebody may do; each role may do what those before it may."""

    VIEWER = "viewer"
    VOTER = "voter"
    EDITOR = "editor"
    ADMIN = "admin"

    def may(self, needed: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class User(Record, frozen=True, kw_only=True):
    """One person. Times are UTC in microseconds since 1970."""

    name: str
    role: Role
    password: str
    created_at: int
    removed_at: int | None = None


def role(word: str) -> Role:
    """A role by its word; raises `UserError`."""
    if word not in list(Role):
        raise UserError(f"{word}: is no role{did_you_mean(word, Role)}; there are {', '.join(Role)}")
    return Role(word)


def every(store: Store) -> list[User]:
    """All users who were not removed, by name."""
    query = select(users).where(users.c.removed_at.is_(None)).order_by(users.c.name)
    with store.connect() as connection:
        return [_user(dict(row)) for row in connection.execute(query).mappings()]


def find(store: Store, name: str) -> User | None:
    """One living user, or None."""
    query = select(users).where(users.c.name == name, users.c.removed_at.is_(None))
    with store.connect() as connection:
        row = connection.execute(query).mappings().first()
    return _user(dict(row)) if row else None


def invite(store: Store, wanted: Role, made_by: str) -> str:
    """A token that makes one user of this role, for a week; kept nowhere but in the answer."""
    token, now = INVITATION + secrets.token_urlsafe(24), time.time_ns() // 1000
    row = {
        "sha256": hashed(token),
        "role": wanted.value,
        "made_by": made_by,
        "created_at": now,
        "expires_at": now + INVITED_FOR_US,
    }
    with store.begin() as connection:
        connection.execute(insert(invitations).values(row))
    return token


def first_token(store: Store) -> str | None:
    """The first admin's token, made where there is no user and no invitation yet; None ever after."""
    with store.connect() as connection:
        known = connection.execute(select(func.count()).select_from(users)).scalar_one()
        asked = connection.execute(select(func.count()).select_from(invitations)).scalar_one()
    return None if known or asked else invite(store, Role.ADMIN, "first run")


def join(store: Store, token: str, name: str, password: str) -> User:
    """Make the user that a token invites; raises `UserError` on a spent token or a name that is taken."""
    now = time.time_ns() // 1000
    if not name.strip() or name != name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UserError(f"a name has 1 to {_LONGEST_NAME} printable characters, without spaces around it")
    unused = (
        (invitations.c.sha256 == hashed(token)) & invitations.c.used_at.is_(None) & (invitations.c.expires_at > now)
    )
    try:
        with store.begin() as connection:
            found = connection.execute(select(invitations.c.role).where(unused)).first()
            if found is None or connection.execute(update(invitations).where(unused).values(used_at=now)).rowcount == 0:
                raise UserError("this token was used, has expired, or never was; ask an admin for another")
            made = User(name=name, role=Role(found.role), password=password, created_at=now)
            row = {"name": name, "role": made.role.value, "password": password, "created_at": now}
            connection.execute(insert(users).values(row))
    except IntegrityError:
        raise UserError(f"the name {name} is taken; choose another") from None
    return made


def set_role(store: Store, name: str, wanted: Role) -> None:
    """Give a user another role; raises `NotFoundError`, and `RefusedError` where no admin would be left."""
    _require(store, name)
    if wanted is not Role.ADMIN:
        _another_admin(store, name)
    with store.begin() as connection:
        connection.execute(update(users).where(users.c.name == name).values(role=wanted.value))


def remove(store: Store, name: str) -> None:
    """End a user and every session of theirs; the name is never given again, so that the audit log stays true."""
    _require(store, name)
    _another_admin(store, name)
    with store.begin() as connection:
        connection.execute(update(users).where(users.c.name == name).values(removed_at=time.time_ns() // 1000))
        connection.execute(sessions.delete().where(sessions.c.user == name))


def _require(store: Store, name: str) -> User:
    found = find(store, name)
    if found is None:
        near = did_you_mean(name, [each.name for each in every(store)])
        raise NotFoundError(f"there is no user {name}{near}; see `freehold users list`")
    return found


def _another_admin(store: Store, name: str) -> None:
    if not any(each.role is Role.ADMIN and each.name != name for each in every(store)):
        raise RefusedError(f"{name} is the only admin; make another one first")


def _user(row: dict[str, object]) -> User:
    return User(**{**row, "role": Role(str(row["role"]))})  # type: ignore[arg-type]  # a row of the table
